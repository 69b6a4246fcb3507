"""The reference interpreter: counters of noise, leaves, dtypes, and ops without a gradient."""

from __future__ import annotations

import numpy as np
import pytest

from ppl.ir import ops
from ppl.ir.external import External
from ppl.ir.node import make
from ppl.ir.reference import noise
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate, evaluate_intermediates
from ppl.ir.types import PARTICLES, PRIMAL, REPEATS, Axis, Branch, Kind, branch_axis

pytestmark = pytest.mark.tiny

DATA = Axis("data", Kind.PLATE)

FIXED = Axis("units", Kind.PLATE, 3, depth=1)

ENUM = Axis("z", Kind.ENUM, 2)

KEY = noise.mix(4, noise.node_hash("z"))


def draw(axes, shape, **env):
    node = ops.noise("z", 1, axes, shape)
    return evaluate([node], Env(seed=4, step=9, **env))[0]


def test_noise_element_is_row_then_particle_then_column():
    u = draw((DATA, PARTICLES), (2, 5), sizes={"data": 3, "particles": 4}, rows={"data": np.array([7, 100, 3])})
    assert u.shape == (3, 4, 2, 5)
    for i, row in enumerate((7, 100, 3)):
        for particle in range(4):
            for column in range(10):
                entry = (row * 4 + particle) * 10 + column
                assert u[i, particle, column // 5, column % 5] == noise.uniforms(entry, KEY, 0, 9, 1, np.float64)


def test_noise_of_a_subset_of_rows_is_the_same_noise():
    whole = draw((DATA, FIXED), (6,), sizes={"data": 8})
    some = np.array([5, 0, 6])
    np.testing.assert_array_equal(draw((DATA, FIXED), (6,), rows={"data": some}), whole[some])


def test_nested_fixed_plates_and_repeats_extend_the_row():
    u = draw((REPEATS, DATA, FIXED), (), sizes={"repeats": 2, "data": 2}, total_rows={"data": 50})
    rows = np.array([[[((r * 50 + d) * 3 + i) for i in range(3)] for d in range(2)] for r in range(2)])
    np.testing.assert_array_equal(u, noise.uniforms(rows, KEY, 0, 9, 1, np.float64))


def test_enumeration_and_branches_share_noise():
    node = make("noise", name="z", purpose=0, axes=(ENUM, branch_axis((PRIMAL, Branch(0, "z", 0)))), shape=(3,))
    (u,) = evaluate([node], Env())
    assert u.shape == (2, 2, 3)
    np.testing.assert_array_equal(u, np.broadcast_to(u[:1, :1], u.shape))


def test_float32_noise_is_the_float32_stream():
    u = draw((DATA,), (4,), sizes={"data": 2}, dtype=np.float32)
    assert u.dtype == np.float32
    np.testing.assert_array_equal(u, noise.uniforms(np.arange(8).reshape(2, 4), KEY, 0, 9, 1, np.float32))


def test_rowkey_mixes_element_and_step():
    node = make("rowkey", name="f", axes=(DATA, PARTICLES))
    (keys,) = evaluate([node], Env(seed=4, step=9, sizes={"data": 2, "particles": 3}))
    assert keys.dtype == np.int64
    base = noise.mix(4, noise.node_hash("f"))
    for row in range(2):
        for particle in range(3):
            entry = row * 3 + particle
            assert int(keys[row, particle]) % 2**64 == noise.mix(base, entry * 2**32 + 9)


def test_leaves_are_looked_up():
    leaves = [
        make("param", name="w", shape=(2,)),
        make("aux", name="a", shape=()),
        make("hyper", name="h"),
        make("input", name="x", axes=(DATA,), shape=(2,)),
        make("input", name="n", axes=(DATA,), shape=(), dtype="int"),
        make("size", axis=DATA),
        make("scale", axis=DATA),
        make("rowid", axis=DATA),
    ]
    env = Env(
        params={"w": [1, 2]},
        aux={"a": 3},
        hyper={"h": 0.5},
        inputs={"x": np.eye(2), "n": np.array([4, 5])},
        sizes={"data": 2},
        rows={"data": np.array([8, 9])},
        scales={"data": 2.5},
        dtype=np.float32,
    )
    found = evaluate(leaves, env)
    expected = [[1, 2], 3, 0.5, np.eye(2), [4, 5], 2, 2.5, [8, 9]]
    for value, want in zip(found, expected, strict=True):
        np.testing.assert_array_equal(value, want)
    assert [v.dtype for v in found] == [np.float32] * 4 + [np.int64] + [np.float32] * 2 + [np.int64]


def test_a_leaf_of_the_wrong_shape_is_named():
    with pytest.raises(ValueError, match="'w'"):
        evaluate([make("param", name="w", shape=(2,))], Env(params={"w": np.ones(3)}))


def test_float32_stays_float32_and_outputs_are_fresh():
    x = make("param", name="x", shape=(3,))
    nodes = [ops.softmax(x), ops.polygamma(1, x), ops.reduce_sum(x), ops.expand(x, (DATA,)), x]
    given = np.ones(3, np.float32)
    found = evaluate(nodes, Env(params={"x": given}, sizes={"data": 2}, dtype=np.float32))
    assert {v.dtype for v in found} == {np.dtype(np.float32)}
    for value in found:
        value[...] = 0
    assert given.sum() == 3


def test_sums_of_float32_accumulate_in_float64():
    x = make("input", name="x", axes=(DATA,), shape=())
    values = np.full(200_000, 0.1, np.float32)
    env = Env(inputs={"x": values}, sizes={"data": 200_000}, dtype=np.float32)
    (total,) = evaluate([ops.sum_axes(x, (DATA,))], env)
    assert total == np.float32(values.astype(np.float64).sum())


def test_contract_does_not_copy_a_shared_weight():
    rows = 4000
    w = ops.expand(make("param", name="w", shape=(300, 200)), (DATA,))
    x = make("input", name="x", axes=(DATA,), shape=(300,))
    over = make("contract", w, x, a="xy", b="x", out="y", over=(DATA,))
    env = Env(params={"w": np.ones((300, 200))}, inputs={"x": np.ones((rows, 300))}, sizes={"data": rows})
    kept, total = evaluate([ops.matmul(x, w), over], env)
    np.testing.assert_array_equal(kept, np.full((rows, 200), 300.0))
    np.testing.assert_array_equal(total, np.full(200, 300.0 * rows))


def test_ops_without_gradient():
    x = ops.const([[1.5, -2.0, 1.5], [0.0, 3.0, -0.5]])
    nodes = [
        ops.sign(x),
        ops.floor(x),
        ops.argmax(x),
        ops.less(x, 0.0),
        ops.logical_not(ops.less_equal(x, 0.0)),
        ops.logical_or(ops.equal(x, 3.0), ops.less(x, 0.0)),
        ops.one_hot(np.array([2, 0]), 3),
        ops.cast(x, "int"),
    ]
    a = x.attrs["value"].value
    expected = [
        np.sign(a),
        np.floor(a),
        [0, 1],
        a < 0,
        a > 0,
        (a == 3) | (a < 0),
        np.eye(3)[[2, 0]],
        np.trunc(a),
    ]
    for value, want in zip(evaluate(nodes, Env()), expected, strict=True):
        np.testing.assert_array_equal(value, want)


def test_intermediates_find_the_first_nan():
    x = make("param", name="x", shape=())
    bad = ops.log(ops.sub(x, 2.0))
    values = evaluate_intermediates([ops.add(ops.exp(bad), x)], Env(params={"x": 1.0}))
    first = next(node for node, value in values.items() if np.isnan(value).any())
    assert first is bad


def test_external_runs_per_row_with_its_key():
    def function(key, x):
        assert isinstance(key, np.uint64)
        return x * 2 + float(key % np.uint64(2))

    key = make("rowkey", name="f", axes=(DATA,))
    x = make("input", name="x", axes=(DATA,), shape=(2,))
    node = make(
        "external", key, x, fn=External(function, key=True), output=None, axes=(DATA,), shape=(2,), dtype="float"
    )
    bits, out = evaluate([key, node], Env(inputs={"x": np.ones((4, 2))}, sizes={"data": 4}))
    np.testing.assert_array_equal(out, 2 + (bits % 2)[:, None] * np.ones(2))
