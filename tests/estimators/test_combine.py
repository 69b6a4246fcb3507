"""Combinations: the weighted sum of their members noise for noise, weights of least variance, and what is refused."""

import json
import pickle

import numpy as np
import pytest

import ppl
import ppl.errors
import ppl.estimators
from ppl import Bernoulli, Normal
from ppl.errors import EstimatorError
from ppl.estimators import (
    ARM,
    CategoricalDisARM,
    Combine,
    DisARM,
    DoublyReparameterized,
    Enumerate,
    Implicit,
    MeasureValued,
    Pathwise,
    Rebar,
    Relax,
    Relaxed,
    ScoreFunction,
)
from ppl.estimators.serialize import from_json, to_json
from ppl.ir.reference.interpret import evaluate
from tests.helpers.choices import nodes_of
from tests.helpers.law_graphs import LAWS
from tests.helpers.laws import Sampler, make_env

MOVING, OTHERS = ScoreFunction("moving_average"), ScoreFunction("leave_one_out")

SUMS = [
    ("layer", "b", (DisARM(), ScoreFunction(0.4)), {}, 1),
    ("two_layers", "b1", (Rebar(), OTHERS), {"eta": 0.6}, 2),
    ("rows", "b", (ARM(), ScoreFunction()), {}, 1),
    ("one_hot_pair", "x", (CategoricalDisARM(), ScoreFunction(0.2)), {}, 1),
    ("normal", "z", (Pathwise(), ScoreFunction(0.1), MeasureValued()), {}, 1),
    ("iwae_bernoulli", "h", (DisARM(), ScoreFunction()), {}, 1),
]


@pytest.mark.parametrize(("name", "node", "members", "first", "particles"), SUMS)
def test_the_gradient_is_the_weighted_sum_of_the_members_sample_by_sample(name, node, members, first, particles):
    graph = LAWS[name]()
    weights = [0.4, -0.3][: len(members) - 1]
    aux = {f"{node}/{i}.weight.*": w for i, w in enumerate(weights, 2)} | {f"{node}/1.{k}": v for k, v in first.items()}
    rest = dict.fromkeys([n for n in nodes_of(graph) if n != node], ScoreFunction())
    together = Sampler(graph, {node: Combine(*members), **rest}, aux, particles=particles)
    alone = [
        Sampler(
            graph,
            {node: m, **rest},
            {f"{node}/{k}": v for k, v in first.items()} if i == 0 else {},
            particles=particles,
        )
        for i, m in enumerate(members)
    ]
    loss, found = together(50, seed=3)
    each = [sampler(50, seed=3) for sampler in alone]
    np.testing.assert_allclose(loss, each[0][0], rtol=1e-12)
    for parameter, g in found.items():
        wanted = sum(w * grads[parameter] for w, (_, grads) in zip([1 - sum(weights), *weights], each, strict=True))
        np.testing.assert_allclose(g, wanted, rtol=1e-9, atol=1e-11, err_msg=parameter)


def wave(mean=0.3):
    @ppl.model
    def model():
        z = ppl.sample("z", Normal(ppl.param("mean", mean), 1.0))
        ppl.cost("loss", 0.5 * z**2 + np.sin(3 * z))

    return model


def moments(weight, mean=0.3):
    """Mean and variance of weight * score + (1 - weight) * path for `wave`, by Gauss-Hermite quadrature."""
    x, w = np.polynomial.hermite_e.hermegauss(80)
    w, z = w / w.sum(), mean + x
    g = weight * (0.5 * z**2 + np.sin(3 * z)) * x + (1 - weight) * (z + 3 * np.cos(3 * z))
    return w @ g, w @ (g - w @ g) ** 2


def test_training_moves_the_weight_to_the_least_variance():
    program = ppl.compile(wave(), {"z": Combine(Pathwise(), ScoreFunction())}, particles=8)
    state = program.init(0)
    for _ in range(1500):
        _, _, state = program.step(state)
    weights = np.linspace(-0.5, 1.5, 401)
    variances = [moments(w)[1] for w in weights]
    assert np.ptp([moments(w)[0] for w in weights]) < 1e-9
    assert min(variances) < 0.8 * min(moments(0)[1], moments(1)[1])
    assert moments(float(state.aux["z/2.weight.loc"]))[1] < 1.03 * min(variances)
    total = program.diagnose(state, repeats=4000, seed=1, timing=False, particles=1).total
    assert abs(total.trace - moments(float(state.aux["z/2.weight.loc"]))[1]) < 5 * total.trace_error


