"""Malformed arguments of functions on values: one ModelError that names the function and the line."""

import numpy as np
import pytest

import ppl
from ppl.errors import ModelError, ShapeError
from tests.lang.helpers import agrees, run

pytestmark = pytest.mark.tiny

Z = np.array([0.5, -1.0, 2.0])
M = np.arange(6.0).reshape(2, 3)
K = np.array([0, 1, 2])


class Broken:
    """An operand whose own code raises."""

    def __array__(self, dtype=None, copy=None):
        raise LookupError("the user's own error")


REFUSED = {
    "step 0": lambda z: z[::0],
    "sum axis text": lambda z: np.sum(z, axis="a"),
    "sum axis fraction": lambda z: np.sum(z, axis=1.5),
    "sum axis true": lambda z: np.sum(z, axis=True),
    "sum axis value": lambda z: np.sum(z, axis=z),
    "sum axis twice": lambda z: np.sum(z, axis=(0, 0)),
    "sum axis twice from the end": lambda z: np.sum(z, axis=(0, -1)),
    "sum keepdims": lambda z: np.sum(z, keepdims="a"),
    "sum dtype by position": lambda z: np.sum(z, 0, float),
    "sum dtype of reduce": lambda z: np.add.reduce(z, dtype=np.float32),
    "sum initial of reduce": lambda z: np.add.reduce(z, initial=5.0),
    "method axis": lambda z: z.sum("a"),
    "max axis": lambda z: np.max(z, axis=(0, 0)),
    "mean axis": lambda z: np.mean(z, axis="a"),
    "var ddof all": lambda z: np.var(z, ddof=3),
    "var ddof more": lambda z: np.var(z, ddof=4),
    "std ddof": lambda z: np.std(z, ddof="a"),
    "diff n text": lambda z: np.diff(z, n="a"),
    "diff n negative": lambda z: np.diff(z, n=-1),
    "diff axis": lambda z: np.diff(z, axis=3),
    "split text": lambda z: np.split(z, "a"),
    "split uneven": lambda z: np.split(z, 2),
    "split value": lambda z: np.split(np.arange(3.0), z),
    "split zero": lambda z: np.split(z, 0),
    "split axis": lambda z: np.split(z, 3, 1),
    "array_split axis": lambda z: np.array_split(z, 2, 5),
    "array_split none": lambda z: np.array_split(z, 0),
    "tile text": lambda z: np.tile(z, "a"),
    "tile negative": lambda z: np.tile(z, -1),
    "tile fraction": lambda z: np.tile(z, 1.5),
    "reshape text": lambda z: np.reshape(z, "a"),
    "reshape fraction": lambda z: np.reshape(z, 3.5),
    "reshape negative": lambda z: np.reshape(z, (-3, -1, -1)),
    "reshape negatives": lambda z: z.reshape(-3, -3),
    "reshape method": lambda z: z.reshape("a"),
    "repeat negative": lambda z: np.repeat(z, -1),
    "repeat count": lambda z: np.repeat(z, [1, 2]),
    "repeat axis": lambda z: np.repeat(z, 2, axis=3),
    "repeat value": lambda z: np.repeat(z, z),
    "roll axis": lambda z: np.roll(z, 1, axis=4),
    "roll shift": lambda z: np.roll(z, 1.5),
    "flip axis": lambda z: np.flip(z, 3),
    "moveaxis": lambda z: np.moveaxis(z, 0, 5),
    "moveaxis none": lambda z: np.moveaxis(z, 0, None),
    "sum axis dict": lambda z: np.sum(z, axis={}),
    "moveaxis lengths": lambda z: np.moveaxis(z, 0, ()),
    "swapaxes": lambda z: np.swapaxes(z, 0, 5),
    "swapaxes text": lambda z: np.swapaxes(z, 0, "a"),
    "transpose": lambda z: np.transpose(z, "a"),
    "transpose none": lambda z: np.transpose(z, ()),
    "expand_dims": lambda z: np.expand_dims(z, "a"),
    "squeeze": lambda z: np.squeeze(z[None], 0.5),
    "broadcast_to negative": lambda z: np.broadcast_to(z, (-1, 3)),
    "broadcast_to text": lambda z: np.broadcast_to(z, "a"),
    "take axis": lambda z: np.take(z, [0], axis=3),
    "take none": lambda z: np.take(z, None),
    "take slice": lambda z: np.take(z, slice(None)),
    "tensordot": lambda z: np.tensordot(z, z, axes=5),
    "tensordot pairs": lambda z: np.tensordot(z, z, axes=([0], [])),
    "tensordot three": lambda z: np.tensordot(z, z, axes=(0, 0, 0)),
    "tensordot twice": lambda z: np.tensordot(z, z, axes=([0, 0], [0, 0])),
    "einsum": lambda z: np.einsum("$,$->", z, z),
    "vecdot": lambda z: np.vecdot(z, z[:1]),
    "select lengths": lambda z: np.select([z > 0], [z, z]),
    "select numbers": lambda z: np.select([z], [z]),
    "shift": lambda z: z << 1,
    "shift of a number": lambda z: 1 >> z,
    "divmod": lambda z: divmod(z, 2),
    "divmod of a number": lambda z: divmod(2, z),
    "pow modulus": lambda z: pow(z, 2, 5),
    "len": lambda z: len(z[0]),
    "tril": lambda z: np.tril(z, k="a"),
    "diag": lambda z: np.diag(z[0]),
    "norm axis": lambda z: np.linalg.norm(z, axis="a"),
    "norm ord": lambda z: np.linalg.norm(z, "fro"),
    "norm ord of lists": lambda z: np.linalg.norm(z, [1, 2]),
    "average": lambda z: np.average(z[None], weights=np.ones(3)),
    "average axis": lambda z: np.average(z, axis=3, weights=np.ones(3)),
    "clip": lambda z: np.clip(z, "a", 1),
    "clip twice": lambda z: np.clip(z, 0, 1, min=0.5),
    "clip out": lambda z: np.clip(z, 0, 1, np.zeros(3)),
    "argmax": lambda z: np.argmax(z, axis="a"),
    "cumsum": lambda z: np.cumsum(z, axis="a"),
    "concatenate": lambda z: np.concatenate([z, z], axis="a"),
    "stack": lambda z: np.stack([z, z], axis="a"),
    "size": lambda z: np.size(z, 3),
    "add text": lambda z: z + "a",
    "logsumexp": lambda z: ppl.logsumexp(z, axis="a"),
    "softmax": lambda z: ppl.softmax(z, axis="a"),
    "mean of nothing": lambda z: np.mean(z[:0]),
    "max of nothing": lambda z: np.max(z[:0]),
    "argmax of nothing": lambda z: np.argmax(z[:0]),
    "Value": lambda z: ppl.Value(3),
}


