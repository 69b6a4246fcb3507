"""Indexing of values against NumPy."""

import numpy as np
import pytest

import ppl
import ppl.lang
from ppl.errors import ModelError, ShapeError
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate
from tests.lang.helpers import agrees, run

pytestmark = pytest.mark.tiny

T = np.arange(60.0).reshape(3, 4, 5)

KEYS = [
    0,
    -1,
    (1, 2, 3),
    slice(1, None),
    slice(None, None, 2),
    slice(None, None, -1),
    slice(5, 0, -2),
    slice(2, 1),
    (slice(None), slice(3, 0, -1), slice(None, None, -2)),
    (Ellipsis, 0),
    (0, Ellipsis),
    (None, 1),
    (slice(None), None, 2, None),
    (Ellipsis, None),
    [0, 2],
    (slice(None), [3, 0, 0]),
    (slice(None), slice(None), [[0, 1], [2, 3]]),
    ([0, 1], [1, 2]),
    ([0, 1], slice(None), [1, 2]),
    (0, slice(None), [1, 2]),
    (slice(1, None), [0, -1], 2),
    (slice(None), [0, 1], [1, 2]),
    (np.array([[0], [1]]), np.array([1, 2])),
    np.array([True, False, True]),
    (slice(None), np.array([True, False, True, True])),
    T[0, :, :] > 3,
    (None, [0, 1], None),
    np.int64(1),
    [],
]


@pytest.mark.parametrize("key", KEYS[:25] + KEYS[26:], ids=str)
def test_static_index(key):
    agrees(lambda t: t[key], T)


def test_boolean_matrix():
    agrees(lambda t: t[T[:, :, 0] > 3], T)


def test_symbolic_index():
    i = np.array([2, 0, 0])
    agrees(lambda t, i: t[i], T, i)
    agrees(lambda t, i: t[:, i], T, i)
    agrees(lambda t, i: t[i, i], T, i)
    agrees(lambda t, i: t[i, :, [1, 2, 3]], T, i)
    agrees(lambda t, k: t[k], T, np.array(1))
    agrees(lambda t, k: t[:, k, 1:3], T, np.array(1))


def test_symbolic_index_in_a_plate():
    table, ids = np.arange(12.0).reshape(4, 3), np.array([3, 1, 1])

    def model(ids):
        with ppl.plate("data", ids) as k:
            return ppl.constant(table)[k]

    value = ppl.lang.trace_model(model, {"ids": ids}).returned
    assert value.shape == (3,) and [a.name for a in value.plates] == ["data"]
    out = evaluate([value.node], Env(inputs={"ids": ids}, sizes={"data": 3}))[0]
    np.testing.assert_array_equal(out, table[ids])


@pytest.mark.parametrize(
    "key, message",
    [
        (5, "out of range for an axis of length 3"),
        ((0, 0, 0, 0), "too many indices: 4"),
        (1.5, "must be an integer"),
        ((Ellipsis, Ellipsis), "at most one Ellipsis"),
        (np.array([True, False]), "boolean index"),
    ],
)
def test_index_errors(key, message):
    with pytest.raises(ShapeError, match=message):
        run(lambda t: t[key], T)


def test_symbolic_mask_and_float_index():
    with pytest.raises(ShapeError, match=r"np.where"):
        run(lambda t: t[t > 1], T)
    with pytest.raises(ShapeError, match="astype"):
        run(lambda t: t[t[0, 0, 0]], T)
    with pytest.raises(ModelError, match=r"ppl.constant"):
        run(lambda t, i: [1, 2, 3][i], T, np.array(0))
