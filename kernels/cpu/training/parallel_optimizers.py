"""The `..._into` updates of `optimizers` on all threads: the same arithmetic on chunks, so the same bits.

An update reads and writes whole vectors, so that on one thread it waits for memory; callers use these for vectors
of `UPDATED_BY_ALL` entries or more, inside `threads.parallel_region`.
"""

import numpy as np
from numba import prange

from ppl.kernels.config import jit, parallel
from ppl.kernels.cpu.parallel.slabs import share_start
from ppl.kernels.cpu.parallel.threads import num_threads, parallel_region
from ppl.kernels.cpu.training import optimizers as serial
from ppl.kernels.cpu.training.copies import own_copy
from ppl.tuning import UPDATE_BLOCK, UPDATE_CHUNK, UPDATED_BY_ALL

_sgd, _momentum, _nesterov, _adam = serial.sgd_into, serial.momentum_into, serial.nesterov_into, serial.adam_into
_adagrad, serial_bounded, serial_step = serial.adagrad_into, serial.bounded, serial.step


@parallel
def sgd_into(new, p, g, lr, scale):
    """`optimizers.sgd_into` on all threads."""
    for c in prange((p.shape[0] + UPDATE_CHUNK - 1) // UPDATE_CHUNK):
        s = slice(c * UPDATE_CHUNK, min(p.shape[0], (c + 1) * UPDATE_CHUNK))
        _sgd(new[s], p[s], g[s], lr, scale)


@parallel
def momentum_into(new, new_buf, p, g, buf, lr, beta, scale):
    """`optimizers.momentum_into` on all threads."""
    for c in prange((p.shape[0] + UPDATE_CHUNK - 1) // UPDATE_CHUNK):
        s = slice(c * UPDATE_CHUNK, min(p.shape[0], (c + 1) * UPDATE_CHUNK))
        _momentum(new[s], new_buf[s], p[s], g[s], buf[s], lr, beta, scale)


@parallel
def nesterov_into(new, new_buf, p, g, buf, lr, beta, scale):
    """`optimizers.nesterov_into` on all threads."""
    for c in prange((p.shape[0] + UPDATE_CHUNK - 1) // UPDATE_CHUNK):
        s = slice(c * UPDATE_CHUNK, min(p.shape[0], (c + 1) * UPDATE_CHUNK))
        _nesterov(new[s], new_buf[s], p[s], g[s], buf[s], lr, beta, scale)


@parallel
def adam_into(new, new_m, new_v, p, g, m, v, lr, b1, b2, eps, t, scale):
    """`optimizers.adam_into` on all threads."""
    for c in prange((p.shape[0] + UPDATE_CHUNK - 1) // UPDATE_CHUNK):
        s = slice(c * UPDATE_CHUNK, min(p.shape[0], (c + 1) * UPDATE_CHUNK))
        _adam(new[s], new_m[s], new_v[s], p[s], g[s], m[s], v[s], lr, b1, b2, eps, t, scale)


@parallel
def adagrad_into(new, new_sum, p, g, sum_, lr, eps, scale):
    """`optimizers.adagrad_into` on all threads."""
    for c in prange((p.shape[0] + UPDATE_CHUNK - 1) // UPDATE_CHUNK):
        s = slice(c * UPDATE_CHUNK, min(p.shape[0], (c + 1) * UPDATE_CHUNK))
        _adagrad(new[s], new_sum[s], p[s], g[s], sum_[s], lr, eps, scale)


@parallel
def _shared_step(params, first, second, grad, rule, rate, numbers, count, factor, limit, shares, copies, slabs):
    large = 0
    for slab in prange(slabs):
        for i in range(0, shares.shape[0], 3):
            lo, hi = _share(shares, i, slab, slabs)
            large += 0 if serial_bounded(grad[lo:hi], limit) else 1
    if large > 0:
        return False
    for slab in prange(slabs):
        for i in range(0, shares.shape[0], 3):
            lo, hi = _share(shares, i, slab, slabs)
            for at in range(lo, hi, UPDATE_BLOCK):
                part = slice(at, min(hi, at + UPDATE_BLOCK))
                own, g, m, v = own_copy(params, copies, slab)[part], grad[part], first[part], second[part]
                serial_step(own, g, m, v, rule, rate, numbers, count, factor)
                if copies.shape[0] > 0:
                    _hand_out(own, part, slab, slabs, params, copies)
    return True


@jit
def _hand_out(own, part, slab, slabs, params, copies):
    """Write new parameters of `slab` to the copies of the others."""
    for other in range(slabs):
        if other != slab:
            target = own_copy(params, copies, other)[part]
            for j in range(own.shape[0]):
                target[j] = own[j]


@jit
def _share(shares, i, slab, slabs):
    """The entries of the piece of the parameters at `shares[i]` that belong to `slab`: (start, rows, entries a row)."""
    start, rows, width = shares[i], shares[i + 1], shares[i + 2]
    lo, hi = share_start(rows, slab, slabs), share_start(rows, slab + 1, slabs)
    return start + lo * width, start + hi * width


@jit
def update(params, first, second, grad, rule, rate, numbers, count, factor, limit, shares, copies, slabs):
    """The step of an optimizer in place (see `optimizers.step_on`), each slab on its own entries.

    `shares` are (start, rows, entries a row) of pieces of the parameters: a slab's entries are those of its rows in
    each, the same that it has written to the gradient. `copies` are the parameters of all slabs but the first (see
    `copies.own_copy`), or empty. Returns whether the step was taken: it is not where an entry of
    the gradient is not below `limit` in magnitude, or NaN.
    """
    if slabs == 1:
        if not serial_bounded(grad, limit):
            return False
        serial_step(params, grad, first, second, rule, rate, numbers, count, factor)
        return True
    return _shared_step(params, first, second, grad, rule, rate, numbers, count, factor, limit, shares, copies, slabs)


def into(name: str, *arguments: object) -> None:
    """Run the update `name` on the first argument's length of entries, on all threads where that pays."""
    first = arguments[0]
    assert isinstance(first, np.ndarray)
    if first.size < UPDATED_BY_ALL or num_threads() == 1:
        getattr(serial, name)(*arguments)
        return
    with parallel_region():
        globals()[name](*arguments)
