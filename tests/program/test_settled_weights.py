"""Weights of combinations as `particles="auto"` foresees them, against normal equations and against training."""

import numpy as np
import pytest

import ppl
from ppl import Bernoulli, Normal
from ppl.choosing.interpreted_variance import InterpretedVariances
from ppl.choosing.warm_start import auxiliary_slots, simulate_adam, warm_started
from ppl.estimators import Combine, Pathwise, ScoreFunction
from ppl.estimators.combine import is_combination_weight

BOTH = Combine(Pathwise(), ScoreFunction("moving_average"))


def test_weights_come_to_the_bottom_of_their_parabolas():
    """Slopes of (a + w (b - a))² in w, of two members without and with noise: least squares has the bottom."""
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(2, 64, 3)) + 0.5
    at = np.array([0.0, 0.4, -1.0])

    def slope(w):
        return 2 * (b - a) * (a + w * (b - a))

    least = -(a * (b - a)).sum(0) / ((b - a) ** 2).sum(0)
    assert simulate_adam(at, slope(at), slope(at + 1), 0.003) == pytest.approx(least, abs=0.1)
    calm = np.full((16, 1), -2.0)
    assert simulate_adam(np.zeros(1), calm, calm + 5.0, 0.01) == pytest.approx(0.4, abs=1e-3)


def test_one_that_is_never_seen_to_move_stays_at_zero():
    flat = np.zeros((16, 2))
    assert not simulate_adam(np.zeros(2), flat, flat, 0.01).any()


def test_names_of_weights():
    @ppl.model
    def model():
        z = ppl.sample("z", Normal(ppl.param("m", 0.3), np.exp(ppl.param("s", 0.0))))
        ppl.cost("loss", np.sin(3.0 * z))

    names = auxiliary_slots(ppl.compile(model, BOTH), ())
    assert {n for n in names if is_combination_weight(n)} == {"z/2.weight.loc", "z/2.weight.scale"}
    assert "z/2.baseline" in names and not is_combination_weight("z/2.weight.loc.mean")


@ppl.model
def waves():
    z = ppl.sample("z", Normal(ppl.param("m", np.full(4, 0.5)), 1.0))
    ppl.cost("loss", np.sin(3.0 * z).sum() + z.sum() ** 2 / 10)


def test_weights_are_those_of_training():
    program = ppl.compile(waves, BOTH, particles=16)
    found = warm_started(program, program.init(0), (), lambda state: 64).aux
    state = program.init(0)
    params = dict(state.params)
    name, trained = "z/2.weight.loc", []
    for _ in range(800):
        state = program.step(state)[2].replace(params=params)
        trained.append(float(state.aux[name]))
    last = trained[400:]
    assert np.mean(last) > 0.4
    assert float(found[name]) == pytest.approx(np.mean(last), abs=4 * np.std(last))


def test_a_combination_is_believed_as_far_as_it_is_measured():
    """Of a linear cost the path has no noise, so no weight helps; of a wave both members are better than the path."""

    @ppl.model
    def straight():
        z = ppl.sample("z", Normal(ppl.param("m", np.zeros(3)), 1.0))
        ppl.cost("loss", 2.0 * z.sum() + 0.01 * (z**2).sum())

    for model, better in ((straight, False), (waves, True)):
        path, both = (ppl.compile(model, e) for e in (Pathwise(), BOTH))
        found = [InterpretedVariances(p, (), None).curve(p, 2000).at(2) for p in (path, both)]
        assert (found[1] < 0.8 * found[0]) == better
        assert better or found[1] >= 0.999 * found[0]


def test_averages_in_combinations_are_charged_by_their_weights():
    program = ppl.compile(waves, BOTH)
    variances = InterpretedVariances(program, (), None)
    weight = float(variances._settled(program).aux["z/2.weight.loc"])
    alone = ppl.compile(waves, ScoreFunction("moving_average"))
    charge = InterpretedVariances(alone, (), None)._lag(alone)
    assert charge > 1
    assert variances._lag(program) == pytest.approx(1 + weight * (charge - 1))


def test_nodes_without_weights_settle_as_before():
    @ppl.model
    def coin():
        ppl.cost("loss", 2.0 + ppl.sample("b", Bernoulli(logits=ppl.param("l", 0.0))))

    program = ppl.compile(coin, ScoreFunction("moving_average"))
    found = warm_started(program, program.init(0), (), lambda state: 64).aux["b/baseline"]
    assert float(found) == pytest.approx(2.5, abs=4 * 0.5 / 32)
