"""Philox4x32-10, the counter-based generator behind all noise (Salmon et al., "Parallel random numbers: as
easy as 1, 2, 3", SC 2011).

The ten rounds are written out: LLVM does not vectorise a loop around this function if there is a loop inside
it. Every product and sum stays below 2**64, so that the plain Python version raises no overflow warnings."""

import numpy as np

from ppl.kernels.decorators import inline

u32, u64 = np.uint32, np.uint64


@inline
def _round(c0, c1, c2, c3, k0, k1):
    """One round of multiplications, xors and the permutation of the four words."""
    p0 = u64(0xD2511F53) * u64(c0)
    p1 = u64(0xCD9E8D57) * u64(c2)
    low = u64(0xFFFFFFFF)
    return (
        u32(u32(p1 >> u64(32)) ^ c1 ^ k0),
        u32(p1 & low),
        u32(u32(p0 >> u64(32)) ^ c3 ^ k1),
        u32(p0 & low),
    )


@inline
def _advance_key(k, weyl):
    """Add a Weyl constant to half of the key, modulo 2**32."""
    return u32((u64(k) + u64(weyl)) & u64(0xFFFFFFFF))


@inline
def philox4x32(c0, c1, c2, c3, k0, k1):
    """Return the four random words of one counter under one key.

    Parameters
    ----------
    c0, c1, c2, c3 : uint32
        The counter, lowest word first.
    k0, k1 : uint32
        The key, lowest word first.

    Returns
    -------
    tuple of four uint32
    """
    a, b = 0x9E3779B9, 0xBB67AE85
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0, k1)
    k0, k1 = _advance_key(k0, a), _advance_key(k1, b)
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0, k1)
    k0, k1 = _advance_key(k0, a), _advance_key(k1, b)
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0, k1)
    k0, k1 = _advance_key(k0, a), _advance_key(k1, b)
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0, k1)
    k0, k1 = _advance_key(k0, a), _advance_key(k1, b)
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0, k1)
    k0, k1 = _advance_key(k0, a), _advance_key(k1, b)
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0, k1)
    k0, k1 = _advance_key(k0, a), _advance_key(k1, b)
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0, k1)
    k0, k1 = _advance_key(k0, a), _advance_key(k1, b)
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0, k1)
    k0, k1 = _advance_key(k0, a), _advance_key(k1, b)
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0, k1)
    k0, k1 = _advance_key(k0, a), _advance_key(k1, b)
    return _round(c0, c1, c2, c3, k0, k1)
