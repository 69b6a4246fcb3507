"""Optimizer updates on flat vectors of either precision: in place, into fresh vectors, and by rule number.

Serial and vectorised; a parallel driver calls them on disjoint slices. Every hyperparameter is cast to the type of
the parameters, so that nothing is computed in double precision by accident. The `_into` forms are what training
uses, because a state is immutable: they read each vector once and write each result once, where copying first would
touch the memory twice. Training loops that own their state update it in place; they must not call an `_into` form
with results over operands, because a loop whose arrays overlap does not vectorise. Everywhere the gradient is
multiplied by `scale` on the way (clipping, rows), with the same bits in both forms. Emitted training loops call
`step_on` and `row_step`."""

import math

import numpy as np
from numba import types
from numba.extending import overload

from ppl.kernels.decorators import inline, jit


def _cast(like, value):
    """`value` in the type of the array `like`."""
    return like.dtype.type(value)


@overload(_cast, inline="never")
def _cast_overload(like, value):
    if like.dtype == types.float32:
        return lambda like, value: np.float32(value)
    return lambda like, value: np.float64(value)


@inline
def _decays(p, b1, b2):
    """How much of each moment of Adam is kept, and how much of the new one is added."""
    return _cast(p, b1), _cast(p, 1.0 - b1), _cast(p, b2), _cast(p, 1.0 - b2)


@inline
def _power(base, count):
    """base**count for a whole `count` from 0 on; Numba's own ``**`` also takes negative ones, and long to compile."""
    result = 1.0
    while count != 0:
        if count & 1:
            result *= base
        count >>= 1
        base *= base
    return result


@inline
def _adam_scales(p, lr, b1, b2, eps, t, scale):
    """Rate and 1 / sqrt of the second moment's bias in step `t`, the least denominator, the gradient's factor."""
    rate, correction = _cast(p, lr / (1.0 - _power(b1, t))), _cast(p, 1.0 / math.sqrt(1.0 - _power(b2, t)))
    return rate, correction, _cast(p, eps), _cast(p, scale)


@inline
def _adam_step(mi, vi, rate, scale, tiny):
    """The step of one entry from its moments."""
    return rate * mi / (math.sqrt(vi) * scale + tiny)


@inline
def _decayed_step(p, shrink, step):
    """The step of an entry, with what weight decay takes."""
    return shrink * p + step


@jit
def sgd(p, g, lr, scale):
    """p -= lr scale g.

    Parameters
    ----------
    p, g : one-dimensional contiguous arrays of one type
        Parameters (updated) and gradient of the loss.
    lr, scale : float
        Learning rate, and what the gradient is multiplied by.
    """
    rate = _cast(p, lr * scale)
    for i in range(p.shape[0]):
        p[i] -= rate * g[i]


@jit
def sgd_into(new, p, g, lr, scale):
    """new = p - lr scale g; see `sgd`."""
    rate = _cast(p, lr * scale)
    for i in range(p.shape[0]):
        new[i] = p[i] - rate * g[i]


@jit
def momentum(p, g, buf, lr, beta, scale):
    """buf = beta buf + scale g; p -= lr buf (heavy ball, without dampening); `buf` starts at zero."""
    rate, decay, factor = _cast(p, lr), _cast(p, beta), _cast(p, scale)
    for i in range(p.shape[0]):
        b = decay * buf[i] + factor * g[i]
        buf[i] = b
        p[i] -= rate * b


@jit
def momentum_into(new, new_buf, p, g, buf, lr, beta, scale):
    """new_buf = beta buf + scale g; new = p - lr new_buf; see `momentum`."""
    rate, decay, factor = _cast(p, lr), _cast(p, beta), _cast(p, scale)
    for i in range(p.shape[0]):
        b = decay * buf[i] + factor * g[i]
        new_buf[i] = b
        new[i] = p[i] - rate * b


@jit
def nesterov(p, g, buf, lr, beta, scale):
    """buf = beta buf + scale g; p -= lr (scale g + beta buf), which looks one step ahead."""
    rate, decay, factor = _cast(p, lr), _cast(p, beta), _cast(p, scale)
    for i in range(p.shape[0]):
        gi = factor * g[i]
        b = decay * buf[i] + gi
        buf[i] = b
        p[i] -= rate * (gi + decay * b)


