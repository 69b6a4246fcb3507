"""Gradients that the training loop sums in blocks of steps."""

from dataclasses import replace

import numpy as np
import pytest

import ppl
from ppl import Normal
from ppl.choosing.contender import STEPS_PER_BLOCK, BlockMoments, Contender, block_gradients
from ppl.compiler.plan.plan import Configuration
from ppl.estimators import Pathwise, ScoreFunction
from ppl.runtime.call import Call, bind_call, run_variant


@ppl.model
def model(y):
    with ppl.plate("n", y) as row:
        w = ppl.sample("w", Normal(ppl.param("m", np.array([0.5, -1.0])), 0.7))
        ppl.cost("c", (w.sum() - row) ** 2)


DATA = np.array([0.1, 2.0, -0.4])


def contender(estimator, particles=2):
    program = ppl.compile(model, estimator, particles=particles)
    return Contender(Configuration((("w", estimator),), particles), program, Call(program.init(3, DATA), (DATA,)))


def test_sums_of_the_loop_are_those_of_single_gradients():
    """The moments of blocks are those of the same steps' gradients, one call each, scaled to all rows."""
    c = contender(Pathwise())
    chunk = next(block_gradients(c.program, c.call))
    bound = bind_call(c.program, c.call)
    grads = np.array(
        [run_variant(replace(bound, step=bound.step + i), "gradient").grad for i in range(2 * STEPS_PER_BLOCK)],
        np.float64,
    )
    parts = grads.reshape(2, STEPS_PER_BLOCK, -1)
    np.testing.assert_allclose(chunk["grad m"][:2], parts.mean(1), rtol=2e-4, atol=1e-5)
    np.testing.assert_allclose(chunk["square m"][:2], (parts**2).mean(1), rtol=2e-4)


@pytest.mark.parametrize("particles", [1, 4])
def test_the_variance_of_blocks_is_that_of_a_closed_form(particles):
    """Each row's slope is 2 (s − y) for both means, s Normal with variance 2 × 0.7²: rows add up, particles average."""
    c = contender(Pathwise(), particles)
    c.run_compiled(short=True)
    assert isinstance(c.moments, BlockMoments)
    for _ in range(99):
        c.draw()
    exact = 2 * len(DATA) * 4 * 2 * 0.7**2 / particles
    found, error = c.alone
    assert c.repeats == 1000 * STEPS_PER_BLOCK and abs(found - exact) < 4 * error
    assert error == pytest.approx(np.sqrt(2 / c.repeats) * exact, rel=0.1)  # a Normal slope's, squared
    np.testing.assert_allclose(c.moments.gradient("grad m").mean, 2 * (3 * -0.5 - DATA.sum()) * np.ones(2), rtol=0.01)


def test_a_variance_that_rounding_hides_is_taken_from_single_gradients():
    """The mean is 10⁵ times the standard deviation: squares of 32 bits do not have it."""

    @ppl.model
    def narrow():
        ppl.cost("c", ppl.sample("x", Normal(ppl.param("m", 1.0), 1e-5)) ** 2)

    program = ppl.compile(narrow, Pathwise())
    c = Contender(Configuration((("x", Pathwise()),), 1), program, Call(program.init(0), ()))
    c.run_compiled(short=True)
    assert not isinstance(c.moments, BlockMoments)
    for _ in range(10):
        c.draw()
    assert c.alone[0] == pytest.approx(4e-10, rel=0.2)


def test_two_ways_to_draw_are_compared_by_their_own_errors():
    """Entries of distances are means of blocks in one and single gradients in the other: no differences are taken."""
    one, other = contender(Pathwise()), contender(ScoreFunction())
    one.run_compiled(short=True)
    other.run_compiled(short=False)
    other.draw()
    one.seconds = other.seconds = 1.0
    assert one.behind(other) == pytest.approx(np.hypot(one.alone[1], other.alone[1]))
