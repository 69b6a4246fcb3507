# Made from kernels/source/cpu/rows.py by `python -m ppl.kernels.source`: change that file instead.
"""The noise of the rows of one tile, as float64s: run-time support of emitted programs.

Rows of a batch carry global ids: either consecutive ones, from `first`, or those of an array `ids` (used if not empty,
from position `start`). Runs of consecutive ids are filled in one go.
"""

import numpy as np

from ppl.kernels.config import jit
from ppl.kernels.cpu.draws.ids import entries, run_length
from ppl.kernels.cpu.f64.noise import fill_at_f64, fill_uniform_f64
from ppl.kernels.cpu.memory.stack import stacked
from ppl.kernels.cpu.memory.views import part
from ppl.kernels.symbols import shared
from ppl.tuning import SCATTERED_UNIFORMS

f64, u64 = np.float64, np.uint64

TOGETHER = 2048
"""Uniforms of several pieces that are drawn together: 16 KiB."""

SCATTERED = 1024
"""Uniforms of scattered rows that are drawn together; more than `SCATTERED_UNIFORMS`, which one row may have."""

_FILL = "void({}[::1],int64[::1],int64,int64,int64,int64,int64,uint64,int64,int64,int64)"


@shared(_FILL.format(f64.__name__))
def fill_rows_f64(out, ids, start, first, n, base, per_row, key, time, step, purpose):
    """Uniforms of `n` rows of `per_row` entries each; row r has global number ``base + id(r)``."""
    if ids.shape[0] == 0:
        fill_uniform_f64(part(out, 0, n * per_row), (base + first) * per_row, key, time, step, purpose)
        return
    numbers = stacked(SCATTERED, u64)
    i = 0
    while i < n:
        run = run_length(ids, start + i, start + n)
        first = i
        while i < n and run * per_row <= SCATTERED_UNIFORMS and (i + run - first) * per_row <= SCATTERED:
            i += run
            run = run_length(ids, start + i, start + n) if i < n else 0
        if i > first:
            entries(numbers, ids, start + first, i - first, base, per_row)
            count = (i - first) * per_row
            fill_at_f64(part(out, first * per_row, count), part(numbers, 0, count), key, time, step, purpose)
        else:
            entry = (base + ids[start + i]) * per_row
            fill_uniform_f64(part(out, i * per_row, run * per_row), entry, key, time, step, purpose)
            i += run


@jit
def fill_windows_f64(out, ids, start, first, n, base, pieces, size, total, offset, key, time, step, purpose):
    """Uniforms of a window of particles: of every piece of `total` entries, the `size` ones from `offset` on.

    A row has `pieces` pieces; piece p of row r begins at entry ``((base + id(r)) * pieces + p) * total``.
    """
    if size == total:
        fill_rows_f64(out, ids, start, first, n, base, pieces * size, key, time, step, purpose)
        return
    for i in range(n):
        row = base + (first + i if ids.shape[0] == 0 else ids[start + i])
        for p in range(pieces):
            piece = part(out, (i * pieces + p) * size, size)
            fill_uniform_f64(piece, (row * pieces + p) * total + offset, key, time, step, purpose)


@jit
def fill_columns_f64(out, first, n, particles, size, total, offset, key, time, step, purpose):
    """Uniforms of `n` pieces of `size` entries, from piece `first` of `total` on, of each of several particles.

    Particle k of the window that begins at `offset` has its pieces at entry ``(offset + k) * total * size``; in
    `out` a piece has the particles one after another.
    """
    if particles == 1:
        fill_uniform_f64(out[: n * size], (offset * total + first) * size, key, time, step, purpose)
        return
    whole = stacked(TOGETHER, f64)
    for k in range(particles):
        begin = ((offset + k) * total + first) * size
        if size > TOGETHER:
            for i in range(n):
                fill_uniform_f64(
                    part(out, (i * particles + k) * size, size), begin + i * size, key, time, step, purpose
                )
            continue
        for start in range(0, n, TOGETHER // size):
            pieces = min(TOGETHER // size, n - start)
            fill_uniform_f64(part(whole, 0, pieces * size), begin + start * size, key, time, step, purpose)
            for i in range(pieces):
                for j in range(size):
                    out[((start + i) * particles + k) * size + j] = whole[i * size + j]
