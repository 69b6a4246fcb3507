"""Steps of optimizers on entry `i` of the parameters, whose gradient is `g`, in place.

`numbers` holds what a step needs from entry `at` on, computed by the host: see `ppl.training.resident`. The formulas
are those of `ppl.kernels.cpu.training.optimizers`.
"""

import math

from ppl.kernels.cuda.compat import device


@device
def sgd(i, p, first, second, g, numbers, at):
    """p -= rate g."""
    p[i] -= numbers[at + 2] * g


@device
def adagrad(i, p, first, second, g, numbers, at):
    """sum += (factor g)²; p -= rate factor g / (√sum + eps)."""
    gi = numbers[at + 4] * g
    total = first[i] + gi * gi
    first[i] = total
    p[i] -= numbers[at + 2] * gi / (math.sqrt(total) + numbers[at + 3])


@device
def momentum(i, p, first, second, g, numbers, at):
    """buf = beta buf + factor g; p -= rate buf."""
    b = numbers[at + 3] * first[i] + numbers[at + 4] * g
    first[i] = b
    p[i] -= numbers[at + 2] * b


@device
def nesterov(i, p, first, second, g, numbers, at):
    """buf = beta buf + factor g; p -= rate (factor g + beta buf)."""
    gi = numbers[at + 4] * g
    b = numbers[at + 3] * first[i] + gi
    first[i] = b
    p[i] -= numbers[at + 2] * (gi + numbers[at + 3] * b)


@device
def adam(i, p, first, second, g, numbers, at):
    """m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g²; p -= rate m / (√v scale + eps), g times the factor."""
    gi = numbers[at + 9] * g
    m = numbers[at + 3] * first[i] + numbers[at + 4] * gi
    v = numbers[at + 5] * second[i] + numbers[at + 6] * (gi * gi)
    first[i] = m
    second[i] = v
    p[i] -= numbers[at + 2] * m / (math.sqrt(v) * numbers[at + 7] + numbers[at + 8])


@device
def lazy_adam(i, p, first, second, g, numbers, at):
    """The step of `adam`; nothing where g is 0."""
    if g != 0:
        adam(i, p, first, second, g, numbers, at)


@device
def adamw(i, p, first, second, g, numbers, at):
    """The step of `adam`, and p -= rate decay p with p as it was."""
    old = p[i]
    adam(i, p, first, second, g, numbers, at)
    p[i] -= numbers[at + 10] * old


@device
def rmsprop(i, p, first, second, g, numbers, at):
    """v = decay v + (1 - decay) (factor g)²; p -= rate factor g / (√v + eps)."""
    gi = numbers[at + 6] * g
    v = numbers[at + 3] * first[i] + numbers[at + 4] * (gi * gi)
    first[i] = v
    p[i] -= numbers[at + 2] * gi / (math.sqrt(v) + numbers[at + 5])


RULES = {"SGD": sgd, "AdaGrad": adagrad, "Momentum": momentum, "Nesterov": nesterov, "Adam": adam,
         "RMSProp": rmsprop, "AdamW": adamw, "LazyAdam": lazy_adam}  # fmt: skip
