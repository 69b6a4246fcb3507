"""Training on a device: parameters, the optimizer's vectors, auxiliary variables and data stay there.

A block of steps is one sequence of launches, repeated: gather a batch, run the program, examine, step, record. What
changes between steps lies on the device: the step's number, its place in the block, its batch and its numbers, which
the host writes for a whole block. After the block the host looks at how many steps have been taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ppl.compiler.emit.cpu.training import LARGEST, LARGEST_STEP
from ppl.compiler.lower.identifiers import identifier
from ppl.errors import OptionError
from ppl.lazy import cuda_graph, cuda_launch, cuda_training
from ppl.runtime.binding import Bound
from ppl.runtime.devices.executable import CudaExecutable
from ppl.runtime.executable import Place
from ppl.training.live import Block, Live, Rule, Steps
from ppl.training.loops import Trainer
from ppl.tuning import BLOCK_STEPS, KEPT_PLANS

Numbers = tuple[float, ...]


def _adam(rate: float, factor: float, count: int, b1: float, b2: float, eps: float) -> Numbers:
    correction = 1.0 / math.sqrt(1.0 - b2**count)
    return rate / (1.0 - b1**count), b1, 1.0 - b1, b2, 1.0 - b2, correction, eps, factor


RULES: dict[str, Callable[..., Numbers]] = {
    "SGD": lambda rate, factor, count: (rate * factor,),
    "AdaGrad": lambda rate, factor, count, eps: (rate, eps, factor),
    "Momentum": lambda rate, factor, count, beta: (rate, beta, factor),
    "Nesterov": lambda rate, factor, count, beta: (rate, beta, factor),
    "Adam": _adam,
    "LazyAdam": _adam,
    "RMSProp": lambda rate, factor, count, decay, eps: (rate, decay, 1.0 - decay, eps, factor),
    "AdamW": lambda rate, factor, count, *rest: (*_adam(rate, factor, count, *rest[:-1]), rate * rest[-1]),
}
"""What the device needs for a step of a rule: of its rate, the factor of gradients, which of its steps it is, and its
numbers."""


def numbers_of(rule: Rule, rates: Sequence[float], factor: float, count: int, dtype: Any) -> np.ndarray:
    """The numbers of steps, a row each; the first is number `count` of the optimizer."""
    width = cuda_training.NUMBERS
    out = np.zeros((len(rates), width), dtype)
    for i, rate in enumerate(rates):
        limit = min(LARGEST, LARGEST_STEP / max(rate * factor, 1e-30))
        found = limit, float(np.finfo(dtype).max), *RULES[rule.name](rate, factor, count + i, *rule.numbers)
        out[i, : len(found)] = found
    return out.reshape(-1)


class Resident:
    """A `Live` state on the device, the data that it trains on, and the plans of steps."""

    def __init__(self, live: Live):
        self.live = live
        first, second = live.vectors
        self.params, self.first, self.second, self.aux, self.kept = map(
            cuda_launch.moved, (live.flat, first, second, live.aux, live.aux)
        )
        self.bound: Bound | None = None
        self.data: list[Any] = []
        self.plans: dict[Any, Plan] = {}

    def download(self) -> None:
        """Copy what has been trained to the state on the host."""
        live = self.live
        cuda_launch.fetched(self.params, live.flat)
        cuda_launch.fetched(self.aux, live.aux)
        for slot, there in zip(live.slots, (self.first, self.second), strict=False):
            cuda_launch.fetched(there, slot)

    def bring(self, bound: Bound, arrays: Sequence[np.ndarray]) -> None:
        """Have these data on the device: in the same places if they are as long as those before."""
        if [(x.size, x.dtype) for x in arrays] == [(x.size, x.dtype) for x in self.data]:
            for there, x in zip(self.data, arrays, strict=True):
                cuda_launch.write(there, x)
        else:
            self.plans.clear()
            self.data = list(map(cuda_launch.moved, arrays))
        self.bound = bound


class Plan:
    """The launches of a training step for batches of one size, and the vectors that they work on.

    Parameters
    ----------
    trainer : of the program.
    resident : the state and the data.
    sizes : run-time sizes of a step.
    size : rows of a minibatch; 0 where a step takes all rows.
    """

    def __init__(self, trainer: ResidentTrainer, resident: Resident, sizes: dict[str, int], size: int):
        exe, empty = trainer.executable, cuda_launch.empty
        self.trainer, self.resident, self.size = trainer, resident, size
        self.slabs = exe._slabs(sizes)
        self.work = exe.workspace_for(sizes, self.slabs)
        self.launch = exe.launcher(sizes)
        self.grad, self.sizes = empty(exe.n_params, exe.float), sizes
        words, written = 8 // np.dtype(exe.float).itemsize, exe._out_size(sizes) if exe.request.arrays else 0
        self.ints = empty(-(-written // words), np.int64)
        self.out = self.ints.view(exe.float)[:written]
        self.hyper = empty(len(exe.request.hypers), exe.float)
        self.hypers = empty(BLOCK_STEPS * self.hyper.size, exe.float)
        self.numbers = empty(BLOCK_STEPS * cuda_training.NUMBERS, exe.float)
        self.results = empty(BLOCK_STEPS * len(trainer.names), exe.float)
        self.order, self.chosen = empty(BLOCK_STEPS * size, np.int64), empty(size, np.int64)
        self.control, self.clock = empty(2, np.int64), empty(2, np.uint64)
        self.none = empty(0, np.int64)
        self.batch = [empty(size * width, x.dtype) if width else x
                      for x, width in zip(resident.data, trainer.widths(size), strict=True)]  # fmt: skip
        self.recorder = cuda_graph.Recorder()
        self.repeated: Any = None
        self._prepare()
        self._record()

    def _prepare(self) -> None:
        """Allocate what updates need besides."""

    def _record(self) -> None:
        """Record the launches of a step."""
        start = self.recorder
        for x, batch, width in zip(self.resident.data, self.batch, self.trainer.widths(self.size), strict=True):
            if width:
                shape = cuda_launch.grid(self.size * width)
                start(cuda_training.gather, shape, batch, x, self.chosen, self.order, self.control, self.size, width)
        exe, resident = self.trainer.executable, self.resident
        ids = [self.chosen if self.size and i == self.trainer.which else self.none for i in range(len(exe.plates))]
        rest = [self.work.w, self.work.v, *self.batch, self.slabs, self.work.header]
        vectors = resident.params, self.grad, self.out, resident.aux, self.hyper, self.clock
        self.launch(start, *vectors, *[0] * len(exe.plates), *ids, *rest)
        self._record_update()

    def _record_update(self) -> None:
        """Record what follows the program: in one launch for few parameters."""
        start, resident = self.recorder, self.resident
        update, finish = cuda_training.STEPS[resident.live.rule.name]
        state = resident.params, resident.first, resident.second, self.grad
        n = max(self.grad.size, resident.aux.size)
        if n <= cuda_training.ONE_BLOCK:
            vectors, clocks = self._recorded
            start(finish, cuda_launch.grid(1), *state, *vectors, self.numbers, *clocks)
            return
        examined = self.grad, resident.aux, *self._scalars, self.numbers, self.control
        start(cuda_training.examine, cuda_launch.grid(n), *examined)
        start(update, cuda_launch.grid(self.grad.size), *state, self.numbers, self.control)
        self._record_advance()

    def _record_advance(self) -> None:
        vectors, clocks = self._recorded
        self.recorder(cuda_training.advance, cuda_launch.grid(1), *vectors, *clocks)

    @property
    def _scalars(self) -> tuple[Any, int]:
        """Where the program writes its scalars."""
        return self.work.w, len(self.trainer.executable.plates)

    @property
    def _recorded(self) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """What is passed to what records a step, and goes on to the next."""
        told = self.results, len(self.trainer.names), self.hyper, self.hypers
        return (self.resident.aux, self.resident.kept, *self._scalars, *told), (self.clock, self.control)

    def take(self, steps: Steps, places: Sequence[Place], rates: Sequence[float], hypers: np.ndarray) -> int:
        """Take up to `len(rates)` steps and return how many were taken."""
        live, write = self.resident.live, cuda_launch.write
        count, taken = len(rates), live.step - int(live.counter[1])
        numbers = numbers_of(live.rule, rates, 1.0 / steps.total, taken + 1, self.trainer.executable.float)
        given = np.ascontiguousarray(hypers, self.trainer.executable.float).reshape(-1)
        self.work.tell(places)
        write(self.numbers[: numbers.size], numbers)
        write(self.hypers[: given.size], given)
        write(self.hyper, given[: self.hyper.size])
        if steps.rows is not None:
            write(self.order[: count * self.size], np.ascontiguousarray(steps.rows[: count * self.size], np.int64))
        write(self.control, np.zeros(2, np.int64))
        write(self.clock, np.array([live.seed & 0xFFFFFFFFFFFFFFFF, live.step], np.uint64))
        self._replay(count)
        return int(cuda_launch.fetched(self.control)[cuda_training.TAKEN])

    def _replay(self, count: int) -> None:
        """Repeat the launches; those of the first time bring their code to the device."""
        self.recorder.wait()
        if self.repeated is None:
            self.recorder.replay()
            self.recorder.wait()
            self.repeated, count = cuda_graph.repeated(self.recorder), count - 1
        for _ in range(count):
            self.repeated.replay()
        self.repeated.wait()

    def scalars(self, count: int) -> np.ndarray:
        """The scalars of the first steps of the block, a row each."""
        names = len(self.trainer.names)
        found = cuda_launch.fetched(self.results[: count * names])
        return np.asarray(found, np.float64).reshape(count, names)


class ResidentTrainer(Trainer):
    """The training loop of a program on a device."""

    executable: CudaExecutable
    plan: type[Plan] = Plan
    several = False

    def _read(self) -> None:
        super()._read()
        self.which = -1 if self.plate is None else self.executable.plates.index(identifier(self.plate.name))

    def widths(self, size: int) -> list[int]:
        """Entries of a row of every data argument that minibatches of `size` rows are cut from; 0 for others."""
        sizes = self.executable.request.inputs
        return [_entries(t) if size and cut else 0 for (_, t), cut in zip(sizes, self.cut, strict=True)]

    def run(self, live: Live, steps: Steps, rates: Sequence[float], hypers: np.ndarray) -> int:
        """See `Trainer.run`. Where no steps are taken, nothing is compiled either."""
        if not rates:
            return 0
        if len(rates) > BLOCK_STEPS:
            raise OptionError(f"a block has at most {BLOCK_STEPS} steps, not {len(rates)}")
        self.executable.require()
        with cuda_launch.on(self.executable.target.device):
            return self._block(live, steps, rates, hypers)

    def _block(self, live: Live, steps: Steps, rates: Sequence[float], hypers: np.ndarray) -> int:
        live.own()
        if live.resident is None:
            live.resident = Resident(live)
        exe, bound = self.executable, steps.bound
        if bound is not live.resident.bound:
            arrays = [exe._data(x, *spec) for x, spec in zip(bound.arrays, exe.request.inputs, strict=True)]
            live.resident.bring(bound, arrays)
        plan, places = self._planned(live.resident, steps)
        before, live.join = live.step, live.resident.download
        done = plan.take(steps, places, rates, hypers)
        live.block = Block(before, self.names, plan.scalars(done), steps.total)
        live.counter[0] += done
        return done

    def _planned(self, resident: Resident, steps: Steps) -> tuple[Plan, list[Place]]:
        """The plan of such steps, and where their rows stand in the data set."""
        exe, rows = self.executable, self._rows_of(steps)
        sizes = exe._sizes(rows, self.compiled.settings.particles, 1)
        size = 0 if steps.rows is None else steps.size
        key = (size, *sizes.values())
        if key not in resident.plans:
            if len(resident.plans) >= KEPT_PLANS:
                resident.plans.clear()
            resident.plans[key] = self.plan(self, resident, sizes, size)
        found = self._scaled(steps, rows)
        return resident.plans[key], [Place(*found[name], 0) for name in exe.plates]


def _entries(t: Any) -> int:
    """Entries of one row."""
    return int(t.event_size * math.prod(a.size or 1 for a in t.axes))
