"""Random bits: known answers; scalar kernels, filling loops and the NumPy reference agree bit for bit."""

import numba
import numpy as np
import pytest

from ppl.ir.reference import noise as reference
from ppl.kernels.generated.f32.cpu.noise import fill_rows_f32, fill_uniform_f32
from ppl.kernels.generated.f64.cpu.noise import fill_rows_f64, fill_uniform_f64
from ppl.kernels.scalar import noise
from ppl.kernels.scalar.philox import philox4x32

u32, u64 = np.uint32, np.uint64

KINDS = {
    "f32": (np.float32, noise.uniform_f32, fill_uniform_f32, 256),
    "f64": (np.float64, noise.uniform_f64, fill_uniform_f64, 128),
}

KEY = reference.mix(7, reference.node_hash("z"))

GOLDEN_HASH = 0x3041FD28A7B04184

GOLDEN_KEY = 0xF7F53F40513677C

GOLDEN = {
    np.float32: [
        "0x1.9ceb4c0000000p-2",
        "0x1.f51ed60000000p-1",
        "0x1.d2cf280000000p-3",
        "0x1.73d68c0000000p-2",
        "0x1.6caa3e0000000p-1",
        "0x1.9a0b440000000p-2",
        "0x1.8744440000000p-2",
    ],
    np.float64: [
        "0x1.9ceb4af573d6ap-2",
        "0x1.f51ed413662a5p-1",
        "0x1.d2cf2b1b89e7cp-3",
        "0x1.4631de417c912p-2",
        "0x1.2c4f37d1e3ab3p-1",
        "0x1.f97bf11781ccfp-1",
        "0x1.710e27dce573ap-2",
    ],
}

