"""Belief networks: exact likelihoods against enumeration in NumPy, bounds in their order, every estimator, training."""

import itertools
import json

import numpy as np
import pytest

import ppl
from ppl.errors import PplError
from ppl.models import common, data, sbn
from tests.helpers.needs import needs

pytestmark = needs("sklearn", "matplotlib")

PIXELS = 5
ESTIMATORS = [
    "Rebar", "Relax", "DisARM", "ARM", "MeasureValued", "Enumerate", "Relaxed", "StraightThrough",
    "ScoreFunction", "ScoreFunction:moving_average", "ScoreFunction:leave_one_out", "ScoreFunction:learned",
    "ScoreFunction:optimal",
]  # fmt: skip


def _rows(count):
    return (np.random.default_rng(3).random((count, PIXELS)) < 0.5).astype(np.float32)


def _params(nets, seed=0):
    """Parameters large enough for the layers to matter."""
    program = ppl.compile(ppl.elbo(*nets), data=_rows(4))
    rng = np.random.default_rng(seed)
    return {k: rng.normal(size=v.shape) for k, v in program.init(0).params.items()}


def _logits(params, name, x, nonlinear):
    for i in range(2 * nonlinear):
        x = np.tanh(x @ params[f"{name}/tanh/{i}.weight"] + params[f"{name}/tanh/{i}.bias"])
    return x @ params[f"{name}.weight"] + params[f"{name}.bias"]


def _log_bernoulli(logits, value):
    return (value * logits - np.logaddexp(0, logits)).sum(-1)


def _states(units):
    return np.array(list(itertools.product([0.0, 1.0], repeat=units)))


def enumerated(params, layers, rows, nonlinear):
    """log p(x) by sums over one layer's states at a time, from the top."""
    states = _states(layers[-1])
    log_p = _log_bernoulli(params["prior"], states)
    for i in reversed(range(1, len(layers))):
        below = _states(layers[i - 1])
        given = _log_bernoulli(_logits(params, f"down/{i}", states, nonlinear)[:, None], below[None])
        states, log_p = below, np.logaddexp.reduce(log_p[:, None] + given, axis=0)
    given = _log_bernoulli(_logits(params, "down/0", states, nonlinear)[:, None], rows[None])
    return np.logaddexp.reduce(log_p[:, None] + given, axis=0)


@pytest.mark.parametrize(("layers", "nonlinear"), [((4,), False), ((3, 2), True), ((3, 2, 2), False)])
def test_the_exact_likelihood_is_that_of_enumeration(layers, nonlinear):
    nets, rows = sbn.network(layers, nonlinear), _rows(8)
    params = _params(nets)
    found, error = sbn.exact_likelihood(nets[0], params, rows)
    expected = -enumerated(params, layers, rows, nonlinear)
    assert found == pytest.approx(expected.mean(), rel=1e-5)
    assert error == pytest.approx(expected.std() / np.sqrt(len(rows)), rel=1e-4)


def test_more_importance_samples_come_closer_to_the_exact_likelihood():
    """One guide sample costs the KL divergence, 500 cost its order divided by 500."""
    layers, rows = (3, 2), _rows(200)
    nets = sbn.network(layers)
    params = {k: 0.5 * v for k, v in _params(nets).items()}
    exact = -enumerated(params, layers, rows, False).mean()
    one, few, many = (sbn.importance_bound(nets, params, rows, n)[0] for n in (1, 10, 500))
    assert one > few > many and one - exact > 0.2
    assert many == pytest.approx(exact, abs=0.02)


@pytest.mark.parametrize("layers", [(4,), (4, 3), pytest.param((4, 3, 2), marks=pytest.mark.slow)], ids=str)
@pytest.mark.parametrize("nonlinear", [False, True], ids=["linear", "tanh"])
def test_every_estimator_is_admissible(layers, nonlinear):
    nets, rows = sbn.network(layers, nonlinear), _rows(4)
    for name in ESTIMATORS:
        chosen = common.estimator(name)
        plan = ppl.compile(ppl.elbo(*nets), chosen, particles=2, data=rows).explain()
        assert all(plan[f"h/{i}"].estimator == chosen for i in range(len(layers))), name
    plan = ppl.compile(ppl.iwae(*nets, particles=5), common.estimator("Vimco"), data=rows).explain()
    assert all(plan[f"h/{i}"].estimator == common.estimator("Vimco") for i in range(len(layers)))


def test_an_architecture_has_one_to_three_layers():
    for layers in ((), (4, 3, 2, 1), (4, 0)):
        with pytest.raises(PplError, match="one to three layers"):
            sbn.network(layers)


def test_a_small_net_reports_its_exact_likelihood(tmp_path):
    assert sbn.main(["--layers", "5-3", "--nonlinear", "--epochs", "3", "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "sbn.metrics.json").read_text())["metrics"]
    exact = found["exact negative log-likelihood of held-out rows"]
    sampled = found["negative log-likelihood of held-out rows, 500 importance samples"]
    assert exact - 0.02 < sampled < exact + 0.1
    assert sampled < found["negative 50-sample bound on held-out rows"] < found["negative bound on held-out rows"]


def test_leave_one_out_trains_as_in_pytorch():
    """64-32-16, 4 particles, 20 epochs: PyTorch reaches 25.5 on held-out rows (benchmarks/peers/sbn_torch.py)."""
    rows, held_out = data.digits()
    estimator = common.estimator("ScoreFunction:leave_one_out")
    program = ppl.compile(ppl.elbo(*sbn.network((32, 16))), estimator, particles=4, data=rows)
    fit = ppl.fit(program, rows, epochs=20, batch_size=100, optimizer=ppl.optim.Adam(1e-3), seed=0, progress=False)
    assert common.per_row(program, fit.state, held_out)[0] == pytest.approx(25.5, abs=0.4)
