"""The step of an optimizer by the number of its rule, in place: what training loops in emitted code call."""

from ppl.kernels.config import jit
from ppl.kernels.cpu.training.optimizers import adagrad, adam, adamw, lazy_adam, momentum, nesterov, rmsprop, sgd


@jit
def step_on(start, size, slab, slabs, params, first, second, grad, rule, rate, numbers, count, factor):
    """The step of an optimizer in place, on the entries of `slab` among `size` from `start` on.

    `rule` numbers SGD, AdaGrad, Momentum, Nesterov, Adam, RMSProp, AdamW and LazyAdam; `first` and `second` are the
    vectors it keeps, `numbers` its hyperparameters besides the rate, `count` which of its steps this is, `factor` what
    multiplies the gradient.
    """
    lo, hi = start + size * slab // slabs, start + size * (slab + 1) // slabs
    p, g, first, second = params[lo:hi], grad[lo:hi], first[lo:hi], second[lo:hi]
    step(p, g, first, second, rule, rate, numbers, count, factor)


@jit
def step(p, g, first, second, rule, rate, numbers, count, factor):
    """The step of an optimizer in place on whole vectors; see `step_on`."""
    if rule == 0:
        sgd(p, g, rate, factor)
    elif rule == 1:
        adagrad(p, g, first, rate, numbers[0], factor)
    elif rule == 2:
        momentum(p, g, first, rate, numbers[0], factor)
    elif rule == 3:
        nesterov(p, g, first, rate, numbers[0], factor)
    elif rule == 4:
        adam(p, g, first, second, rate, numbers[0], numbers[1], numbers[2], count, factor)
    elif rule == 5:
        rmsprop(p, g, first, rate, numbers[0], numbers[1], factor)
    elif rule == 6:
        adamw(p, g, first, second, rate, numbers[0], numbers[1], numbers[2], numbers[3], count, factor)
    else:
        lazy_adam(p, g, first, second, rate, numbers[0], numbers[1], numbers[2], count, factor)


@jit
def row_step(p, g, first, second, at, rule, rate, numbers, count, factor):
    """The step of AdaGrad or LazyAdam in place on a row of a table; its part of `second` begins at `at`."""
    if rule == 1:
        adagrad(p, g, first, rate, numbers[0], factor)
    else:
        v = second[at : at + p.shape[0]]
        lazy_adam(p, g, first, v, rate, numbers[0], numbers[1], numbers[2], count, factor)
