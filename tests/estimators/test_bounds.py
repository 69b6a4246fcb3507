"""Multi-sample bounds: VIMCO and doubly reparameterized gradients sample by sample, the bound itself, refusals."""

import numpy as np
import pytest
from scipy.special import logsumexp

import ppl
from ppl import Bernoulli, Normal
from ppl.errors import EstimatorError, ModelError
from ppl.estimators import DisARM, DoublyReparameterized, Enumerate, Pathwise, ScoreFunction, StickingTheLanding, Vimco
from tests.helpers import law_graphs  # noqa: F401  (first: it registers the others)
from tests.helpers.law_bounds import bernoulli_log, normal_log
from tests.helpers.law_graphs import LAWS

X = np.array([0.6, -0.9, 1.4])
SCALE = 0.8


@ppl.model
def gaussian(x):
    with ppl.plate("data", x) as x:
        z = ppl.sample("z", Normal(0.0, 1.0))
        ppl.sample("x", Normal(z * ppl.param("w", 1.0), SCALE), obs=x)


@ppl.model
def gaussian_guide(x):
    with ppl.plate("data", x) as x:
        ppl.sample("z", Normal(ppl.param("a", 0.2) * x, np.exp(ppl.param("s", -0.1))))


def step(objective, estimators, data=(X,), seed=3):
    program = ppl.compile(objective, estimators=estimators, dtype="float64", data=data)
    state = program.init(0).replace(seed=seed)
    loss, grads, _ = program.step(state, *data)
    values = program.sample(state, *data)
    return program, state, loss, grads, values


def test_doubly_reparameterized_equals_its_formula_sample_by_sample():
    _, _, loss, grads, values = step(ppl.iwae(gaussian, gaussian_guide, particles=4), DoublyReparameterized())
    z, x, a, scale, w = values["z"], X[:, None], 0.2, np.exp(-0.1), 1.0
    log_w = normal_log(z, 0.0, 1.0) + normal_log(x, w * z, SCALE) - normal_log(z, a * x, scale)
    np.testing.assert_allclose(loss, -np.sum(logsumexp(log_w, axis=1) - np.log(4)), rtol=1e-12)
    weights = np.exp(log_w - logsumexp(log_w, axis=1, keepdims=True))
    slope = -z + (x - w * z) * w / SCALE**2 + (z - a * x) / scale**2  # of log w in z, the guide's parameters fixed
    noise = (z - a * x) / scale
    np.testing.assert_allclose(grads["a"], -np.sum(weights**2 * slope * x), rtol=1e-10)
    np.testing.assert_allclose(grads["s"], -np.sum(weights**2 * slope * scale * noise), rtol=1e-10)
    np.testing.assert_allclose(grads["w"], -np.sum(weights * (x - w * z) * z / SCALE**2), rtol=1e-10)


def test_vimco_equals_its_formula_sample_by_sample():
    @ppl.model
    def model(x):
        with ppl.plate("data", x) as x:
            b = ppl.sample("b", Bernoulli(logits=0.3))
            ppl.sample("x", Normal(2 * b - 1, 0.9), obs=x)

    @ppl.model
    def guide(x):
        with ppl.plate("data", x) as x:
            ppl.sample("b", Bernoulli(logits=ppl.param("v", 0.7) * x))

    _, _, loss, grads, values = step(ppl.iwae(model, guide, particles=5), Vimco())
    b, x, logits = values["b"], X[:, None], 0.7 * X[:, None]
    log_w = bernoulli_log(b, np.array(0.3)) + normal_log(x, 2 * b - 1, 0.9) - bernoulli_log(b, logits)
    bound = logsumexp(log_w, axis=1) - np.log(5)
    np.testing.assert_allclose(loss, -bound.sum(), rtol=1e-12)
    expected = 0.0
    for k in range(5):
        others = np.delete(log_w, k, axis=1)
        filled = np.concatenate([others, others.mean(1, keepdims=True)], axis=1)
        signal = bound - (logsumexp(filled, axis=1) - np.log(5))
        score = (b[:, k] - 1 / (1 + np.exp(-logits[:, 0]))) * X
        weight = np.exp(log_w[:, k] - logsumexp(log_w, axis=1))
        expected -= np.sum(signal * score) - np.sum(weight * score)
    np.testing.assert_allclose(grads["v"], expected, rtol=1e-10)