def test_weights_begin_at_the_first_member_and_have_the_shape_asked_for():
    @ppl.model
    def model():
        b = ppl.sample("b", Bernoulli(logits=ppl.param("logits", np.zeros((2, 3)))))
        ppl.cost("loss", b.sum() ** 2)

    for per, shape in (("parameter", ()), ("entry", (2, 3))):
        state = ppl.compile(model, {"b": Combine(DisARM(), MOVING, Rebar(), per=per)}).init(0)
        weights = {k: v for k, v in state.aux.items() if k.endswith("weight.logits")}
        assert set(weights) == {"b/2.weight.logits", "b/3.weight.logits"}
        assert all(np.shape(v) == shape and not np.any(v) for v in weights.values())
        assert {"b/2.baseline", "b/3.eta"} <= set(state.aux)


def test_members_learn_inside_a_combination():
    graph = LAWS["layer"]()
    members = Combine(DisARM(), ScoreFunction("learned", width=2), Rebar())
    compiled = graph.compile({"b": members}).prepare()
    variant = compiled.variant("gradient")
    env = make_env(compiled, graph, variant, {"b/2.weight.logits": 0.3, "b/3.weight.logits": 0.2})
    moved = {
        k
        for k, new in zip(variant.aux, evaluate(list(variant.aux.values()), env), strict=True)
        if np.any(new != env.aux[k])
    }
    assert {"b/2.network.output", "b/2.baseline", "b/2.weight.logits", "b/3.weight.logits", "b/3.eta"} <= moved


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ((DisARM(), Relaxed()), "biased"),
        ((Enumerate(), DisARM()), "takes no sample"),
        ((DisARM(), Combine(ARM(), MOVING)), "no single estimator"),
        ((DisARM(), "DisARM"), "'DisARM' is no estimator"),
        (([DisARM(), ARM()],), "is a list: name its members one by one"),
        ((DisARM(), ARM), "ARM.* is a class: write it with parentheses"),
        ((DisARM(), DisARM()), "named twice"),
        ((DisARM(),), r"needs two or more estimators, has DisARM\(\)"),
        ((), "needs two or more estimators, has none; for example Combine"),
        ((Rebar(), Relax()), "temperatures of their own"),
        ((Pathwise(), DoublyReparameterized()), "weights of the bound"),
    ],
)
def test_what_cannot_be_a_member_is_refused(members, why):
    with pytest.raises(EstimatorError, match=why):
        Combine(*members)


@pytest.mark.parametrize("options", [{"per": "unit"}, {"rate": 0.0}, {"rate": "fast"}])
def test_options_are_checked(options):
    with pytest.raises(EstimatorError, match="Combine"):
        Combine(DisARM(), MOVING, **options)


def test_what_one_member_does_not_support_is_refused_with_its_reason():
    with pytest.raises(EstimatorError, match=r"DisARM\(\): needs Bernoulli units"):
        ppl.compile(wave(), {"z": Combine(Pathwise(), DisARM())}, data=())
    with pytest.raises(EstimatorError, match="each replace the sample's path"):
        ppl.compile(wave(), {"z": Combine(Pathwise(), Implicit())}, data=())
    with pytest.raises(EstimatorError, match="particles >= 2"):
        ppl.compile(wave(), {"z": Combine(Pathwise(), OTHERS)}, data=())


def test_it_is_written_kept_and_loaded_like_any_other(tmp_path):
    estimator = Combine(Pathwise(), Rebar(temperature=ppl.hyper("tau", 0.3)), per="entry", rate=0.02)
    assert estimator.label == (
        "Combine(Pathwise(), Rebar(temperature=Hyper(name='tau', default=0.3)), per='entry', rate=0.02)"
    )
    names = {**ppl.estimators.__dict__}
    assert eval(repr(estimator), names) == estimator == pickle.loads(pickle.dumps(estimator))
    assert eval(Combine(DisARM(), MOVING).label, names) == Combine(DisARM(), MOVING) != Combine(MOVING, DisARM())
    assert from_json(json.loads(json.dumps(to_json({"z": estimator})))) == {"z": estimator}
    program = ppl.compile(wave(), {"z": Combine(Pathwise(), MOVING)})
    _, _, state = program.step(program.init(0))
    state.save(tmp_path / "state.npz")
    again = ppl.load_state(tmp_path / "state.npz")
    assert again.estimators == state.estimators == {"z": Combine(Pathwise(), MOVING)}
    (_, first, one), (_, second, two) = program.step(state), program.step(again)
    assert all(np.array_equal(first[k], second[k]) for k in first)
    assert all(np.array_equal(one.aux[k], two.aux[k]) for k in one.aux)
    assert program.explain().as_dict() == {"z": Combine(Pathwise(), MOVING)}
    assert "z: Normal, Combine(Pathwise(), ScoreFunction(baseline='moving_average'))" in str(program.explain()["z"])


def test_options_of_members_are_run_time_scalars():
    program = LAWS["layer"]().compile({"b": Combine(DisARM(), Rebar(temperature=ppl.hyper("tau", 0.5)))})
    with pytest.raises(ppl.errors.OptionError, match="tau"):
        program.value(program.init(0), hyper={"tau": -1.0})
