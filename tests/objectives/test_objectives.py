"""Objectives: what `elbo` and `likelihood` minimise, which models they refuse, and how observations are
masked."""

import itertools

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import norm

import ppl
from ppl import Bernoulli, Categorical, LogNormal, Normal, OneHotCategorical, Uniform
from ppl.compiler.surrogate.variants import build_gradient, build_value
from ppl.errors import ModelError, ShapeError
from ppl.estimators import Enumerate, Pathwise, ScoreFunction
from ppl.ir.reference.interpret import evaluate
from tests.helpers.exact import central_differences
from tests.helpers.laws import Graph, Sampler, arrays, assert_matches, assert_unbiased, make_env

X = np.array([0.4, -1.0, 1.3])


def evaluate_all(graph: Graph, seed: int = 0, estimators="auto", build=build_gradient, **options):
    """({scalar: value}, {parameter: gradient}) of one draw."""
    compiled = graph.compile(estimators, **options).prepare()
    variant = build(compiled.graph, compiled.plan.estimators)
    env = make_env(compiled, graph, variant, seed=seed)
    found = evaluate([*variant.scalars.values(), *variant.grads.values()], env)
    n = len(variant.scalars)
    return dict(zip(variant.scalars, found[:n], strict=True)), dict(zip(variant.grads, found[n:], strict=True))


def objective_error(objective, *data):
    with pytest.raises(ModelError) as error:
        ppl.compile(objective, data=data if data else None)
    return str(error.value)


@ppl.model
def generative(x):
    with ppl.plate("data", x) as x:
        z = ppl.sample("z", Normal(0.0, 1.0))
        ppl.sample("x", Normal(z, 0.5), obs=x)


@ppl.model
def guide(x):
    with ppl.plate("data", x) as x:
        ppl.sample("z", Normal(ppl.param("m", 0.5) * x, 0.8))


# --- matching -----------------------------------------------------------------------------------


def test_a_latent_that_the_guide_does_not_sample_is_named():
    @ppl.model
    def empty(x):
        with ppl.plate("data", x) as x:
            ppl.sample("other", Normal(ppl.param("m", 0.0) * x, 1.0), aux=True)

    message = objective_error(ppl.elbo(generative, empty), X)
    assert "latent 'z'" in message and "'other'" in message and "test_objectives.py" in message


def test_a_guide_node_that_the_model_lacks_is_an_error_unless_aux():
    def with_extra(aux):
        @ppl.model
        def extra(x):
            with ppl.plate("data", x) as x:
                u = ppl.sample("u", Normal(ppl.param("s", 0.0), 1.0), aux=aux)
                ppl.sample("z", Normal(ppl.param("m", 0.5) * x + u, 0.8))

        return extra

    assert "'u'" in objective_error(ppl.elbo(generative, with_extra(False)), X)
    program = ppl.compile(ppl.elbo(generative, with_extra(True)), data=(X,))
    assert "log q(u)" in program.prepare().trace.costs


def test_plates_must_agree():
    @ppl.model
    def outside(x):
        ppl.sample("z", Normal(ppl.param("m", 0.0), 1.0))
        with ppl.plate("data", x):
            pass

    with pytest.raises(ShapeError, match="plates none in the guide, data in the model"):
        ppl.compile(ppl.elbo(generative, outside), data=(X,))


def test_event_shapes_must_agree():
    @ppl.model
    def wide(x):
        with ppl.plate("data", x) as x:
            ppl.sample("z", Normal(ppl.param("m", np.zeros(2)) * x, 1.0))

    with pytest.raises(ShapeError, match="'z'"):
        ppl.compile(ppl.elbo(generative, wide), data=(X,))


def test_a_guide_cannot_observe_and_kl_has_two_settings():
    assert "guide" in objective_error(ppl.elbo(generative, generative), X)
    with pytest.raises(ModelError, match="auto"):
        ppl.elbo(generative, guide, kl="exact")


def test_a_model_with_observations_needs_an_objective():
    assert "ppl.elbo" in objective_error(generative, X)


def test_a_model_without_cost_has_nothing_to_minimise():
    @ppl.model
    def idle():
        ppl.sample("z", Normal(ppl.param("m", 0.0), 1.0))

    assert "ppl.cost" in objective_error(idle)


def test_something_that_is_no_objective_is_refused():
    with pytest.raises(ModelError, match="elbo"):
        ppl.compile(lambda x: x)


# --- the bound ----------------------------------------------------------------------------------