@jit
def nesterov_into(new, new_buf, p, g, buf, lr, beta, scale):
    """new_buf = beta buf + scale g; new = p - lr (scale g + beta new_buf); see `nesterov`."""
    rate, decay, factor = _cast(p, lr), _cast(p, beta), _cast(p, scale)
    for i in range(p.shape[0]):
        gi = factor * g[i]
        b = decay * buf[i] + gi
        new_buf[i] = b
        new[i] = p[i] - rate * (gi + decay * b)


@jit
def adam(p, g, m, v, lr, b1, b2, eps, t, scale):
    """One step of Adam (Kingma and Ba, 2015) on the gradient scale g, with bias correction; `t` counts steps from 1,
    `m` and `v` start at 0.

    ``m = b1 m + (1 - b1) g``; ``v = b2 v + (1 - b2) g**2``;
    ``p -= lr / (1 - b1**t) m / (sqrt(v / (1 - b2**t)) + eps)``.
    """
    first, first_rest, second, second_rest = _decays(p, b1, b2)
    rate, correction, tiny, factor = _adam_scales(p, lr, b1, b2, eps, t, scale)
    for i in range(p.shape[0]):
        gi = factor * g[i]
        mi = first * m[i] + first_rest * gi
        vi = second * v[i] + second_rest * (gi * gi)
        m[i] = mi
        v[i] = vi
        p[i] -= _adam_step(mi, vi, rate, correction, tiny)


@jit
def adam_into(new, new_m, new_v, p, g, m, v, lr, b1, b2, eps, t, scale):
    """One step of Adam on the gradient scale g, written to `new`, `new_m`, `new_v`; see `adam`."""
    first, first_rest, second, second_rest = _decays(p, b1, b2)
    rate, correction, tiny, factor = _adam_scales(p, lr, b1, b2, eps, t, scale)
    for i in range(p.shape[0]):
        gi = factor * g[i]
        mi = first * m[i] + first_rest * gi
        vi = second * v[i] + second_rest * (gi * gi)
        new_m[i] = mi
        new_v[i] = vi
        new[i] = p[i] - _adam_step(mi, vi, rate, correction, tiny)


@jit
def lazy_adam(p, g, m, v, lr, b1, b2, eps, t, scale):
    """`adam`, but that an entry, and its moments, keep their bits where g is 0."""
    first, first_rest, second, second_rest = _decays(p, b1, b2)
    rate, correction, tiny, factor = _adam_scales(p, lr, b1, b2, eps, t, scale)
    for i in range(p.shape[0]):
        if g[i] != 0:
            gi = factor * g[i]
            mi = first * m[i] + first_rest * gi
            vi = second * v[i] + second_rest * (gi * gi)
            m[i] = mi
            v[i] = vi
            p[i] -= _adam_step(mi, vi, rate, correction, tiny)


@jit
def lazy_adam_into(new, new_m, new_v, p, g, m, v, lr, b1, b2, eps, t, scale):
    """One step of `lazy_adam`, written to `new`, `new_m`, `new_v`."""
    first, first_rest, second, second_rest = _decays(p, b1, b2)
    rate, correction, tiny, factor = _adam_scales(p, lr, b1, b2, eps, t, scale)
    for i in range(p.shape[0]):
        gi, mi, vi, pi = factor * g[i], m[i], v[i], p[i]
        if g[i] != 0:
            mi = first * mi + first_rest * gi
            vi = second * vi + second_rest * (gi * gi)
            pi -= _adam_step(mi, vi, rate, correction, tiny)
        new_m[i], new_v[i], new[i] = mi, vi, pi


@jit
def adamw(p, g, m, v, lr, b1, b2, eps, decay, t, scale):
    """`adam`, and besides p -= lr decay p, with p as it was (Loshchilov and Hutter, 2019)."""
    first, first_rest, second, second_rest = _decays(p, b1, b2)
    rate, correction, tiny, factor = _adam_scales(p, lr, b1, b2, eps, t, scale)
    shrink = _cast(p, lr * decay)
    for i in range(p.shape[0]):
        gi = factor * g[i]
        mi = first * m[i] + first_rest * gi
        vi = second * v[i] + second_rest * (gi * gi)
        m[i] = mi
        v[i] = vi
        p[i] -= _decayed_step(p[i], shrink, _adam_step(mi, vi, rate, correction, tiny))


