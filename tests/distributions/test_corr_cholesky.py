"""`CorrCholesky` against its definition in many digits."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from scipy import stats

from ppl import LKJCholesky, Normal, Transformed
from ppl import bijectors as b
from ppl.distributions import Support
from ppl.distributions.support import has_positive_diagonal, known_correlation_factor
from ppl.errors import ShapeError
from ppl.ir import ops
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate
from ppl.ir.types import Axis, Kind
from ppl.lang.trace import Site, SiteKind, sample_node

RNG = np.random.default_rng(0)

SIZES = (2, 3, 5)


@pytest.fixture(autouse=True)
def digits():
    """Enough digits for steps of 1e-30."""
    with mpmath.workdps(80):
        yield


def run(node, dtype=np.float64):
    return evaluate([node], Env(dtype=dtype))[0]


def factor(x):
    """L by partial correlations, with mpmath."""
    n = (1 + round((1 + 8 * len(x)) ** 0.5)) // 2
    matrix, entries = [[mpmath.mpf(0)] * n for _ in range(n)], iter(x)
    for i in range(n):
        left = mpmath.mpf(1)
        for j in range(i):
            matrix[i][j] = mpmath.tanh(next(entries)) * mpmath.sqrt(left)
            left -= matrix[i][j] ** 2
        matrix[i][i] = mpmath.sqrt(left)
    return matrix


def log_volume(x):
    """The logarithm of the determinant of differences of `factor` below the diagonal."""
    n, step = len(x), mpmath.mpf(10) ** -30
    jacobian = mpmath.matrix(n, n)
    for k in range(n):
        up, down = ([v + s * step * (i == k) for i, v in enumerate(x)] for s in (1, -1))
        ends = [[row[j] for i, row in enumerate(factor(v)) for j in range(i)] for v in (up, down)]
        for i in range(n):
            jacobian[i, k] = (ends[0][i] - ends[1][i]) / (2 * step)
    return mpmath.log(mpmath.det(jacobian))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("spread", [0.5, 6.0])
def test_values_volumes_and_inverses(n, spread, dtype):
    x = (spread * RNG.normal(size=(2, 3, n * (n - 1) // 2))).astype(dtype).astype(np.float64)
    eps = float(np.finfo(dtype).eps)
    forward = run(b.CorrCholesky().forward(ops.const(x)), dtype)
    volumes = run(b.CorrCholesky().log_det(ops.const(x)), dtype)
    assert forward.shape == (2, 3, n, n) and volumes.shape == (2, 3)
    for at in np.ndindex(2, 3):
        given = [mpmath.mpf(v) for v in x[at]]
        wanted = np.array(mpmath.matrix(factor(given)).tolist(), dtype=float)
        reach = 1 + np.abs(x[at]).sum()  # rounding of sums of log cosh, which exp makes relative
        np.testing.assert_allclose(forward[at], wanted, rtol=20 * eps * reach, atol=1e-30)
        assert float(log_volume(given)) == pytest.approx(float(volumes[at]), rel=20 * eps, abs=20 * eps * reach)
    np.testing.assert_allclose((forward**2).sum(-1), 1.0, rtol=20 * eps * (1 + np.abs(x).sum(-1).max()))


@pytest.mark.parametrize("n", SIZES)
def test_the_inverse_leads_back(n):
    x = 3 * RNG.normal(size=(4, n * (n - 1) // 2))
    bijector = b.CorrCholesky()
    back = run(bijector.inverse(bijector.forward(ops.const(x))))
    np.testing.assert_allclose(back, x, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(run(bijector.inverse(ops.const(np.eye(n)))), 0.0)


def test_a_law_of_factors():
    law = Transformed(Normal(np.full((2, 3), 0.3), 0.8), b.CorrCholesky())
    assert (law.event_shape, law.unit_rank, law.batch_of_units) == ((2, 3, 3), 2, (2,))
    assert law.support is Support.CORRELATION_CHOLESKY
    x = RNG.normal(size=(2, 3))
    at = np.array([[[float(v) for v in row] for row in factor(list(map(mpmath.mpf, r)))] for r in x])
    wanted = sum(stats.norm(0.3, 0.8).logpdf(r).sum() - float(log_volume(list(map(mpmath.mpf, r)))) for r in x)
    assert law.log_prob(at) == pytest.approx(wanted, rel=1e-9)
    for wrong in (at * 1.1, at.swapaxes(-1, -2), -at):
        assert law.log_prob(wrong) == -np.inf


def test_the_law_of_the_reals_of_a_factor():
    flat = Transformed(LKJCholesky(3, 1.7), b.Inverse(b.CorrCholesky()))
    assert (flat.event_shape, flat.unit_rank) == ((3,), 1)
    x = np.array([0.4, -1.1, 0.2])
    at = np.array([[float(v) for v in row] for row in factor(list(map(mpmath.mpf, x)))])
    wanted = LKJCholesky(3, 1.7).log_prob(at) + float(log_volume(list(map(mpmath.mpf, x))))
    assert flat.log_prob(x) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("shape", [(), (2,), (0,), (5,)])
def test_lengths_that_no_matrix_has_are_refused(shape):
    with pytest.raises(ShapeError, match="CorrCholesky maps vectors"):
        Transformed(Normal(np.zeros(shape), 1.0), b.CorrCholesky())


def test_which_views_of_a_draw_are_factors():
    """A guard stands where a value is not known to be a factor: for rows in another order, but not for entries."""
    axis = Axis("data", Kind.PLATE, None)
    law = LKJCholesky(3, np.ones(4))
    site = Site("l", SiteKind.RANDOM, (axis,), "here", law)
    draws = sample_node(site, (axis,))
    entry = ops.reshape(ops.window(draws, ((2, 1, 1), (0, 3, 1), (0, 3, 1))), (3, 3))
    kept = [draws, entry, ops.take(draws, ops.const([2, 0]))]
    moved = [
        ops.transpose(entry, [1, 0]),
        ops.window(entry, ((2, 3, -1), (0, 3, 1))),
        ops.take(entry, ops.const([2, 0, 1])),
        ops.mul(entry, 2.0),
        ops.reshape(ops.take(draws, ops.const([0, 1, 2])), (3, 3, 3)),
    ]
    assert [known_correlation_factor(v) for v in kept] == [True] * 3
    assert [known_correlation_factor(v) for v in moved] == [False] * 4 + [True]
    scaled = ops.mul(ops.expand(ops.const([[2.0], [1.0], [0.5]]), (), (3, 3)), entry)
    assert has_positive_diagonal(scaled) and has_positive_diagonal(draws)
    assert not has_positive_diagonal(ops.mul(ops.expand(ops.const([[2.0], [-1.0], [0.5]]), (), (3, 3)), entry))