def test_costs_are_separate_per_site():
    scalars, _ = evaluate_all(Graph(ppl.elbo(generative, guide), arrays(m=0.5), (X,)))
    assert set(scalars) == {"loss", "cost KL(z)", "cost -log p(x)"}
    sampled, _ = evaluate_all(Graph(ppl.elbo(generative, guide, kl="sampled"), arrays(m=0.5), (X,)))
    assert set(sampled) == {"loss", "cost -log p(z)", "cost log q(z)", "cost -log p(x)"}


def test_the_bound_equals_its_closed_form():
    """Normal-Normal: every term of the bound has a closed form."""
    graph = Graph(ppl.elbo(generative, guide), arrays(m=0.5), (X,), total_rows=6)

    def exact(p):
        mean = p["m"] * X
        kl = 0.5 * (0.64 + mean**2 - 1 - np.log(0.64))
        return 2 * np.sum(kl - norm.logpdf(X, mean, 0.5) + 0.5 * 0.64 / 0.25)

    expected = float(exact(graph.params)), central_differences(exact, graph.params)
    for objective in (graph.objective, ppl.elbo(generative, guide, kl="sampled")):
        same = Graph(objective, graph.params, graph.data, 6)
        assert_matches(Sampler(same, "auto"), expected)


def test_closed_kl_counts_every_row_even_if_no_parameter_varies_over_them():
    """A guide that ignores the data: its divergence is one number, but there is one latent a row."""

    @ppl.model
    def same_everywhere(x):
        with ppl.plate("data", x):
            ppl.sample("z", Normal(ppl.param("m", 0.5), 0.8))

    graph = Graph(ppl.elbo(generative, same_everywhere), arrays(m=0.5), (X,), total_rows=6)
    scalars, grads = evaluate_all(graph)
    np.testing.assert_allclose(scalars["cost KL(z)"], 6 * 0.5 * (0.64 + 0.25 - 1 - np.log(0.64)), rtol=1e-12)
    sampled = Graph(ppl.elbo(generative, same_everywhere, kl="sampled"), arrays(m=0.5), (X,), total_rows=6)
    assert_matches(Sampler(graph, "auto"), sampled.exact())
    assert grads["m"].shape == ()


def test_masked_and_unmasked_divergences_agree_with_sampling():
    @ppl.model
    def binary(x):
        with ppl.plate("data", x) as x:
            h = ppl.sample("h", Bernoulli(logits=ppl.param("p", np.zeros(2))))
            ppl.sample("x", Normal(np.sum(h), 1.0), obs=x)

    @ppl.model
    def binary_guide(x):
        with ppl.plate("data", x) as x:
            ppl.sample("h", Bernoulli(logits=x * ppl.param("q", np.ones(2))))

    params = arrays(p=[0.2, -0.4], q=[0.7, 1.1])
    closed, sampled = (Graph(ppl.elbo(binary, binary_guide, kl=k), params, (X,)) for k in ("auto", "sampled"))
    losses = [evaluate_all(g, estimators=Enumerate()) for g in (closed, sampled)]
    np.testing.assert_allclose(losses[0][0]["loss"], losses[1][0]["loss"], rtol=1e-12)
    for name in params:
        np.testing.assert_allclose(losses[0][1][name], losses[1][1][name], rtol=1e-10)


def test_no_closed_kl_where_the_prior_depends_on_the_node_itself():
    """q(low) q(top | low) against p(top) p(low | top): KL(low) would be wrong, since top follows low."""

    @ppl.model
    def model(x):
        with ppl.plate("data", x) as x:
            top = ppl.sample("top", Bernoulli(logits=0.3))
            low = ppl.sample("low", Bernoulli(logits=1.2 * top - 0.4))
            ppl.sample("x", Normal(low, 0.8), obs=x)

    @ppl.model
    def upwards(x):
        with ppl.plate("data", x) as x:
            low = ppl.sample("low", Bernoulli(logits=ppl.param("r", 1.0) * x))
            ppl.sample("top", Bernoulli(logits=1.1 * low - 0.2))

    costs = ppl.compile(ppl.elbo(model, upwards), data=(X,)).prepare().trace.costs
    assert set(costs) == {"-log p(low)", "log q(low)", "KL(top)", "-log p(x)"}


