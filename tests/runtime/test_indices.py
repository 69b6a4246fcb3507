"""Indices that are computed or drawn: losses and samples that are computed with one beyond its axis are refused."""

import numpy as np
import pytest

import ppl
from ppl.errors import ParameterError


@ppl.model
def indexed(i):
    table = ppl.param("t", np.arange(5.0))
    k = ppl.sample("k", ppl.Categorical(np.full(6, 1 / 6)))
    with ppl.plate("data", i) as i:
        z = ppl.sample("z", ppl.Normal(table[i - 1], 1.0))
        ppl.deterministic("drawn", table[k])
        ppl.deterministic("doubled", table[2 * i - 2])
        ppl.cost("c", z)


@pytest.fixture(scope="module")
def program():
    return ppl.compile(indexed, dtype="float64", data=(np.array([1, 5]),))


NOT_IN_RANGE = "an index must be between 0 and 4, not {} in row 1 of 'data'; it is computed from argument 'i'"


def test_the_loss_is_refused_for_its_own_indices_only(program):
    state = program.init(0)
    assert np.isfinite(program.value(state, np.array([1, 5])))  # `doubled` is beyond its axis, and in no cost
    with pytest.raises(ParameterError, match=NOT_IN_RANGE.format(5) + r"\n.*test_indices.py:\d+: z ="):
        program.value(state, np.array([1, 6]))


def test_a_sample_is_refused_for_what_its_sites_are_computed_with(program):
    state, refused = program.init(0), 0
    assert np.isfinite(program.sample(state, np.array([1, 4]), sites=["z", "k"])["z"]).all()
    with pytest.raises(ParameterError, match=NOT_IN_RANGE.format(5)):
        program.sample(state, np.array([1, 6]), sites=["z", "k"])
    for seed in range(20):
        k = program.sample(state, np.array([1, 2]), sites=["z", "k"], seed=seed)["k"]
        if k < 5:
            assert np.all(program.sample(state, np.array([1, 2]), sites=["drawn"], seed=seed)["drawn"] == k)
        else:
            refused += 1
            with pytest.raises(ParameterError, match=r"an index .* not 5; it is computed from node 'k'"):
                program.sample(state, np.array([1, 2]), sites=["drawn"], seed=seed)
    assert 0 < refused < 20
