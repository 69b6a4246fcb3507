"""Draws by rejection inside CUDA kernels: rows of draws by one thread, lanes shared by the threads of a block."""

from ppl.kernels.cuda.compat import THREADS, cuda, device
from ppl.kernels.cuda.scalar import f32, f64


def _draws(draw):
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


def _trials(draw):
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


def _slopes(slope):
    """Slopes of gamma variables."""

    @device
    def lanes(out, y, concentration, n):
        for i in range(cuda.threadIdx.x, n, THREADS):
            out[i] = slope(y[i], concentration[i])

    return lanes


loggamma_row_f32, loggamma_block_f32, loggamma_lanes_f32 = _draws(f32.loggamma_draw)
loggamma_row_f64, loggamma_block_f64, loggamma_lanes_f64 = _draws(f64.loggamma_draw)
poisson_row_f32, poisson_block_f32, poisson_lanes_f32 = _draws(f32.poisson_draw)
poisson_row_f64, poisson_block_f64, poisson_lanes_f64 = _draws(f64.poisson_draw)
vonmises_row_f32, vonmises_block_f32, vonmises_lanes_f32 = _draws(f32.vonmises_draw)
vonmises_row_f64, vonmises_block_f64, vonmises_lanes_f64 = _draws(f64.vonmises_draw)
binomial_row_f32, binomial_block_f32, binomial_lanes_f32 = _trials(f32.binomial_draw)
binomial_row_f64, binomial_block_f64, binomial_lanes_f64 = _trials(f64.binomial_draw)
loggamma_slope_lanes_f32, loggamma_slope_lanes_f64 = _slopes(f32.loggamma_slope), _slopes(f64.loggamma_slope)