def test_kl_is_sampled_where_no_closed_form_is_registered():
    @ppl.model
    def model(x):
        with ppl.plate("data", x) as x:
            z = ppl.sample("z", ppl.Exponential(1.0))
            ppl.sample("x", Normal(z, 1.0), obs=x)

    @ppl.model
    def positive(x):
        with ppl.plate("data", x) as x:
            ppl.sample("z", LogNormal(ppl.param("m", 0.0) * x, 0.5))

    graph = Graph(ppl.elbo(model, positive), arrays(m=0.3), (X,), points=2001)
    assert set(graph.compile().prepare().trace.costs) == {"-log p(z)", "log q(z)", "-log p(x)"}
    assert graph.compile().explain()["z"].estimator == Pathwise()
    assert_unbiased(graph, "auto")


def test_a_latent_that_can_leave_the_prior_gets_no_pathwise_gradient():
    """A Normal guide under a Uniform prior: the log-density jumps at the edge of the prior's support."""

    @ppl.model
    def model(x):
        with ppl.plate("data", x) as x:
            z = ppl.sample("z", Uniform(-50.0, 50.0))
            ppl.sample("x", Normal(z, 1.0), obs=x)

    plan = ppl.compile(ppl.elbo(model, guide), data=(X,)).explain()
    assert isinstance(plan["z"].estimator, ScoreFunction)
    assert "jump" in dict(plan["z"].rejected)["Pathwise()"]


def test_kl_weight_scales_the_latents_terms_only():
    weighted = ppl.elbo(generative, guide, kl_weight=ppl.hyper("beta", 0.25))
    plain, _ = evaluate_all(Graph(ppl.elbo(generative, guide), arrays(m=0.5), (X,)))
    default, _ = evaluate_all(Graph(weighted, arrays(m=0.5), (X,)))
    given, _ = evaluate_all(Graph(weighted, arrays(m=0.5), (X,), hyper={"beta": 3.0}))
    for scalars, beta in ((default, 0.25), (given, 3.0)):
        np.testing.assert_allclose(scalars["cost KL(z)"], beta * plain["cost KL(z)"], rtol=1e-12)
        np.testing.assert_allclose(scalars["cost -log p(x)"], plain["cost -log p(x)"], rtol=1e-12)
    fixed, _ = evaluate_all(Graph(ppl.elbo(generative, guide, kl_weight=0.25), arrays(m=0.5), (X,)))
    np.testing.assert_allclose(fixed["loss"], default["loss"], rtol=1e-12)


def test_value_equals_the_loss_of_the_gradient_variant():
    graph = Graph(ppl.elbo(generative, guide), arrays(m=0.5), (X,), total_rows=9)
    value, _ = evaluate_all(graph, 3, build=build_value)
    loss, _ = evaluate_all(graph, 3)
    np.testing.assert_allclose(value["loss"], loss["loss"], rtol=1e-12)


def test_the_models_own_costs_are_kept():
    @ppl.model
    def with_cost(x):
        with ppl.plate("data", x) as x:
            z = ppl.sample("z", Normal(0.0, 1.0))
            ppl.sample("x", Normal(z, 0.5), obs=x)
            ppl.cost("ridge", 0.1 * z**2)

    trace = ppl.compile(ppl.elbo(with_cost, guide), data=(X,)).prepare().trace
    assert set(trace.costs) == {"ridge", "KL(z)", "-log p(x)"}


def test_pins_and_globs_apply_to_the_guides_node():
    plan = ppl.compile(ppl.elbo(generative, guide), estimators={"z": ScoreFunction()}, data=(X,)).explain()
    assert plan["z"].estimator == ScoreFunction() and plan["z"].costs == ("-log p(x)",)


# --- observation masks --------------------------------------------------------------------------


def test_masked_entries_may_be_nan_and_do_not_count():
    @ppl.model
    def model(x, seen):
        with ppl.plate("data", x, seen) as (x, seen):
            w = ppl.param("w", np.zeros(2))
            z = ppl.sample("z", Normal(0.0, 1.0))
            ppl.sample("x", Normal(z * w, np.exp(w)), obs=x, obs_mask=seen)

    @ppl.model
    def posterior(x, seen):
        with ppl.plate("data", x, seen) as (_, seen):
            ppl.sample("z", Normal(ppl.param("m", 0.5) * np.sum(seen), 0.8))

    seen = np.array([[True, False], [True, True], [False, True]])
    data = np.where(seen, np.array([[0.4, 0.0], [1.0, -0.3], [0.0, 0.8]]), np.nan)
    params = arrays(w=[0.7, -0.4], m=0.2)
    scalars, grads = evaluate_all(Graph(ppl.elbo(model, posterior), params, (data, seen)))
    assert np.isfinite(scalars["loss"]) and all(np.all(np.isfinite(g)) for g in grads.values())
    filled = Graph(ppl.elbo(model, posterior), params, (np.where(seen, data, 123.0), seen))
    again, same = evaluate_all(filled)
    assert again["loss"] == scalars["loss"]
    for name in params:
        np.testing.assert_array_equal(same[name], grads[name])
    assert_unbiased(Graph(ppl.elbo(model, posterior), params, (data, seen)), "auto")