@pytest.mark.parametrize("name", REFUSED)
def test_malformed_arguments_are_one_model_error(name):
    with pytest.raises(ModelError, match=r"\n  at test_malformed.py:\d+"):
        run(REFUSED[name], Z)


@pytest.mark.parametrize(
    "function, message",
    [
        (lambda z: np.sum(z, axis=(0, 0)), r"sum: axis \(0, 0\) has one axis twice"),
        (lambda z: np.split(z, "a"), r"np.split: cannot be called with \(Value\(.*\), 'a'\): slice indices"),
        (lambda z: np.diff(z, prepend=0), r"np.diff: .*prepend=0.*unexpected keyword"),
        (lambda z: np.flip(z, 3), r"np.flip: axis 3 is out of range for event shape \(3,\)"),
    ],
)
def test_message(function, message):
    with pytest.raises(ModelError, match=message):
        run(function, Z)


def test_the_error_behind_is_kept():
    with pytest.raises(ModelError) as caught:
        run(lambda z: np.split(z, "a"), Z)
    assert isinstance(caught.value.__cause__, (TypeError, ValueError))


def test_errors_of_the_users_own_code_pass():
    with pytest.raises(LookupError, match="the user's own error"):
        run(lambda z: z + Broken(), Z)
    with pytest.raises(LookupError, match="the user's own error"):
        run(lambda z: np.outer(z, Broken()), Z)


def test_errors_of_shapes_are_shape_errors():
    with pytest.raises(ShapeError, match="axis 4"):
        run(lambda z: np.roll(z, 1, axis=4), Z)


def test_edges_that_numpy_accepts():
    agrees(lambda z: np.tile(z, 2), Z)
    agrees(lambda m: np.tile(m, (2, 1)), M)
    agrees(lambda z: np.diff(z, n=0), Z)
    agrees(lambda z: np.diff(z, 2), Z)
    agrees(lambda z: np.repeat(z, [1, 0, 2]), Z)
    agrees(lambda z: np.take(z, [True, False, True]), Z)
    agrees(lambda z: np.take(z, (0, 1)), Z)
    agrees(lambda m: np.moveaxis(m, (0, 1), (1, 0)), M)
    agrees(lambda m: np.transpose(m, np.array([1, -2])), M)
    agrees(lambda m: np.reshape(m, (3, 2), "C"), M)
    agrees(lambda m: np.average(m, axis=-1, weights=np.ones(3)), M)
    agrees(lambda m: np.sum(m, axis=()), M)
    agrees(lambda m: np.any(m[:0] > 0, axis=0), M)
    agrees(lambda m: np.all(m[:0] > 0), M)
    agrees(lambda m: np.sum(m, 1, None, None, True), M)
    agrees(lambda m: np.tensordot(m, m, axes=((-1, 0), (-1, 0))), M)
    agrees(lambda m: np.linalg.norm(m, "fro"), M)
    agrees(lambda k: ppl.one_hot(k, 5), K)