def test_one_importance_sample_is_the_sampled_elbo_noise_for_noise():
    _, _, loss, grads, _ = step(ppl.iwae(gaussian, gaussian_guide, particles=1), Pathwise())
    _, _, elbo, again, _ = step(ppl.elbo(gaussian, gaussian_guide, kl="sampled"), Pathwise())
    np.testing.assert_allclose(loss, elbo, rtol=1e-12)
    for name, g in grads.items():
        np.testing.assert_allclose(g, again[name], rtol=1e-10, err_msg=name)


def test_the_bound_falls_to_the_negative_log_likelihood():
    exact = -np.sum(normal_log(X, 0.0, float(np.sqrt(1 + SCALE**2))))
    found = []
    for count in (1, 8, 512):
        program = ppl.compile(ppl.iwae(gaussian, gaussian_guide, particles=count), dtype="float64", data=(X,))
        state = program.init(0)
        draws = [program.value(state, X, seed=s, particles=20) for s in range(20)]
        found.append((np.mean(draws), np.std(draws) / np.sqrt(len(draws))))
    means, errors = np.array(found).T
    assert means[0] > means[1] + 5 * errors[0] and means[1] > means[2]
    assert abs(means[2] - exact) < 5 * errors[2] + 0.005


def test_doubly_reparameterized_is_exact_at_the_posterior():
    """With q the posterior all weights are equal and no sample of the gradient moves the guide."""

    @ppl.model
    def guide(x):
        with ppl.plate("data", x) as x:
            ppl.sample("z", Normal(ppl.param("a", 1 / (1 + SCALE**2)) * x, SCALE / np.sqrt(1 + SCALE**2)))

    for estimator in (DoublyReparameterized(), Pathwise()):
        _, _, loss, grads, _ = step(ppl.iwae(gaussian, guide, particles=3), estimator)
        np.testing.assert_allclose(loss, -np.sum(normal_log(X, 0.0, np.sqrt(1 + SCALE**2))), rtol=1e-12)
        assert (abs(grads["a"]) < 1e-12) == isinstance(estimator, DoublyReparameterized)


def test_large_weights_do_not_spoil_the_others():
    """In float32 a difference of sums would lose the small weights next to one that is e^40 times as large."""

    @ppl.model
    def model(x):
        with ppl.plate("data", x) as x:
            b = ppl.sample("b", Bernoulli(logits=np.zeros(4)))
            ppl.sample("x", Normal(np.sum(b), 0.1), obs=x)

    @ppl.model
    def guide(x):
        with ppl.plate("data", x) as x:
            ppl.sample("b", Bernoulli(logits=ppl.param("v", np.zeros(4)) * x))

    grads = {}
    for dtype in ("float32", "float64"):
        program = ppl.compile(ppl.iwae(model, guide, particles=4), estimators=Vimco(), dtype=dtype, data=(X,))
        grads[dtype] = program.value_and_grad(program.init(0).replace(seed=5), X)[1]["v"]
    assert np.all(np.isfinite(grads["float32"]))
    np.testing.assert_allclose(grads["float32"], grads["float64"], rtol=2e-4, atol=1e-3)


REFUSED = {
    "sticking the landing": ("iwae_normal", {"z": StickingTheLanding()}, "would not average to 0"),
    "vimco outside a bound": ("toy", {"b": Vimco()}, "needs the iwae objective"),
    "doubly outside a bound": ("normal", {"z": DoublyReparameterized()}, "no sampled log q"),
    "beside an enumerated node": (
        "iwae_mixed",
        {"b": Enumerate(), "z": DoublyReparameterized()},
        "differ in every state",
    ),
}


@pytest.mark.parametrize("label", REFUSED)
def test_refusals_say_why(label):
    law, plan, reason = REFUSED[label]
    with pytest.raises(EstimatorError, match=reason):
        LAWS[law]().compile(plan)


def test_a_random_node_below_needs_the_plain_weights():
    @ppl.model
    def model(x):
        with ppl.plate("data", x) as x:
            top = ppl.sample("top", Normal(0.0, 1.0))
            ppl.sample("x", Normal(ppl.sample("low", Normal(top, 1.0)), 1.0), obs=x)

    @ppl.model
    def guide(x):
        with ppl.plate("data", x) as x:
            top = ppl.sample("top", Normal(ppl.param("a", 0.1) * x, 1.0))
            ppl.sample("low", Normal(top + ppl.param("c", 0.1) * x, 1.0))

    objective = ppl.iwae(model, guide, particles=3)
    with pytest.raises(EstimatorError, match="'low' downstream is random"):
        ppl.compile(objective, estimators=DoublyReparameterized(), data=(X,)).explain()
    program = ppl.compile(objective, estimators={"low": DoublyReparameterized()}, dtype="float64", data=(X,))
    assert program.check_unbiased(program.init(0), X).ok