def test_masked_observations_of_bounded_support_have_finite_gradients():
    @ppl.model
    def model(x, seen):
        with ppl.plate("data", x, seen) as (x, seen):
            loc = ppl.param("loc", 0.0)
            ppl.sample("x", LogNormal(loc, 1.0), obs=x, obs_mask=seen)
            ppl.sample("y", ppl.Exponential(np.exp(loc)), obs=x, obs_mask=seen)

    data, seen = np.array([1.5, np.nan, -3.0]), np.array([True, False, False])
    scalars, grads = evaluate_all(Graph(ppl.likelihood(model), arrays(loc=0.2), (data, seen)))
    exact = 0.5 * (np.log(1.5) - 0.2) ** 2 + np.log(1.5 * np.sqrt(2 * np.pi)) - 0.2 + np.exp(0.2) * 1.5
    np.testing.assert_allclose(scalars["loss"], exact, rtol=1e-12)
    np.testing.assert_allclose(grads["loc"], -(np.log(1.5) - 0.2) - 1 + np.exp(0.2) * 1.5, rtol=1e-12)


# --- likelihood ---------------------------------------------------------------------------------

MEANS = np.array([-1.0, 0.5, 1.5])


def test_likelihood_without_latents_is_the_negative_log_density():
    @ppl.model
    def model(x):
        with ppl.plate("data", x) as x:
            ppl.sample("x", Normal(ppl.param("m", 0.0), 0.5), obs=x)

    scalars, grads = evaluate_all(Graph(ppl.likelihood(model), arrays(m=0.3), (X,), total_rows=6))
    np.testing.assert_allclose(scalars["loss"], -2 * norm.logpdf(X, 0.3, 0.5).sum(), rtol=1e-12)
    np.testing.assert_allclose(grads["m"], -2 * np.sum(X - 0.3) / 0.25, rtol=1e-12)


@ppl.model
def tied(x, y):
    """Two latents that one observation ties together, and one that hangs on the second."""
    with ppl.plate("data", x, y) as (x, y):
        k = ppl.sample("k", Categorical(logits=ppl.param("logits", np.zeros(3))))
        b = ppl.sample("b", Bernoulli(logits=ppl.param("a", 1.0) * ppl.constant(MEANS)[k]))
        ppl.sample("x", Normal(ppl.constant(MEANS)[k] + ppl.param("u", 1.0) * b, 0.7), obs=x)
        ppl.sample("y", Bernoulli(logits=2.0 * b - 0.5), obs=y)


TIED_PARAMS = arrays(logits=[0.3, -0.5, 0.2], a=0.8, u=1.1)
Y = np.array([1.0, 0.0, 1.0])


def tied_loss(p):
    prior = np.exp(p["logits"]) / np.exp(p["logits"]).sum()
    total = 0.0
    for x, y in zip(X, Y, strict=True):
        density = 0.0
        for k, b in itertools.product(range(3), (0, 1)):
            q, r = expit(p["a"] * MEANS[k]), expit(2.0 * b - 0.5)
            term = prior[k] * (q if b else 1 - q) * norm.pdf(x, MEANS[k] + p["u"] * b, 0.7)
            density += term * (r if y else 1 - r)
        total -= np.log(density)
    return total


def test_marginalising_tied_latents_equals_brute_force():
    graph = Graph(ppl.likelihood(tied, marginalize=("k", "b")), TIED_PARAMS, (X, Y))
    scalars, grads = evaluate_all(graph)
    assert set(scalars) == {"loss", "cost -log p(x, y)"}
    np.testing.assert_allclose(scalars["loss"], tied_loss(TIED_PARAMS), rtol=1e-12)
    for name, g in central_differences(tied_loss, TIED_PARAMS).items():
        np.testing.assert_allclose(grads[name], g, rtol=1e-7, atol=1e-9)
    value, _ = evaluate_all(graph, build=build_value)
    np.testing.assert_allclose(value["loss"], scalars["loss"], rtol=1e-12)


