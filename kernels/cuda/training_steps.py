"""Training steps on a device: optimizer rules, kernels beside the program's, launches captured as a CUDA graph.

A step gathers a batch, examines the gradient, moves the parameters and records scalars. `control` holds how many
steps of a block have been taken, and whether the next must not be: then all that follows of the block leaves the
state as it is. `numbers` has `NUMBERS` entries for every step of the block, computed by the host. The formulas of
the rules are those of `ppl.kernels.cpu.training.optimizers`."""

import math

import numpy as np

from ppl.kernels.cuda.compat import SIMULATED, THREADS, block, cuda, device, kernel, thread, together
from ppl.kernels.cuda.launch import configured, start


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


def _step_kernels(rule):
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


STEPS = {name: _step_kernels(rule) for name, rule in RULES.items()}


class Recorder:
    """Stands for `start` where launches are to be repeated: keeps (kernel, shape, arguments) of each in `launches`."""

    def __init__(self):
        self.launches = []

    def __call__(self, kernel, shape, *arguments):
        """Keep a launch."""
        self.launches.append((kernel, shape, arguments))

    def replay(self):
        """Launch all in their order."""
        for launched, shape, arguments in self.launches:
            start(launched, shape, *arguments)

    def wait(self):
        """Wait until all launches have come to their end."""
        cuda.synchronize()


class Graph:
    """The launches of a `Recorder` as a CUDA graph. They must have run once, so that their code is on the device.

    Capturing allocates, copies and waits for nothing: all arguments are vectors on the device, and numbers.
    """

    def __init__(self, recorder):
        from cuda.core import Device  # type: ignore[import-untyped]  # optional, for those who have a device

        device = Device(cuda.get_current_device().id)
        device.set_current()
        self.arguments = [arguments for _, _, arguments in recorder.launches]
        self.stream = device.create_stream()
        builder = self.stream.create_graph_builder().begin_building()
        stream = cuda.external_stream(int(builder.stream.handle))
        for launched, shape, arguments in recorder.launches:
            configured(launched, shape, stream)(*arguments)
        self.graph = builder.end_building().complete()

    def replay(self):
        """Launch the graph."""
        self.graph.launch(self.stream)

    def wait(self):
        """Wait until all launches have come to their end."""
        self.stream.sync()


def repeated(recorder):
    """What repeats recorded launches that have run once: a graph, and in the simulator the recorder itself."""
    return recorder if SIMULATED else Graph(recorder)
