"""A loop is what it would be written out step by step: the same noise, loss, gradient and auxiliary values."""

import numpy as np
import pytest

import ppl
import ppl.errors
from ppl.errors import ModelError, ShapeError
from ppl.estimators import ScoreFunction
from ppl.runtime import compiled
from tests.time.models import CASES

BACKWARDS = "elbo_back"
"""Its first step has a divergence in closed form where it is written out, so that only means agree."""


def written_out(monkeypatch, objective, data, options):
    """The program without loops."""
    with monkeypatch.context() as patch:
        patch.setattr(compiled, "plan_needs_unrolling", lambda graph, plan: True)
        program = ppl.compile(objective, dtype="float64", data=data or None, **options)
        program.prepare(*data)
    return program


LEARNED = "learned"
"""In a loop a learned baseline sees the carry, so that only means agree."""


@pytest.mark.parametrize("name", [n for n in CASES if n not in (BACKWARDS, LEARNED)])
def test_steps_are_those_of_the_loop_written_out(name, monkeypatch):
    objective, data, options = CASES[name]
    looped = ppl.compile(objective, dtype="float64", data=data or None, **options)
    flat = written_out(monkeypatch, objective, data, options)
    states = [p.init(0, *data) for p in (looped, flat)]
    for seed in range(2):
        (loss, grad, _), (other, wanted, _) = (
            p.step(s, *data, seed=seed) for p, s in zip((looped, flat), states, strict=True)
        )
        assert loss == pytest.approx(other, rel=1e-9)
        for key in grad:
            np.testing.assert_allclose(grad[key], wanted[key], rtol=1e-8, atol=1e-10)
    values = [p.value(s, *data, seed=5) for p, s in zip((looped, flat), states, strict=True)]
    assert values[0] == pytest.approx(values[1], rel=1e-9)


@pytest.mark.parametrize("name", ["body_costs", "rows", "nested_score", "stops_rows", "elbo", "iwae"])
def test_the_interpreter_agrees(name):
    objective, data, options = CASES[name]
    program = ppl.compile(objective, dtype="float64", data=data or None, **options)
    state = program.init(0, *data)
    found = program.diagnose(state, *data, repeats=6, timing=False, backend="interpreter", seed=3)
    again = program.diagnose(state, *data, repeats=6, timing=False, backend="compiled", seed=3)
    for key in state.params:
        np.testing.assert_allclose(found[key].mean, again[key].mean, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["body_costs", "rows", "mixed", "gammas", "elbo"])
def test_float32_is_close(name):
    objective, data, options = CASES[name]
    losses = []
    for dtype in ("float64", "float32"):
        program = ppl.compile(objective, dtype=dtype, data=data or None, **options)
        losses.append(program.value(program.init(0, *data), *data, seed=2))
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_backward_guide_has_no_divergence_in_closed_form():
    """Its sample of a step enters the model's law of the same step, through later ones."""
    objective, data, _options = CASES[BACKWARDS]
    program = ppl.compile(objective, dtype="float64", data=data)
    assert not [name for name in program.prepare().trace.costs if name.startswith("KL")]


def test_baselines_of_every_step_follow_the_costs_to_go():
    """They come to lie at the mean costs ahead of their steps; the estimate stays that of no baseline, less noisy."""
    objective, _, _ = CASES[LEARNED]
    found = {}
    for each in (ScoreFunction(), ScoreFunction("moving_average", per_step=True), ScoreFunction("learned")):
        program = ppl.compile(objective, dtype="float64", estimators=each)
        state = program.init(0)
        for _ in range(400):
            state = program.step(state)[2]
        grads = np.array([program.value_and_grad(state, seed=i)[1]["p"] for i in range(8000)])
        found[each.label] = grads.mean(), grads.std() / np.sqrt(len(grads))
        if each.per_step:
            assert np.all(np.diff(state.aux["b/baseline"]) < 0)
    (plain, wide), *others = found.values()
    for mean, error in others:
        assert error < 0.8 * wide
        assert abs(mean - plain) < 5 * np.hypot(error, wide)


def test_a_baseline_of_every_step_needs_a_loop():
    with pytest.raises(ppl.errors.EstimatorError, match="per_step is for the baseline 'moving_average'"):
        ScoreFunction("learned", per_step=True)

    @ppl.model
    def model():
        ppl.cost("c", ppl.sample("b", ppl.Bernoulli(logits=ppl.param("p", 0.3))) * 2.0)

    with pytest.raises(ppl.errors.EstimatorError, match="per_step is for nodes in loops over time"):
        ppl.compile(model, estimators=ScoreFunction("moving_average", per_step=True))


def sequences(steps=None, until=None, values=None):
    """A hidden walk of three steps, and a guide of so many steps or of `values` at once."""

    @ppl.model
    def walk():
        a = ppl.param("a", 0.5)

        def step(x, t):
            z = ppl.sample("z", ppl.Normal(a * x, 1.0))
            ppl.sample("y", ppl.Normal(z, 1.0), obs=0.3)
            return z, None

        ppl.scan(step, 0.4, length=3, until=until)

    @ppl.model
    def guide():
        if steps is None:
            ppl.sample("z", ppl.Normal(np.zeros(values) + ppl.param("b", 0.2), 1.0))
        else:
            ppl.scan(lambda x, t: (ppl.sample("z", ppl.Normal(x + ppl.param("b", 0.2), 1.0)), None), 0.0, length=steps)

    return walk, guide


@pytest.mark.parametrize("bound", [ppl.elbo, lambda model, guide: ppl.iwae(model, guide, 2)])
def test_a_guide_has_a_value_for_every_step(bound):
    for given, message in (
        ({"values": ()}, r"a loop of 3 steps in the model and has one value of shape \(\) in the guide"),
        ({"values": 2}, r"has one value of shape \(2,\) in the guide: draw it in such a loop, or all steps at once"),
        ({"steps": 2}, r"lies in loops of \[2\] steps in the guide, of \[3\] in the model"),
    ):
        with pytest.raises(ShapeError, match=message):
            ppl.compile(bound(*sequences(**given)))
    ppl.compile(bound(*sequences(values=3)))


@pytest.mark.parametrize("bound", [ppl.elbo, lambda model, guide: ppl.iwae(model, guide, 2)])
def test_latents_of_rows_that_stop_have_no_density(bound):
    with pytest.raises(ModelError, match=r"latent 'z' stands in a loop with until .*: rows have no density after"):
        ppl.compile(bound(*sequences(steps=3, until=lambda x: x > 1.0)))


def test_loops_with_until_have_names_of_their_own():
    stopping = {"steps": 3, "until": lambda x: x > 1.0}
    walk, _ = sequences(**stopping)

    @ppl.model
    def guide():
        ppl.scan(lambda x, t: (ppl.sample("z", ppl.Normal(x, 1.0)), None), 0.0, length=3, until=stopping["until"])

    with pytest.raises(
        ModelError, match=r"two loops with until are called 'time'.*In a guide and its model.*no latents"
    ):
        ppl.compile(ppl.elbo(walk, guide))

    @ppl.model
    def both():
        for start in (0.0, 1.0):
            x, _ = ppl.scan(lambda x, t: (x + 1.0, None), start, length=3, until=stopping["until"])
        ppl.cost("c", x * ppl.param("p", 1.0))

    with pytest.raises(ModelError, match=r"two loops with until are called 'time'.*; name them with name="):
        ppl.compile(both)
