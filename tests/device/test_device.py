"""Programs on an NVIDIA GPU beside the CPU: bits of noise and discrete draws, gradients, training, two equal runs.

Skipped where there is no GPU; `make gpu` runs them. What runs here also runs in the simulator
(`tests/compiler/emit/test_cuda.py`, `tests/training/test_resident.py`).
"""

import numba
import numpy as np
import pytest

import ppl
from ppl import optim
from ppl.kernels.cuda import compat, launch

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(
        bool(numba.config.DISABLE_JIT) or compat.SIMULATED or not launch.available(), reason="needs an NVIDIA GPU"
    ),
]

ROWS = 10_000
FLIPS = 1e-4
"""The share of draws that may differ: those whose uniform number lies at a threshold."""


@ppl.model
def draws(x):
    with ppl.plate("data", x) as x:
        ppl.sample("bits", ppl.Bernoulli(logits=0.3 * x))
        ppl.sample("counts", ppl.Poisson(np.exp(0.2 * x)))
        ppl.sample("classes", ppl.Categorical(logits=np.arange(5.0)))
        ppl.sample("real", ppl.Normal(x, 1.0))
        ppl.sample("shape", ppl.Gamma(2.0, 1.0))
        ppl.cost("none", 0.0 * x)


@ppl.model
def generative(x):
    with ppl.plate("data", x) as x:
        h = ppl.sample("h", ppl.Bernoulli(logits=ppl.param("prior", np.zeros(20))))
        ppl.sample("x", ppl.Bernoulli(logits=ppl.dense("decoder", h, 30)), obs=x)


@ppl.model
def guide(x):
    with ppl.plate("data", x) as x:
        ppl.sample("h", ppl.Bernoulli(logits=ppl.dense("encoder", x, 20)))


def pair(objective, data, **options):
    """The programs for both machines."""
    return [ppl.compile(objective, target=target, data=data, **options) for target in ("cpu", "cuda")]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_draws_are_those_of_the_cpu(dtype):
    x = np.random.default_rng(0).normal(size=ROWS).astype(dtype)
    here, there = (p.sample(p.init(0), x) for p in pair(draws, x, dtype=dtype))
    for name in ("bits", "counts", "classes"):
        assert np.mean(here[name] != there[name]) <= FLIPS, name
    for name in ("real", "shape"):
        far = np.abs(here[name] - there[name]) > (1e-3 if dtype == "float32" else 1e-9) * (1 + np.abs(here[name]))
        assert np.mean(far) <= FLIPS, name


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", [1, 37, ROWS])
def test_gradients_are_those_of_the_cpu(rows, dtype):
    x = (np.random.default_rng(1).random((rows, 30)) < 0.4).astype(dtype)
    found = []
    for program in pair(ppl.elbo(generative, guide), x, dtype=dtype):
        loss, grads = program.value_and_grad(program.init(0), x)
        found.append((loss, grads))
    (loss, grads), (there, grads_there) = found
    assert there == pytest.approx(loss, rel=1e-3 if dtype == "float32" else 1e-8)
    for name in grads:
        scale = np.abs(grads[name]).max() + 1e-12
        np.testing.assert_allclose(
            grads_there[name] / scale, grads[name] / scale, atol=2e-3 if dtype == "float32" else 1e-6
        )


def test_two_runs_have_the_same_bits_and_reach_what_the_cpu_reaches():
    x = (np.random.default_rng(2).random((1000, 30)) < 0.4).astype(np.float64)
    given = {"epochs": 3, "batch_size": 100, "optimizer": optim.Adam(1e-2), "progress": False}
    here, there = (ppl.fit(p, x, **given) for p in pair(ppl.elbo(generative, guide), x, dtype="float64"))
    again = ppl.fit(ppl.compile(ppl.elbo(generative, guide), target="cuda", data=x, dtype="float64"), x, **given)
    assert again.state._flat.tobytes() == there.state._flat.tobytes()
    np.testing.assert_allclose(there.history["loss"], here.history["loss"], rtol=1e-4)


@pytest.mark.parametrize("what", ["graphs", "laws", "distributions"])
def test_what_the_simulator_runs(what):
    from tests.compiler import simulated

    getattr(simulated, f"run_{what}")([])


@pytest.mark.parametrize("what", ["rules", "tables", "runs", "stops"])
def test_training_that_the_simulator_runs(what):
    from tests.training import simulated

    getattr(simulated, f"run_{what}")()
