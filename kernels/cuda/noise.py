"""Uniforms, row ids and keys, and draws by rejection inside kernels, with the bits of `ppl.kernels.cpu`.

A row of draws is the work of one thread; lanes are shared by the threads of a block."""

import numpy as np

from ppl.kernels.cuda.compat import THREADS, cuda, device, f32, f64, mix, signed, uniform_f32, uniform_f64

u64 = np.uint64


@device
def numbered(ids, start, first, i):
    """The global id of row `i` behind row `start`, which has number `first` where rows are consecutive."""
    return ids[start + i] if ids.shape[0] > 0 else first + i


def _fill_kernels(uniform):
    """`fill_rows` and `fill_columns` of the uniforms of one precision."""

    @device
    def fill_rows(out, ids, start, first, n, base, per_row, key, time, step, purpose):
        for e in range(cuda.threadIdx.x, n * per_row, THREADS):
            i = e // per_row
            entry = (base + numbered(ids, start, first, i)) * per_row + e - i * per_row
            out[e] = uniform(entry, key, time, step, purpose)

    @device
    def fill_columns(out, first, n, particles, size, total, offset, key, time, step, purpose):
        for e in range(cuda.threadIdx.x, n * particles * size, THREADS):
            piece = e // size
            i = piece // particles
            k = piece - i * particles
            entry = ((offset + k) * total + first + i) * size + e - piece * size
            out[e] = uniform(entry, key, time, step, purpose)

    return fill_rows, fill_columns


fill_rows_f32, fill_columns_f32 = _fill_kernels(uniform_f32)

fill_rows_f64, fill_columns_f64 = _fill_kernels(uniform_f64)


@device
def row_ids(out, ids, start, first, n):
    """Global ids of `n` rows."""
    for i in range(cuda.threadIdx.x, n, THREADS):
        out[i] = numbered(ids, start, first, i)


@device
def row_keys(out, ids, start, first, n, base, per_row, key, step):
    """64-bit keys of `n` rows of `per_row` entries each, as int64."""
    for e in range(cuda.threadIdx.x, n * per_row, THREADS):
        i = e // per_row
        entry = (base + numbered(ids, start, first, i)) * per_row + e - i * per_row
        out[e] = signed(mix(key, (u64(entry) << u64(32)) + u64(step)))


@device
def mix_time(out, time):
    """Mix the time of a loop into keys."""
    for i in range(cuda.threadIdx.x, out.shape[0], THREADS):
        out[i] = signed(mix(u64(out[i]), u64(time)))


def _draw_kernels(draw):
    """Draws of columns from `column` on under one key, by a thread and by a block; those of lanes with a key each."""

    @device
    def row(out, parameter, key, column, stream, n):
        for i in range(n):
            out[i] = draw(parameter[i], key, column + i, stream)

    @device
    def block(out, parameter, key, column, stream, n):
        for i in range(cuda.threadIdx.x, n, THREADS):
            out[i] = draw(parameter[i], key, column + i, stream)

    @device
    def lanes(out, parameter, key, column, stream, n):
        for i in range(cuda.threadIdx.x, n, THREADS):
            out[i] = draw(parameter[i], key[i], column[i], stream)

    return row, block, lanes


def _binomial_kernels(draw):
    """As `_draws`, of binomial counts."""

    @device
    def row(out, total, one, zero, key, column, stream, n):
        for i in range(n):
            out[i] = draw(total[i], one[i], zero[i], key, column + i, stream)

    @device
    def block(out, total, one, zero, key, column, stream, n):
        for i in range(cuda.threadIdx.x, n, THREADS):
            out[i] = draw(total[i], one[i], zero[i], key, column + i, stream)

    @device
    def lanes(out, total, one, zero, key, column, stream, n):
        for i in range(cuda.threadIdx.x, n, THREADS):
            out[i] = draw(total[i], one[i], zero[i], key[i], column[i], stream)

    return row, block, lanes


def _slope_kernels(slope):
    """Slopes of gamma variables."""

    @device
    def lanes(out, y, concentration, n):
        for i in range(cuda.threadIdx.x, n, THREADS):
            out[i] = slope(y[i], concentration[i])

    return lanes


loggamma_row_f32, loggamma_block_f32, loggamma_lanes_f32 = _draw_kernels(f32.loggamma_draw)

loggamma_row_f64, loggamma_block_f64, loggamma_lanes_f64 = _draw_kernels(f64.loggamma_draw)

poisson_row_f32, poisson_block_f32, poisson_lanes_f32 = _draw_kernels(f32.poisson_draw)

poisson_row_f64, poisson_block_f64, poisson_lanes_f64 = _draw_kernels(f64.poisson_draw)

vonmises_row_f32, vonmises_block_f32, vonmises_lanes_f32 = _draw_kernels(f32.vonmises_draw)

vonmises_row_f64, vonmises_block_f64, vonmises_lanes_f64 = _draw_kernels(f64.vonmises_draw)

binomial_row_f32, binomial_block_f32, binomial_lanes_f32 = _binomial_kernels(f32.binomial_draw)

binomial_row_f64, binomial_block_f64, binomial_lanes_f64 = _binomial_kernels(f64.binomial_draw)

loggamma_slope_lanes_f32, loggamma_slope_lanes_f64 = (
    _slope_kernels(f32.loggamma_slope),
    _slope_kernels(f64.loggamma_slope),
)
