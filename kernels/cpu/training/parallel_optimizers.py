"""Optimizer updates on all threads, with the bits of `optimizers`; and a copy of the parameters for each worker.

An update reads and writes whole vectors, so that on one thread it waits for memory; callers use these for vectors of
`UPDATED_BY_ALL` entries or more.

A line of memory that several cores have read costs its next writer far more than one that a single core has read (on
two cores of a Zen 4, of 650,000 parameters that both had read, an optimizer's step took 240 us instead of 95, and
the next reading 68 instead of 33). So in a training loop every worker reads its own copy, and the one that computes
new parameters writes them to all copies."""

import numpy as np

from ppl.kernels.cpu.threads.atomics import load, own_word, store
from ppl.kernels.cpu.threads.pool import start
from ppl.kernels.cpu.threads.regions import on_threads
from ppl.kernels.cpu.threads.slabs import partition_start
from ppl.kernels.cpu.threads.thread_count import num_threads
from ppl.kernels.cpu.training import optimizers as serial
from ppl.kernels.cpu.training.optimizers import apply_rule
from ppl.kernels.decorators import jit
from ppl.tuning import CACHE_LINE, UPDATE_BLOCK, UPDATE_CHUNK, UPDATED_BY_ALL


def copy_stride(size: int) -> int:
    """Distance between copies of `size` parameters, which begin at cache lines."""
    return -(-size // CACHE_LINE) * CACHE_LINE


@jit
def own_copy(params, copies, lane):
    """The parameters that the thread of `lane` reads: `params`, or one of the `copies`, the first for lane 1."""
    if lane == 0 or copies.shape[0] == 0:
        return params
    size = params.shape[0]
    start = (lane - 1) * (-(-size // CACHE_LINE) * CACHE_LINE)
    return copies[start : start + size]


serial_sgd, serial_momentum, serial_nesterov = serial.sgd_into, serial.momentum_into, serial.nesterov_into

serial_adam, serial_adagrad = serial.adam_into, serial.adagrad_into

serial_adamw, serial_rmsprop, serial_lazy_adam = serial.adamw_into, serial.rmsprop_into, serial.lazy_adam_into

serial_bounded = serial.bounded


@jit
def _chunk_count(p):
    return (p.shape[0] + UPDATE_CHUNK - 1) // UPDATE_CHUNK


@jit
def _sgd_part(c, parts, lane, new, p, g, lr, scale):
    s = slice(c * UPDATE_CHUNK, min(p.shape[0], (c + 1) * UPDATE_CHUNK))
    serial_sgd(new[s], p[s], g[s], lr, scale)


@jit
def sgd_into(new, p, g, lr, scale, threads):
    """`optimizers.sgd_into` on several threads."""
    on_threads(_sgd_part, (new, p, g, lr, scale), _chunk_count(p), threads)


@jit
def _momentum_part(c, parts, lane, new, new_buf, p, g, buf, lr, beta, scale):
    s = slice(c * UPDATE_CHUNK, min(p.shape[0], (c + 1) * UPDATE_CHUNK))
    serial_momentum(new[s], new_buf[s], p[s], g[s], buf[s], lr, beta, scale)


@jit
def momentum_into(new, new_buf, p, g, buf, lr, beta, scale, threads):
    """`optimizers.momentum_into` on several threads."""
    on_threads(_momentum_part, (new, new_buf, p, g, buf, lr, beta, scale), _chunk_count(p), threads)


@jit
def _nesterov_part(c, parts, lane, new, new_buf, p, g, buf, lr, beta, scale):
    s = slice(c * UPDATE_CHUNK, min(p.shape[0], (c + 1) * UPDATE_CHUNK))
    serial_nesterov(new[s], new_buf[s], p[s], g[s], buf[s], lr, beta, scale)


@jit
def nesterov_into(new, new_buf, p, g, buf, lr, beta, scale, threads):
    """`optimizers.nesterov_into` on several threads."""
    on_threads(_nesterov_part, (new, new_buf, p, g, buf, lr, beta, scale), _chunk_count(p), threads)


@jit
def _adam_part(c, parts, lane, new, new_m, new_v, p, g, m, v, lr, b1, b2, eps, t, scale):
    s = slice(c * UPDATE_CHUNK, min(p.shape[0], (c + 1) * UPDATE_CHUNK))
    serial_adam(new[s], new_m[s], new_v[s], p[s], g[s], m[s], v[s], lr, b1, b2, eps, t, scale)


@jit
def adam_into(new, new_m, new_v, p, g, m, v, lr, b1, b2, eps, t, scale, threads):
    """`optimizers.adam_into` on several threads."""
    on_threads(_adam_part, (new, new_m, new_v, p, g, m, v, lr, b1, b2, eps, t, scale), _chunk_count(p), threads)


@jit
def _lazy_adam_part(c, parts, lane, new, new_m, new_v, p, g, m, v, lr, b1, b2, eps, t, scale):
    s = slice(c * UPDATE_CHUNK, min(p.shape[0], (c + 1) * UPDATE_CHUNK))
    serial_lazy_adam(new[s], new_m[s], new_v[s], p[s], g[s], m[s], v[s], lr, b1, b2, eps, t, scale)


@jit
def lazy_adam_into(new, new_m, new_v, p, g, m, v, lr, b1, b2, eps, t, scale, threads):
    """`optimizers.lazy_adam_into` on several threads."""
    on_threads(_lazy_adam_part, (new, new_m, new_v, p, g, m, v, lr, b1, b2, eps, t, scale), _chunk_count(p), threads)


@jit
def _adamw_part(c, parts, lane, new, new_m, new_v, p, g, m, v, lr, b1, b2, eps, decay, t, scale):
    s = slice(c * UPDATE_CHUNK, min(p.shape[0], (c + 1) * UPDATE_CHUNK))
    serial_adamw(new[s], new_m[s], new_v[s], p[s], g[s], m[s], v[s], lr, b1, b2, eps, decay, t, scale)


@jit
def adamw_into(new, new_m, new_v, p, g, m, v, lr, b1, b2, eps, decay, t, scale, threads):
    """`optimizers.adamw_into` on several threads."""
    on_threads(_adamw_part, (new, new_m, new_v, p, g, m, v, lr, b1, b2, eps, decay, t, scale), _chunk_count(p), threads)


@jit
def _rmsprop_part(c, parts, lane, new, new_v, p, g, v, lr, decay, eps, scale):
    s = slice(c * UPDATE_CHUNK, min(p.shape[0], (c + 1) * UPDATE_CHUNK))
    serial_rmsprop(new[s], new_v[s], p[s], g[s], v[s], lr, decay, eps, scale)


@jit
def rmsprop_into(new, new_v, p, g, v, lr, decay, eps, scale, threads):
    """`optimizers.rmsprop_into` on several threads."""
    on_threads(_rmsprop_part, (new, new_v, p, g, v, lr, decay, eps, scale), _chunk_count(p), threads)


@jit
def _adagrad_part(c, parts, lane, new, new_sum, p, g, sum_, lr, eps, scale):
    s = slice(c * UPDATE_CHUNK, min(p.shape[0], (c + 1) * UPDATE_CHUNK))
    serial_adagrad(new[s], new_sum[s], p[s], g[s], sum_[s], lr, eps, scale)


@jit
def adagrad_into(new, new_sum, p, g, sum_, lr, eps, scale, threads):
    """`optimizers.adagrad_into` on several threads."""
    on_threads(_adagrad_part, (new, new_sum, p, g, sum_, lr, eps, scale), _chunk_count(p), threads)


@jit
def bounded_part(slab, slabs, lane, large, grad, limit, shares):
    """Set `large` where a slab's share of the gradient exceeds the limit, or is not finite."""
    for i in range(0, shares.shape[0], 3):
        lo, hi = _own_entries(shares, i, slab, slabs)
        if not serial_bounded(grad[lo:hi], limit):
            store(large, 1)


@jit
def step_part(slab, slabs, lane, params, first, second, grad, rule, rate, numbers, count, factor, shares, copies):
    """One step of a rule for a slab's share of the parameters, which is handed out to the threads' copies."""
    for i in range(0, shares.shape[0], 3):
        lo, hi = _own_entries(shares, i, slab, slabs)
        for at in range(lo, hi, UPDATE_BLOCK):
            part = slice(at, min(hi, at + UPDATE_BLOCK))
            own, g, m, v = own_copy(params, copies, lane)[part], grad[part], first[part], second[part]
            apply_rule(own, g, m, v, rule, rate, numbers, count, factor)
            if copies.shape[0] > 0:
                _write_to_copies(own, part, lane, slabs, params, copies)


@jit
def _write_to_copies(own, part, lane, lanes, params, copies):
    """Write new parameters in the copy of `lane` to the copies of the others."""
    for other in range(lanes):
        if other != lane:
            target = own_copy(params, copies, other)[part]
            for j in range(own.shape[0]):
                target[j] = own[j]


@jit
def _own_entries(shares, i, slab, slabs):
    """The entries of the piece of the parameters at `shares[i]` that belong to `slab`: (start, rows, entries a row)."""
    start, rows, width = shares[i], shares[i + 1], shares[i + 2]
    lo, hi = partition_start(rows, slab, slabs), partition_start(rows, slab + 1, slabs)
    return start + lo * width, start + hi * width


@jit
def update(params, first, second, grad, rule, rate, numbers, count, factor, limit, shares, copies, slabs):
    """The step of an optimizer in place (see `rules.step_on`), each slab on its own entries.

    `shares` are (start, rows, entries a row) of pieces of the parameters: a slab's entries are those of its rows in
    each, the same that it has written to the gradient. `copies` are the parameters of all slabs but the first (see
    `copies.own_copy`), or empty. Returns whether the step was taken: it is not where an entry of
    the gradient is not below `limit` in magnitude, or NaN.
    """
    if slabs == 1:
        if not serial_bounded(grad, limit):
            return False
        apply_rule(params, grad, first, second, rule, rate, numbers, count, factor)
        return True
    large = own_word()
    on_threads(bounded_part, (large, grad, limit, shares), slabs, slabs)
    if load(large) != 0:
        return False
    given = (params, first, second, grad, rule, rate, numbers, count, factor, shares, copies)
    on_threads(step_part, given, slabs, slabs)
    return True


def in_place(params, first, second, grad, rule, rate, numbers, count, factor):
    """The step of an optimizer in place (see `rules.step_on`) on a finite gradient, on all threads where that pays."""
    threads = 1 if params.size < UPDATED_BY_ALL else num_threads()
    if threads == 1:
        apply_rule(params, grad, first, second, rule, rate, numbers, count, factor)
        return
    start(threads)
    whole = np.array([0, params.size, 1])
    update(params, first, second, grad, rule, rate, numbers, count, factor, np.inf, whole, params[:0], threads)


def into(name: str, *arguments: object) -> None:
    """Run the update `name` on the first argument's length of entries, on all threads where that pays."""
    first = arguments[0]
    assert isinstance(first, np.ndarray)
    threads = 1 if first.size < UPDATED_BY_ALL else num_threads()
    if threads == 1:
        getattr(serial, name)(*arguments)
        return
    start(threads)
    globals()[name](*arguments, threads)