# From kat_vectors of the Random123 library: counter, key, result of philox4x32 with 10 rounds.
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((2**32 - 1,) * 4, (2**32 - 1,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.tiny
@pytest.mark.parametrize(("counter", "key", "words"), KNOWN)
def test_philox_known_answers(counter, key, words):
    assert tuple(map(int, philox4x32(*map(u32, counter), *map(u32, key)))) == words
    ours = reference.philox4x32(np.array(counter, u64)[:, None], key)
    assert tuple(ours[:, 0].tolist()) == words


@pytest.mark.tiny
def test_golden_values():
    """These never change: checkpoints and published seeds depend on them."""
    assert reference.node_hash("z") == GOLDEN_HASH
    assert KEY == GOLDEN_KEY
    entries = np.array([0, 1, 63, 64, 255, 256, 2**40 + 12345])
    for dtype, values in GOLDEN.items():
        got = reference.uniforms(entries, KEY, 5, 9, 77, dtype)
        assert [v.hex() for v in got.astype(float)] == values


def test_mix():
    rng = np.random.default_rng(0)
    for seed, name in rng.integers(0, 2**64, (50, 2), dtype=u64):
        assert int(noise.mix(seed, name)) == reference.mix(int(seed), int(name))
    keys = {reference.mix(seed, reference.node_hash(name)) for seed in range(50) for name in "abcdefgh"}
    assert len(keys) == 400
    assert reference.mix(-1, 5) == reference.mix(2**64 - 1, 5)
    many = np.array([0, 1, 2**32, 2**63, 2**64 - 1], np.uint64)
    expected = [[reference.mix(int(a), int(b)) for b in many] for a in many]
    np.testing.assert_array_equal(reference.mix_all(many[:, None], many), np.array(expected, np.uint64))


@pytest.mark.parametrize("kind", KINDS)
def test_scalar_equals_reference(kind):
    dtype, scalar, _, _ = KINDS[kind]
    entries = np.concatenate([np.arange(0, 600, 7), 2**40 + np.arange(0, 600, 13), [2**53 - 1]])
    want = reference.uniforms(entries, KEY, 2**32 - 1, 12, 65535, dtype)
    got = [dtype(scalar(int(e), u64(KEY), 2**32 - 1, 12, 65535)) for e in entries]
    assert np.array_equal(got, want)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("first", [0, 1, 63, 200, 256, 2**40 - 100])
@pytest.mark.parametrize("size", [0, 1, 56, 127, 257, 700])
def test_fill_equals_reference(kind, first, size):
    dtype, _, fill, _ = KINDS[kind]
    out = np.full(size + 2, -1, dtype)
    fill(out[1:-1], first, u64(KEY), 3, 4, 5)
    assert np.array_equal(out[1:-1], reference.uniforms(first + np.arange(size), KEY, 3, 4, 5, dtype))
    assert out[0] == out[-1] == -1


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="inspects compiled code")
@pytest.mark.parametrize("kind", KINDS)
def test_fill_vectorises(kind):
    dtype, _, fill, _ = KINDS[kind]
    options = fill.bare().targetoptions
    fresh = numba.njit(**{k: v for k, v in options.items() if k in ("fastmath", "error_model")})(fill.py_func)
    fresh(np.empty(256, dtype), 0, u64(KEY), 0, 0, 0)
    (llvm,) = fresh.inspect_llvm().values()
    assert f"x {'float' if kind == 'f32' else 'double'}>" in llvm
    assert kind == "f64" or "double" not in llvm


@pytest.mark.parametrize("kind", KINDS)
def test_every_argument_matters(kind):
    dtype = KINDS[kind][0]
    entries = np.arange(1000)
    base = (KEY, 1, 2, 3)
    values = [reference.uniforms(entries, *base, dtype)]
    for position, delta in [(0, 1), (0, 2**40), (1, 1), (2, 1), (3, 1), (3, 1 << 15)]:
        changed = list(base)
        changed[position] += delta
        values.append(reference.uniforms(entries, *changed, dtype))
    values.append(reference.uniforms(entries + 1000, *base, dtype))
    for i, a in enumerate(values):
        for b in values[:i]:
            # independent uniforms: |correlation| above 5 / sqrt(1000) has probability 6e-7
            assert abs(np.corrcoef(a, b)[0, 1]) < 0.16


@pytest.mark.parametrize("kind", KINDS)
def test_moments_and_range(kind):
    dtype, _, fill, _ = KINDS[kind]
    n = 1 << 20
    out = np.empty(n, dtype)
    fill(out, 0, u64(KEY), 0, 0, 0)
    u = out.astype(float)
    assert u.min() > 0 and u.max() < 1
    assert abs(u.mean() - 0.5) < 5 * np.sqrt(1 / 12 / n)
    assert abs((u**2).mean() - 1 / 3) < 5 * np.sqrt(4 / 45 / n)
    assert abs(np.corrcoef(u[1:], u[:-1])[0, 1]) < 5 / np.sqrt(n)


@pytest.mark.tiny
def test_extreme_words_stay_inside():
    top, zero = u32(2**32 - 1), u32(0)
    for value in (
        np.float32(noise.open_uniform_f32(top)),
        np.float32(noise.open_uniform_f32(zero)),
        np.float64(noise.open_uniform_f64(top, top)),
        np.float64(noise.open_uniform_f64(zero, zero)),
    ):
        assert 0 < value < 1


@pytest.mark.tiny
def test_reference_refuses():
    with pytest.raises(TypeError, match="float32 and float64"):
        reference.uniforms([0], KEY, dtype=np.int64)
    with pytest.raises(ValueError, match="16 bits"):
        reference.uniforms([0], KEY, purpose=1 << 16)


@pytest.mark.parametrize("per_row", [1, 3, 10, 16, 30, 48, 60])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scattered_rows_get_the_uniforms_of_their_numbers_and_nothing_else_is_written(dtype, per_row):
    fill, whole = (fill_rows_f32, fill_uniform_f32) if dtype is np.float32 else (fill_rows_f64, fill_uniform_f64)
    ids = np.random.default_rng(0).permutation(500)[:97]
    ids[10:14] = np.arange(4) + 600
    out = np.full(97 * per_row + 40, -1, dtype)
    fill(out, ids, 5, 0, 90, 1000, per_row, np.uint64(99), 0, 7, 2)
    for i, row in enumerate(ids[5:95]):
        expected = np.empty(per_row, dtype)
        whole(expected, (1000 + row) * per_row, np.uint64(99), 0, 7, 2)
        np.testing.assert_array_equal(out[i * per_row : (i + 1) * per_row], expected)
    assert (out[90 * per_row :] == -1).all()
