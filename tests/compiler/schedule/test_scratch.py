"""Scratch of fused loops has room for what they write: a batch gives the sum of what its rows give one by one.

A tile of one row fits into any scratch that is sized by events alone, so the sum is right where a batch is not.
"""

import numpy as np
import pytest

import ppl
from ppl.estimators import Rebar, Relax
from ppl.models import sbn

ROWS = (np.random.default_rng(3).random((37, 5)) < 0.5).astype(np.float64)


def _summed(program, state):
    parts = [program.value_and_grad(state, ROWS[r : r + 1], rows=r, total_rows=1, seed=5)[1] for r in range(len(ROWS))]
    return {name: np.sum([p[name] for p in parts], axis=0) for name in parts[0]}


@pytest.mark.parametrize("estimator", [Rebar(), pytest.param(Relax(), marks=pytest.mark.slow)], ids=["rebar", "relax"])
def test_a_short_layer_in_long_tiles_gives_the_sum_over_its_rows(estimator):
    program = ppl.compile(ppl.elbo(*sbn.network((6,))), estimator, data=ROWS, dtype="float64")
    state = program.init(0)
    _, whole = program.value_and_grad(state, ROWS, seed=5)
    for name, expected in _summed(program, state).items():
        np.testing.assert_allclose(whole[name], expected, rtol=1e-9, atol=1e-10, err_msg=name)