def test_latents_that_nothing_ties_have_costs_of_their_own():
    @ppl.model
    def apart(x, y):
        with ppl.plate("data", x, y) as (x, y):
            k = ppl.sample("k", Categorical(logits=ppl.param("logits", np.zeros(3))))
            b = ppl.sample("b", Bernoulli(logits=ppl.param("a", 1.0)))
            ppl.sample("x", Normal(ppl.constant(MEANS)[k], 0.7), obs=x)
            ppl.sample("y", Bernoulli(logits=2.0 * b - 0.5), obs=y)

    def exact(p):
        prior = np.exp(p["logits"]) / np.exp(p["logits"]).sum()
        mix = norm.pdf(X[:, None], MEANS, 0.7) @ prior
        q = expit(p["a"])
        one = q * expit(1.5) + (1 - q) * expit(-0.5)
        return -np.sum(np.log(mix)) - np.sum(np.log(np.where(Y == 1, one, 1 - one)))

    params = arrays(logits=[0.3, -0.5, 0.2], a=0.8)
    scalars, grads = evaluate_all(Graph(ppl.likelihood(apart, ("k", "b")), params, (X, Y)))
    assert set(scalars) == {"loss", "cost -log p(x)", "cost -log p(y)"}
    np.testing.assert_allclose(scalars["loss"], exact(params), rtol=1e-12)
    for name, g in central_differences(exact, params).items():
        np.testing.assert_allclose(grads[name], g, rtol=1e-7, atol=1e-9)


def test_a_latent_outside_a_fixed_plate_is_summed_over_its_rows_together():
    """One component for three observations of a subject: the densities multiply before the sum."""

    @ppl.model
    def model(x):
        with ppl.plate("subject", x) as x:
            k = ppl.sample("k", OneHotCategorical(logits=ppl.param("logits", np.zeros(3))))
            with ppl.plate("trial", x) as v:
                ppl.sample("x", Normal(k @ MEANS, 0.7), obs=v)

    data = np.array([[0.4, 0.1, -0.2], [1.2, 1.6, 0.9]])

    def exact(p):
        prior = np.exp(p["logits"]) / np.exp(p["logits"]).sum()
        return -np.sum(np.log(np.prod(norm.pdf(data[:, :, None], MEANS, 0.7), axis=1) @ prior))

    params = arrays(logits=[0.3, -0.5, 0.2])
    scalars, grads = evaluate_all(Graph(ppl.likelihood(model, "k"), params, (data,)))
    np.testing.assert_allclose(scalars["loss"], exact(params), rtol=1e-12)
    np.testing.assert_allclose(grads["logits"], central_differences(exact, params)["logits"], rtol=1e-7)


def test_marginalisation_survives_impossible_components():
    """A component of probability 0 for a row, and rows far from every mean: no NaN, no infinity."""

    @ppl.model
    def model(x):
        with ppl.plate("data", x) as x:
            k = ppl.sample("k", Categorical(probs=np.array([0.0, 0.4, 0.6])))
            ppl.sample("x", Normal(ppl.param("m", 0.0) + ppl.constant(MEANS)[k], 0.1), obs=x)

    data = np.array([40.0, -30.0])
    scalars, grads = evaluate_all(Graph(ppl.likelihood(model, "k"), arrays(m=0.1), (data,)))
    assert np.isfinite(scalars["loss"]) and np.isfinite(grads["m"])
    np.testing.assert_allclose(grads["m"], -(40 - 1.6) / 0.01 + (30 + 0.6) / 0.01, rtol=1e-9)


@ppl.model
def mixture(x):
    k = ppl.sample("k", Categorical(logits=ppl.param("logits", np.zeros(3))))
    with ppl.plate("data", x) as x:
        z = ppl.sample("z", Normal(ppl.constant(MEANS)[k], 1.0))
        ppl.sample("x", Normal(z, 1.0), obs=x)


@ppl.model
def nothing_observed():
    ppl.sample("k", Categorical(logits=ppl.param("logits", np.zeros(3))))


def test_likelihood_errors_name_what_is_wrong():
    assert "observes nothing" in objective_error(ppl.likelihood(nothing_observed))
    assert "no latent named 'q'" in objective_error(ppl.likelihood(mixture, "q"), X)
    assert "'z'" in objective_error(ppl.likelihood(mixture, "z"), X)
    assert "marginalise it too" in objective_error(ppl.likelihood(mixture, "k"), X)


def test_marginalised_latents_need_no_estimator_and_are_not_in_the_pasteable_plan():
    plan = ppl.compile(ppl.likelihood(tied, ("k", "b")), data=(X, Y)).explain()
    assert plan["k"].estimator.label.startswith("Marginalize")
    assert plan.as_dict() == {}
