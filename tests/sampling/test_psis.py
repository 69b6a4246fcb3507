"""`ppl.psis`: the tail of importance weights whose shape is known, and `ppl.to_arviz` of the same programs."""

import numpy as np
import pytest

import ppl
from ppl import Normal
from ppl.chains.psis import smooth_weights
from ppl.errors import ModelError

pytest.importorskip("arviz")

Y = np.array([0.4, -1.0, 2.0, np.nan])


@ppl.model
def model(y):
    with ppl.plate("data", y) as y:
        z = ppl.sample("z", Normal(0.0, 1.0))
        ppl.deterministic("square", z * z)
        ppl.sample("y", Normal(z, 1.0), obs=y, obs_mask=y > -10.0)


@ppl.model
def guide(y):
    """The posterior with a standard deviation of its own: the weights' k is 1 - share²."""
    with ppl.plate("data", y) as y:
        seen = y > -10.0
        centre = np.where(seen, 0.5 * np.where(seen, y, 0.0), 0.0)
        ppl.sample("z", Normal(centre, ppl.param("share", 1.0) * np.where(seen, np.sqrt(0.5), 1.0)))


@pytest.fixture(scope="module")
def program():
    return ppl.compile(ppl.elbo(model, guide), data=Y)


def found(program, share, **options):
    return ppl.psis(program, program.init(0, params={"share": share}), Y, **options)


def test_an_exact_guide_has_equal_weights(program):
    exact = found(program, 1.0)
    assert exact.khat < 0.3 and exact.ess > 999 and exact.rows.shape == (4,) and (exact.rows < 0.3).all()
    assert exact.verdict.startswith("good") and np.isclose(exact.weights.sum(), 1.0)


def test_a_narrow_guide_is_found_out_row_by_row(program):
    """Of a normal at a share of its width the weights' tail has k = 1 - share²; its estimate has an error of about
    (1 + k) / sqrt(tail), and leans towards less where the tail is far out.
    """
    narrow = found(program, 0.3, particles=4000)
    assert narrow.khat > 0.7 and narrow.ess < 400 and "bad" in narrow.verdict
    tail = 3 * np.sqrt(4000)
    assert np.all(np.abs(narrow.rows - 0.91) < 0.15 + 4 * 1.91 / np.sqrt(tail))
    assert np.array_equal(found(program, 0.3, particles=4000).log_weights, narrow.log_weights)


def test_weights_correct_a_guide_that_is_good_enough(program):
    wide = found(program, 1.2, particles=4000)
    error = np.sqrt(np.sum(wide.weights[:, None] ** 2 * (wide.draws["z"] - wide.mean("z")) ** 2, 0))
    assert wide.khat < 0.5 and np.all(np.abs(wide.mean("z") - [0.2, -0.5, 1.0, 0.0]) < 4.5 * error)


def test_a_pareto_tail_has_its_shape():
    u = np.random.default_rng(0).random((20, 4000))
    for shape in (0.4, 0.9):
        k = smooth_weights(-shape * np.log(u))[1]  # w = u^-shape
        assert abs(k.mean() - shape) < 0.02 + 4 * (1 + shape) / np.sqrt(3 * np.sqrt(4000)) / np.sqrt(20)
    assert smooth_weights(np.zeros(100))[1] == -np.inf and np.isclose(
        np.exp(smooth_weights(np.zeros(100))[0]).sum(), 1.0
    )


def test_points_and_programs_without_a_guide_are_refused(program):
    @ppl.model
    def line(y):
        with ppl.plate("data", y) as y:
            ppl.sample("y", Normal(ppl.param("m", 0.0), 1.0), obs=y)

    y = np.zeros(3)
    alone = ppl.compile(ppl.likelihood(line), data=y)
    with pytest.raises(ModelError, match="has no guide"):
        ppl.psis(alone, alone.init(0), y)

    @ppl.model
    def mean(y):
        m = ppl.sample("m", Normal(0.0, 1.0))
        with ppl.plate("data", y) as y:
            ppl.sample("y", Normal(m, 1.0), obs=y)

    point = ppl.compile(ppl.elbo(mean, ppl.autoguide(mean, "delta")), data=y)
    with pytest.raises(ModelError, match="is a point"):
        ppl.psis(point, point.init(0), y)
    with pytest.raises(ModelError, match="takes a compiled program"):
        ppl.to_arviz(mean, None, y)


def test_draws_of_a_program_as_arviz_data(program):
    data = ppl.to_arviz(program, program.init(0), Y, particles=500)
    assert list(data.posterior.data_vars) == ["z", "square"] and data.posterior.z.dims == ("chain", "draw", "data")
    assert data.posterior.z.shape == (1, 500, 4)
    z, seen = np.float64(data.posterior.z.values), np.isfinite(Y)
    wanted = np.where(seen, -0.5 * (np.where(seen, Y, 0.0) - z) ** 2 - 0.5 * np.log(2 * np.pi), 0.0)
    assert np.allclose(data.log_likelihood.y, wanted, atol=1e-5)
    assert np.array_equal(data.observed_data.y, np.float32(Y), equal_nan=True)
    noise = data.posterior_predictive.y.values - z
    assert abs(noise.mean()) < 4.5 / np.sqrt(noise.size) and abs(noise.var() - 1) < 4.5 * np.sqrt(2 / noise.size)
