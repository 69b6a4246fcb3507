"""The reference of the counters of noise, in plain NumPy: the interpreter's random bits and the kernels' oracle.

It is written independently of `ppl.kernels.scalar.noise` and agrees with it bit for bit. A uniform is a pure
function of the entry's global index, the node's key, the iteration of a loop over time, the training step
and a purpose; the Philox4x32-10 counters and words are tabulated in that module and in the design."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

_MASK64 = (1 << 64) - 1

_MASK32 = np.uint64(0xFFFFFFFF)

_LANES = 64


def node_hash(name: str) -> int:
    """Return the 64-bit hash of a node's name (BLAKE2b of its UTF-8 bytes, little-endian)."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")


def _splitmix_finaliser(z: int) -> int:
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & _MASK64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & _MASK64
    return z ^ (z >> 31)


def mix(seed: int, name_hash: int) -> int:
    """Return the 64-bit key of a node; the seed counts modulo 2**64."""
    return _splitmix_finaliser(_splitmix_finaliser(seed & _MASK64 ^ 0x9E3779B97F4A7C15) ^ name_hash)


def mix_all(seeds: npt.ArrayLike, hashes: npt.ArrayLike) -> npt.NDArray[np.uint64]:
    """`mix` of every pair, entry by entry; arguments count modulo 2**64 and are broadcast."""
    first, second = (np.atleast_1d(np.asarray(x, np.uint64)) for x in (seeds, hashes))
    return _splitmix_finalisers(_splitmix_finalisers(first ^ np.uint64(0x9E3779B97F4A7C15)) ^ second)


def _splitmix_finalisers(z: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def philox4x32(counter: npt.NDArray[np.uint64], key: tuple[Any, Any]) -> npt.NDArray[np.uint64]:
    """Philox4x32-10 on counters of shape (4, ...): 32-bit words held as uint64; the same shape comes back.

    The halves of the key are ints, or uint64 arrays of the counters' shape.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * c0, np.uint64(0xCD9E8D57) * c2
        c0, c2 = (p1 >> np.uint64(32)) ^ c1 ^ np.uint64(k0), (p0 >> np.uint64(32)) ^ c3 ^ np.uint64(k1)
        c1, c3 = p1 & _MASK32, p0 & _MASK32
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return np.stack([c0, c1, c2, c3])


def uniforms(
    entries: npt.ArrayLike,
    key: int,
    time: int = 0,
    step: int = 0,
    purpose: int = 0,
    dtype: npt.DTypeLike = np.float32,
) -> npt.NDArray[np.floating]:
    """Return the open uniforms of entries, of their shape.

    Parameters
    ----------
    entries : array of int
        Global indices, at least 0.
    key : int
        From `mix`.
    time, step : int
        Iteration of the loop and training step, modulo 2**32.
    purpose : int
        Which use of noise in the node, and the rejection attempt; below 2**16.
    dtype : float32 or float64
        float32 values are ``(k + 1/2) / 2**23`` of 23 bits, float64 values ``(k + 1/2) / 2**52`` of 52.
    """
    e = np.asarray(entries, np.int64)
    single = np.dtype(dtype) == np.float32
    if not single and np.dtype(dtype) != np.float64:
        raise TypeError(f"uniforms exist as float32 and float64, not {np.dtype(dtype)}")
    if not 0 <= purpose < 1 << 16:
        raise ValueError(f"purpose {purpose} does not fit into 16 bits")
    words_each = 1 if single else 2
    block, rest = np.divmod(e, 4 * _LANES // words_each)
    slot, lane = np.divmod(rest, _LANES)
    count = (block * _LANES + lane).astype(np.uint64)
    counter = np.stack(
        [
            count & _MASK32,
            (count >> np.uint64(32) & np.uint64(0xFFFF)) | np.uint64(purpose << 16),
            np.full(e.shape, time % 2**32, np.uint64),
            np.full(e.shape, step % 2**32, np.uint64),
        ]
    )
    words = philox4x32(counter, (key & 0xFFFFFFFF, key >> 32))
    first = np.take_along_axis(words, slot[None] * words_each, 0)[0]
    if single:
        return ((first >> np.uint64(9)).astype(np.float32) + np.float32(0.5)) * np.float32(2.0**-23)
    second = np.take_along_axis(words, slot[None] * 2 + 1, 0)[0]
    return (((first << np.uint64(32) | second) >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