def test_one_sample_has_no_others():
    with pytest.raises(EstimatorError, match="single importance sample"):
        ppl.compile(ppl.iwae(gaussian, gaussian_guide, particles=1), estimators=Vimco(), data=(X,)).explain()


def test_the_table_does_not_enumerate_beside_weights():
    law = LAWS["iwae_mixed"]()
    assert law.compile({}).explain()["b"].estimator == Enumerate()
    choice = law.compile({"z": DoublyReparameterized()}).explain()["b"]
    assert choice.estimator == DisARM() and "'z' needs the weights" in dict(choice.rejected)["Enumerate()"]


def test_iwae_says_what_it_needs():
    for wrong in (0, -1, 2.5, "3"):
        with pytest.raises(ModelError, match="particles, the number of importance samples, must be a whole number"):
            ppl.iwae(gaussian, gaussian_guide, particles=wrong)

    @ppl.model
    def costly(x):
        with ppl.plate("data", x) as x:
            z = ppl.sample("z", Normal(0.0, 1.0))
            ppl.sample("x", Normal(z, 1.0), obs=x)
            ppl.cost("penalty", z**2)

    with pytest.raises(ModelError, match=r"'penalty'.*only densities enter the bound"):
        ppl.compile(ppl.iwae(costly, gaussian_guide, particles=2), data=(X,)).explain()

    @ppl.model
    def mean_guide(x):
        ppl.sample("mu", Normal(ppl.param("m", 0.0), 1.0))

    @ppl.model
    def mean_model(x):
        mu = ppl.sample("mu", Normal(0.0, 1.0))
        with ppl.plate("data", x) as x:
            ppl.sample("x", Normal(mu, 1.0), obs=x)

    with pytest.raises(ModelError, match=r"'x' .*plate 'data'.*does not split into minibatches"):
        ppl.compile(ppl.iwae(mean_model, mean_guide, particles=2), data=(X,)).explain()


def test_observations_that_no_latent_enters_are_costs_of_their_own():
    @ppl.model
    def model(x):
        ppl.sample("apart", Normal(ppl.param("p", 0.3), 1.0), obs=2.0)
        with ppl.plate("data", x) as x:
            z = ppl.sample("z", Normal(0.0, 1.0))
            ppl.sample("x", Normal(z * ppl.param("w", 1.0), SCALE), obs=x)

    program, state, loss, grads, _ = step(ppl.iwae(model, gaussian_guide, particles=4), "auto")
    _, _, without, _, _ = step(ppl.iwae(gaussian, gaussian_guide, particles=4), "auto")
    np.testing.assert_allclose(loss - without, -normal_log(2.0, 0.3, 1.0), rtol=1e-10)
    np.testing.assert_allclose(grads["p"], -(2.0 - 0.3), rtol=1e-10)
    assert program.value(state, X) == pytest.approx(loss, rel=1e-10)


def test_a_bound_trains_and_reports_rows():
    program = ppl.compile(ppl.iwae(gaussian, gaussian_guide, particles=5), data=(X,))
    fit = ppl.fit(program, X, steps=50, optimizer=ppl.optim.Adam(0.05), seed=0, progress=False)
    assert fit.history["loss"][-1] < fit.history["loss"][0]
    rows = program.value(fit.state, X, per_row=True)
    np.testing.assert_allclose(rows.sum(), program.value(fit.state, X), rtol=1e-5)


def test_second_derivatives_of_a_bound():
    """Score terms are regenerated inside the log-mean-exp: the mean Hessian is the exact one's."""
    graph = LAWS["iwae_bernoulli"]()
    program = graph.compile(ScoreFunction())
    state = program.init(0).replace(params=graph.params)
    vector = {k: np.ones_like(v) for k, v in graph.params.items()}
    draws = []
    for seed in range(3000):
        found = program.hvp(state.replace(seed=seed), vector, *graph.data, total_rows=graph.total_rows)
        draws.append(np.concatenate([np.ravel(found[k]) for k in graph.params]))
    mean, error = np.mean(draws, 0), np.std(draws, 0) / np.sqrt(len(draws))
    step, flat = 1e-4, []
    shifted = [{k: v + sign * step for k, v in graph.params.items()} for sign in (1, -1)]
    from tests.helpers.exact import central_differences

    up, down = (central_differences(graph.loss, p) for p in shifted)
    for name in graph.params:
        flat.append(np.ravel((up[name] - down[name]) / (2 * step)))
    np.testing.assert_array_less(np.abs(mean - np.concatenate(flat)), 5 * error + 1e-3)
