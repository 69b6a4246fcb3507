"""Flows: volumes by differences, inverses, densities, and what makes two of them the same law."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import ppl
from ppl import Beta, Normal, Transformed
from ppl import bijectors as b
from ppl.errors import ModelError, ShapeError
from ppl.ir import ops
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate

RNG = np.random.default_rng(0)


def run(node, dtype=np.float64):
    return evaluate([node], Env(dtype=dtype))[0]


def weights(d, h=7):
    sizes = ((d, h), (h,), (h, 2 * d), (2 * d,))
    return [0.7 * RNG.normal(size=size) for size in sizes]


FLOWS = {
    "coupling": lambda: b.Coupling([True, False, True, False], *weights(4)),
    "forward": lambda: b.InverseAutoregressive(*weights(4)),
    "backward": lambda: b.InverseAutoregressive(*weights(4), reverse=True),
    "two entries": lambda: b.InverseAutoregressive(*weights(2)),
    "one entry": lambda: b.InverseAutoregressive(*weights(1)),
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", FLOWS)
def test_volumes_and_inverses(name, dtype):
    flow = FLOWS[name]()
    d, eps = flow.size, float(np.finfo(dtype).eps)
    x = RNG.normal(size=(2, 3, d))
    y = run(flow.forward(ops.const(x)), dtype)
    np.testing.assert_allclose(run(flow.inverse(ops.const(y)), dtype), x, rtol=0, atol=2000 * eps)
    volumes = run(flow.log_det(ops.const(x)), dtype)
    for at in np.ndindex(2, 3):
        ends = (run(flow.forward(ops.const(x[at] + s * 1e-6 * np.eye(d)))) for s in (1, -1))
        jacobian = np.subtract(*ends).T / 2e-6
        assert np.linalg.slogdet(jacobian)[1] == pytest.approx(float(volumes[at]), abs=1e-7 + 100 * eps)


def test_an_order_is_kept():
    """The Jacobian is triangular, and every entry is bent by those before it."""
    flow = b.InverseAutoregressive(*weights(4, 12))
    x = RNG.normal(size=4)
    jacobian = np.subtract(*(run(flow.forward(ops.const(x + s * 1e-6 * np.eye(4)))) for s in (1, -1))).T / 2e-6
    assert (np.triu(jacobian, 1) == 0).all()
    assert (np.abs(jacobian[np.tril_indices(4, -1)]) > 1e-4).all()


@pytest.mark.parametrize("name", ["coupling", "backward"])
def test_the_law_of_a_flow(name):
    flow = FLOWS[name]()
    law = Transformed(Normal(np.full((3, 4), 0.2), 0.8), flow)
    x = RNG.normal(size=(3, 4))
    y = run(flow.forward(ops.const(x)))
    wanted = stats.norm(0.2, 0.8).logpdf(x).sum() - run(flow.log_det(ops.const(x))).sum()
    assert law.log_prob(y) == pytest.approx(wanted, rel=1e-12)
    assert (law.unit_rank, law.batch_of_units, law.expand((5, 3)).event_shape) == (1, (3,), (5, 3, 4))
    assert law.expand((5, 3)).log_prob(np.stack(5 * [y])) == pytest.approx(5 * wanted, rel=1e-12)


def test_a_guide_through_a_flow_has_gradients():
    """E_q[p / q] = 1, and the loss falls to that of the exact posterior N(0.5, 0.5) of each entry."""
    first, second = weights(2), weights(2)

    @ppl.model
    def model():
        x = ppl.sample("x", Normal(np.zeros(2), 1.0))
        ppl.factor("f", -0.5 * np.sum((x - 1.0) ** 2))

    @ppl.model
    def guide():
        layers = []
        for i, given in enumerate((first, second)):
            learned = [ppl.param(f"{i}{k}", 0.3 * v) for k, v in enumerate(given)]
            layers.append(b.Coupling([i == 0, i == 1], *learned))
        ppl.sample("x", Transformed(Normal(np.zeros(2), 1.0), *layers))

    program = ppl.compile(ppl.elbo(model, guide), dtype="float64", particles=16)
    evidence = -2 * (0.5 * np.log(0.5) - 0.25)
    weights_at_start = np.exp([evidence - program.value(program.init(0), seed=s, particles=1) for s in range(1500)])
    assert abs(weights_at_start.mean() - 1) < 5 * weights_at_start.std() / np.sqrt(1500) < 0.5
    state = ppl.fit(program, steps=1500, optimizer=ppl.optim.Adam(ppl.optim.cosine(0.03, 3e-4, 1500))).state
    assert np.mean([program.value(state, seed=s) for s in range(100)]) == pytest.approx(evidence, abs=0.02)


def test_laws_by_different_maps_differ():
    given = weights(2)
    base = Normal(np.zeros(2), 1.0)
    pairs = [
        (b.Coupling([1, 0], *given), b.Coupling([0, 1], *given)),
        (b.InverseAutoregressive(*given), b.InverseAutoregressive(*given, reverse=True)),
    ]
    for one, other in pairs:
        assert not Transformed(base, one).same_law(Transformed(base, other))
    one, other = Transformed(Beta(2.0, 3.0), b.Log()), Transformed(Beta(2.0, 3.0), b.Logit())
    assert not one.same_law(other.with_params(tuple(one.params.values())))


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ShapeError, match=r"shapes do not fit \(d, h\), \(h,\), \(h, 2 d\), \(2 d,\)"):
        b.InverseAutoregressive(np.ones((2, 3)), np.ones(3), np.ones((3, 3)), np.ones(4))
    with pytest.raises(ShapeError, match="maps vectors of 2 entries, not events of shape"):
        Transformed(Normal(np.zeros(3), 1.0), b.InverseAutoregressive(*weights(2)))
    for passive in ([True, True], [False, False], [True]):
        with pytest.raises(ModelError, match="some true, some not"):
            b.Coupling(passive, *weights(2))