@jit
def adamw_into(new, new_m, new_v, p, g, m, v, lr, b1, b2, eps, decay, t, scale):
    """One step of AdamW on the gradient scale g, written to `new`, `new_m`, `new_v`; see `adamw`."""
    first, first_rest, second, second_rest = _decays(p, b1, b2)
    rate, correction, tiny, factor = _adam_scales(p, lr, b1, b2, eps, t, scale)
    shrink = _cast(p, lr * decay)
    for i in range(p.shape[0]):
        gi = factor * g[i]
        mi = first * m[i] + first_rest * gi
        vi = second * v[i] + second_rest * (gi * gi)
        new_m[i] = mi
        new_v[i] = vi
        new[i] = p[i] - _decayed_step(p[i], shrink, _adam_step(mi, vi, rate, correction, tiny))


@jit
def rmsprop(p, g, v, lr, decay, eps, scale):
    """v = decay v + (1 - decay) (scale g)^2; p -= lr scale g / (sqrt(v) + eps) (Tieleman and Hinton, 2012)."""
    rate, kept, rest = _cast(p, lr), _cast(p, decay), _cast(p, 1.0 - decay)
    tiny, factor = _cast(p, eps), _cast(p, scale)
    for i in range(p.shape[0]):
        gi = factor * g[i]
        vi = kept * v[i] + rest * (gi * gi)
        v[i] = vi
        p[i] -= rate * gi / (math.sqrt(vi) + tiny)


@jit
def rmsprop_into(new, new_v, p, g, v, lr, decay, eps, scale):
    """new_v = decay v + (1 - decay) (scale g)^2; new = p - lr scale g / (sqrt(new_v) + eps); see `rmsprop`."""
    rate, kept, rest = _cast(p, lr), _cast(p, decay), _cast(p, 1.0 - decay)
    tiny, factor = _cast(p, eps), _cast(p, scale)
    for i in range(p.shape[0]):
        gi = factor * g[i]
        vi = kept * v[i] + rest * (gi * gi)
        new_v[i] = vi
        new[i] = p[i] - rate * gi / (math.sqrt(vi) + tiny)


@jit
def adagrad(p, g, sum_, lr, eps, scale):
    """sum += (scale g)^2; p -= lr scale g / (sqrt(sum) + eps) (Duchi, Hazan and Singer, 2011).

    Where g is 0, both keep their bits, also where the sum is still 0: `eps` is positive.
    """
    rate, tiny, factor = _cast(p, lr), _cast(p, eps), _cast(p, scale)
    for i in range(p.shape[0]):
        gi = factor * g[i]
        si = sum_[i] + gi * gi
        sum_[i] = si
        p[i] -= rate * gi / (math.sqrt(si) + tiny)


@jit
def adagrad_into(new, new_sum, p, g, sum_, lr, eps, scale):
    """new_sum = sum + (scale g)^2; new = p - lr scale g / (sqrt(new_sum) + eps); see `adagrad`."""
    rate, tiny, factor = _cast(p, lr), _cast(p, eps), _cast(p, scale)
    for i in range(p.shape[0]):
        gi = factor * g[i]
        si = sum_[i] + gi * gi
        new_sum[i] = si
        new[i] = p[i] - rate * gi / (math.sqrt(si) + tiny)


@jit
def norm(x):
    """The Euclidean norm, summed in double precision: float32 squares overflow at 1e19."""
    total = 0.0
    for i in range(x.shape[0]):
        xi = np.float64(x[i])
        total += xi * xi
    return math.sqrt(total)


@jit
def bounded(x, limit):
    """Whether all entries of the vector `x` are smaller than `limit` in magnitude, and none is NaN."""
    most, good = _cast(x, limit), True
    for i in range(x.shape[0]):
        good &= abs(x[i]) < most
    return good


@jit
def all_finite(x):
    """Whether no entry is NaN or infinite."""
    return bounded(x, math.inf)


@jit
def step_on(start, size, slab, slabs, params, first, second, grad, rule, rate, numbers, count, factor):
    """The step of an optimizer in place, on the entries of `slab` among `size` from `start` on.

    `rule` numbers SGD, AdaGrad, Momentum, Nesterov, Adam, RMSProp, AdamW and LazyAdam; `first` and `second` are the
    vectors it keeps, `numbers` its hyperparameters besides the rate, `count` which of its steps this is, `factor` what
    multiplies the gradient.
    """
    lo, hi = start + size * slab // slabs, start + size * (slab + 1) // slabs
    p, g, first, second = params[lo:hi], grad[lo:hi], first[lo:hi], second[lo:hi]
    apply_rule(p, g, first, second, rule, rate, numbers, count, factor)


@jit
def apply_rule(p, g, first, second, rule, rate, numbers, count, factor):
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
