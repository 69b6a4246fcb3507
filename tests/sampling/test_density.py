"""The density that chains walk on, against SciPy's densities and the volumes of the maps by differences."""

import numpy as np
import pytest
from scipy import stats

from ppl.chains.arviz_data import evaluate_sites
from ppl.chains.log_density import CompiledDensity, LogDensity
from ppl.compiler.pipeline import Settings
from ppl.program.program import Program
from ppl.runtime.call import Call, bind_call
from tests.sampling.models import supports

Y = np.zeros(1)

SITES = ("real", "positive", "unit", "low", "above", "half", "simplex", "factor", "angle", "bent", "pair")


@pytest.fixture(scope="module")
def walk():
    program = Program(LogDensity(supports, (), {}), Settings("auto", False, 1, 4, "float64", "cpu"))
    return CompiledDensity(bind_call(program, Call(program.init(0, Y), (Y,))), 2)


def free(values):
    """The values without the entries that follow from the others: what densities are densities of."""
    below = np.tril_indices(3, -1)
    shown = {**values, "simplex": values["simplex"][:, :2], "factor": values["factor"][:, below[0], below[1]]}
    return np.concatenate([shown[name].reshape(len(shown[name]), -1) for name in SITES], 1)


def log_density(v):
    """The logarithm of the joint density of the latents and the observation 0."""
    f = v["factor"]
    lkj = sum((3 - k + 2 * (2.0 - 1)) * np.log(f[k - 1, k - 1]) for k in (2, 3))  # up to its constant
    return (
        stats.norm.logpdf(v["real"], [0.3, -1.0], 0.8).sum()
        + stats.gamma.logpdf(v["positive"], 2.0, scale=1 / 1.5)
        + stats.beta.logpdf(v["unit"], [2.0, 1.5], [3.0, 1.2]).sum()
        + stats.expon.logpdf(v["low"])
        + stats.uniform.logpdf(v["above"], v["low"], 2.0)
        + stats.truncnorm.logpdf(v["half"], -np.inf, (1.0 - 0.3) / 1.2, 0.3, 1.2)
        + stats.dirichlet.logpdf(v["simplex"] / v["simplex"].sum(), [2.0, 1.5, 3.0])
        + lkj
        + stats.vonmises.logpdf(v["angle"], 1.5, 0.5)
        + stats.gamma.logpdf((1.0 - v["bent"]) / 2.0, 2.0, scale=1 / 1.5) - np.log(2.0)
        + stats.multivariate_normal.logpdf(v["pair"], [0.5, -0.5], [[1.0, 0.6], [0.6, 2.0]])
        + stats.norm.logpdf(0.0)
    )  # fmt: skip


def expected(walk, point):
    """The log-density of the reals: that of the latents, and the volume by differences of the values."""
    h, n = 1e-5, walk.size
    moved = np.concatenate([point + h * np.eye(n), point - h * np.eye(n), point[None]])
    values = evaluate_sites(walk.bound, moved, SITES)
    seen = free(values)
    _, volume = np.linalg.slogdet((seen[:n] - seen[n : 2 * n]) / (2 * h))
    return log_density({name: x[-1] for name, x in values.items()}) + volume


def test_the_density_of_the_reals_has_the_volumes_of_all_bijectors(walk):
    rng = np.random.default_rng(0)
    points = rng.normal(size=(6, walk.size))
    apart = [walk.value(x)[1] - expected(walk, x) for x in points]
    assert np.ptp(apart) < 1e-6, apart  # a constant, that of the LKJ law
    status, _, gradient = walk.value(points[0])
    assert status == 0
    h = 1e-5 * np.eye(walk.size)
    slopes = [(walk.value(points[0] + x)[1] - walk.value(points[0] - x)[1]) / 2e-5 for x in h]
    assert np.allclose(gradient, slopes, rtol=1e-6, atol=1e-6)


def test_an_overflow_is_a_status_and_no_number(walk):
    status, _, _ = walk.value(np.full(walk.size, 800.0))
    assert status == 4 and walk.raised_at is None


def test_threads_do_not_disturb_each_other(walk):
    from concurrent.futures import ThreadPoolExecutor

    points = np.random.default_rng(1).normal(size=(4, walk.size))
    alone = [walk.value(x)[1] for x in points]

    def repeatedly(i):
        return {walk.value(points[i])[1] for _ in range(300)}

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(repeatedly, range(4))) == [{x} for x in alone]
