"""What a training step on the device does besides the program: gather a batch, examine the gradient, step, record.

`control` holds how many steps of a block have been taken, and whether the next must not be: then all that follows of
the block leaves the state as it is. `numbers` has `NUMBERS` entries for every step of the block.
"""

import numpy as np

from ppl.kernels.cuda.compat import THREADS, block, device, kernel, thread, together
from ppl.kernels.cuda.training.optimizers import RULES

NUMBERS = 11
"""Numbers of a step: bounds below which gradients are, and up to which losses are, then those of the rule."""

TAKEN, STOPPED = 0, 1
"""Entries of `control`."""

ONE_BLOCK = 4096
"""Entries of parameters up to which one block does all that follows a step in one launch."""


@kernel
def gather(out, x, chosen, order, control, size, width):
    """Copy the rows of a step's batch, of `width` entries each, and write their numbers to `chosen`."""
    e = block() * THREADS + thread()
    if e < size * width:
        i = e // width
        row = order[control[TAKEN] * size + i]
        out[e] = x[row * width + e - i * width]
        if e == i * width:
            chosen[i] = row


@device
def _examine(first, by, grad, aux, w, at, numbers, control):
    """Stop where a gradient is too large, or something is not finite; a thread looks at every entry `first + k by`."""
    here = control[TAKEN] * NUMBERS
    limit, largest = numbers[here], numbers[here + 1]
    good = abs(w[at]) <= largest
    for i in range(first, grad.shape[0], by):
        good = good and abs(grad[i]) < limit
    for i in range(first, aux.shape[0], by):
        good = good and abs(aux[i]) <= largest
    if not good:
        control[STOPPED] = 1


@device
def _advance(aux, kept, w, at, results, count, hyper, hypers, clock, control):
    """Record the scalars of a step that has been taken, and go on to the next one; by one block."""
    t, going = control[TAKEN], control[STOPPED] == 0
    me = thread()
    for j in range(me, aux.shape[0], THREADS):
        if going:
            kept[j] = aux[j]
        else:
            aux[j] = kept[j]
    if going:
        for j in range(me, count, THREADS):
            results[t * count + j] = w[at + j]
        if (t + 2) * hyper.shape[0] <= hypers.shape[0]:
            for j in range(me, hyper.shape[0], THREADS):
                hyper[j] = hypers[(t + 1) * hyper.shape[0] + j]
    together()
    if going and me == 0:
        control[TAKEN] = t + 1
        clock[1] += np.uint64(1)


@kernel
def examine(grad, aux, w, at, numbers, control):
    """Decide whether a step may be taken."""
    _examine(block() * THREADS + thread(), grad.shape[0] + aux.shape[0], grad, aux, w, at, numbers, control)


@kernel
def advance(aux, kept, w, at, results, count, hyper, hypers, clock, control):
    """Record a step; by one block."""
    _advance(aux, kept, w, at, results, count, hyper, hypers, clock, control)


def _steps(rule):
    """(the kernel that moves all parameters, one thread an entry; that by which one block does all that follows)."""

    @kernel
    def update(params, first, second, grad, numbers, control):
        i = block() * THREADS + thread()
        if i < params.shape[0] and control[STOPPED] == 0:
            rule(i, params, first, second, grad[i], numbers, control[TAKEN] * NUMBERS)

    @kernel
    def finish(params, first, second, grad, aux, kept, w, at, results, count, hyper, hypers, numbers, clock, control):
        _examine(thread(), THREADS, grad, aux, w, at, numbers, control)
        together()
        if control[STOPPED] == 0:
            for i in range(thread(), params.shape[0], THREADS):
                rule(i, params, first, second, grad[i], numbers, control[TAKEN] * NUMBERS)
        together()
        _advance(aux, kept, w, at, results, count, hyper, hypers, clock, control)

    return update, finish


STEPS = {name: _steps(rule) for name, rule in RULES.items()}
