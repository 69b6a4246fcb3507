"""Training on a GPU: parameters, the optimizer's vectors, auxiliary variables and data stay on the device.

A block of steps is one sequence of launches, recorded once and replayed: gather a batch, run the program, examine,
step, record. What changes between steps (the step's number, its batch, its rate) lies on the device, written by the
host for a whole block. Gradients of tables that are read by rows are additions, sorted by row and summed; optimizers
for which a gradient of zero is no step then move these rows alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ppl.compiler.emit.cpu.training import LARGEST_GRADIENT, LARGEST_STEP
from ppl.compiler.lower.request import Request, floats_per_int, offsets_of
from ppl.compiler.lower.sizes import identifier
from ppl.compiler.lower.sparse_gradients import SparseTable, sparse_request
from ppl.errors import OptionError
from ppl.lazy import cuda_graph, cuda_launch, cuda_tables, cuda_training
from ppl.runtime.binding import BoundData
from ppl.runtime.cuda import CudaExecutable
from ppl.runtime.executable import PlateRows, compile_request
from ppl.training.mutable_state import BlockData, BlockResults, MutableState, UpdateRule
from ppl.training.trainers import Trainer
from ppl.tuning import BLOCK_STEPS, KEPT_PLANS

if TYPE_CHECKING:
    from ppl.runtime.compiled import Compiled

StepNumbers = tuple[float, ...]


def _adam_numbers(rate: float, factor: float, count: int, b1: float, b2: float, eps: float) -> StepNumbers:
    correction = 1.0 / math.sqrt(1.0 - b2**count)
    return rate / (1.0 - b1**count), b1, 1.0 - b1, b2, 1.0 - b2, correction, eps, factor


NUMBERS_BY_RULE: dict[str, Callable[..., StepNumbers]] = {
    "SGD": lambda rate, factor, count: (rate * factor,),
    "AdaGrad": lambda rate, factor, count, eps: (rate, eps, factor),
    "Momentum": lambda rate, factor, count, beta: (rate, beta, factor),
    "Nesterov": lambda rate, factor, count, beta: (rate, beta, factor),
    "Adam": _adam_numbers,
    "LazyAdam": _adam_numbers,
    "RMSProp": lambda rate, factor, count, decay, eps: (rate, decay, 1.0 - decay, eps, factor),
    "AdamW": lambda rate, factor, count, *rest: (*_adam_numbers(rate, factor, count, *rest[:-1]), rate * rest[-1]),
}
"""What the device needs for a step of a rule: of its rate, the factor of gradients, which of its steps it is, and its
numbers."""


def step_numbers(rule: UpdateRule, rates: Sequence[float], factor: float, count: int, dtype: Any) -> np.ndarray:
    """Return the numbers of steps, a row each; the first is number `count` of the optimizer."""
    width = cuda_training.NUMBERS
    out = np.zeros((len(rates), width), dtype)
    for i, rate in enumerate(rates):
        limit = min(LARGEST_GRADIENT, LARGEST_STEP / max(rate * factor, 1e-30))
        found = limit, float(np.finfo(dtype).max), *NUMBERS_BY_RULE[rule.name](rate, factor, count + i, *rule.numbers)
        out[i, : len(found)] = found
    return out.reshape(-1)


class DeviceState:
    """A `MutableState` state on the device, the data that it trains on, and the plans of steps."""

    def __init__(self, live: MutableState):
        self.live = live
        first, second = live.vectors
        self.params, self.first, self.second, self.aux, self.kept = map(
            cuda_launch.moved, (live.flat, first, second, live.aux, live.aux)
        )
        self.bound: BoundData | None = None
        self.data: list[Any] = []
        self.plans: dict[Any, StepLaunches] = {}

    def download(self) -> None:
        """Copy what has been trained to the state on the host."""
        live = self.live
        cuda_launch.fetched(self.params, live.flat)
        cuda_launch.fetched(self.aux, live.aux)
        for slot, there in zip(live.slots, (self.first, self.second), strict=False):
            cuda_launch.fetched(there, slot)

    def bring(self, bound: BoundData, arrays: Sequence[np.ndarray]) -> None:
        """Have these data on the device: in the same places if they are as long as those before."""
        if [(x.size, x.dtype) for x in arrays] == [(x.size, x.dtype) for x in self.data]:
            for there, x in zip(self.data, arrays, strict=True):
                cuda_launch.write(there, x)
        else:
            self.plans.clear()
            self.data = list(map(cuda_launch.moved, arrays))
        self.bound = bound


class StepLaunches:
    """The launches of a training step for batches of one size, and the vectors that they work on.

    Parameters
    ----------
    trainer : of the program.
    device_state : the state and the data.
    sizes : run-time sizes of a step.
    size : rows of a minibatch; 0 where a step takes all rows.
    """

    def __init__(self, trainer: DeviceTrainer, device_state: DeviceState, sizes: dict[str, int], size: int):
        exe, empty = trainer.executable, cuda_launch.empty
        self.trainer, self.device_state, self.size = trainer, device_state, size
        self.slabs = exe._slabs(sizes)
        self.work = exe.workspace_for(sizes, self.slabs)
        self.launch = exe.launcher(sizes)
        self.grad, self.sizes = empty(exe.n_params, exe.float), sizes
        words, written = floats_per_int(exe.float), exe._out_size(sizes) if exe.request.arrays else 0
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
                      for x, width in zip(device_state.data, trainer.widths(size), strict=True)]  # fmt: skip
        self.recorder = cuda_graph.Recorder()
        self.repeated: Any = None
        self._prepare()
        self._record()

    def _prepare(self) -> None:
        """Allocate what updates need besides."""

    def _record(self) -> None:
        """Record the launches of a step."""
        start = self.recorder
        for x, batch, width in zip(self.device_state.data, self.batch, self.trainer.widths(self.size), strict=True):
            if width:
                shape = cuda_launch.grid(self.size * width)
                start(cuda_training.gather, shape, batch, x, self.chosen, self.order, self.control, self.size, width)
        exe, device_state = self.trainer.executable, self.device_state
        ids = [self.chosen if self.size and i == self.trainer.which else self.none for i in range(len(exe.plates))]
        rest = [self.work.w, self.work.v, *self.batch, self.slabs, self.work.header]
        vectors = device_state.params, self.grad, self.out, device_state.aux, self.hyper, self.clock
        self.launch(start, *vectors, *[0] * len(exe.plates), *ids, *rest)
        self._record_update()

    def _record_update(self) -> None:
        """Record what follows the program: in one launch for few parameters."""
        start, device_state = self.recorder, self.device_state
        update, finish = cuda_training.STEPS[device_state.live.rule.name]
        state = device_state.params, device_state.first, device_state.second, self.grad
        n = max(self.grad.size, device_state.aux.size)
        if n <= cuda_training.ONE_BLOCK:
            vectors, clocks = self._recorded
            start(finish, cuda_launch.grid(1), *state, *vectors, self.numbers, *clocks)
            return
        examined = self.grad, device_state.aux, *self._scalars, self.numbers, self.control
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
        return (self.device_state.aux, self.device_state.kept, *self._scalars, *told), (self.clock, self.control)

    def take(self, steps: BlockData, places: Sequence[PlateRows], rates: Sequence[float], hypers: np.ndarray) -> int:
        """Take up to `len(rates)` steps and return how many were taken."""
        live, write = self.device_state.live, cuda_launch.write
        count, taken = len(rates), live.step - int(live.counter[1])
        numbers = step_numbers(live.rule, rates, 1.0 / steps.total, taken + 1, self.trainer.executable.float)
        given = np.ascontiguousarray(hypers, self.trainer.executable.float).reshape(-1)
        self.work.write_scales(places)
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
        """Return the scalars of the first steps of the block, a row each."""
        names = len(self.trainer.names)
        found = cuda_launch.fetched(self.results[: count * names])
        return np.asarray(found, np.float64).reshape(count, names)


class DeviceTrainer(Trainer):
    """The training loop of a program on a device."""

    executable: CudaExecutable
    plan: type[StepLaunches] = StepLaunches
    takes_several_batches = False

    def _read(self) -> None:
        super()._read()
        self.which = -1 if self.plate is None else self.executable.plates.index(identifier(self.plate.name))

    def widths(self, size: int) -> list[int]:
        """Return the entries of a row of every data argument that minibatches are cut from; 0 for others."""
        sizes = self.executable.request.inputs
        return [_entries_per_row(t) if size and cut else 0 for (_, t), cut in zip(sizes, self.cut, strict=True)]

    def run(self, live: MutableState, steps: BlockData, rates: Sequence[float], hypers: np.ndarray) -> int:
        """Take steps as `Trainer.run` does; where there are none, nothing is compiled either."""
        self.is_compiled = True
        if not rates:
            return 0
        if len(rates) > BLOCK_STEPS:
            raise OptionError(f"a block has at most {BLOCK_STEPS} steps, not {len(rates)}")
        self.executable.require()
        with cuda_launch.on(self.executable.target.device):
            return self._take_block(live, steps, rates, hypers)

    def _take_block(self, live: MutableState, steps: BlockData, rates: Sequence[float], hypers: np.ndarray) -> int:
        live.make_private()
        if live.device_state is None:
            live.device_state = DeviceState(live)
        exe, bound = self.executable, steps.bound
        if bound is not live.device_state.bound:
            arrays = [exe._data(x, *spec) for x, spec in zip(bound.arrays, exe.request.inputs, strict=True)]
            live.device_state.bring(bound, arrays)
        plan, places = self._find_plan(live.device_state, steps)
        before, live.copy_back = live.step, live.device_state.download
        done = plan.take(steps, places, rates, hypers)
        live.block_results = BlockResults(before, self.names, plan.scalars(done), steps.total)
        live.counter[0] += done
        return done

    def _find_plan(self, device_state: DeviceState, steps: BlockData) -> tuple[StepLaunches, list[PlateRows]]:
        """Return the plan of such steps, and where their rows stand in the data set."""
        exe, rows = self.executable, self._rows_per_step(steps)
        sizes = exe._sizes(rows, self.compiled.settings.particles, 1)
        size = 0 if steps.rows is None else steps.size
        key = (size, *sizes.values())
        if key not in device_state.plans:
            if len(device_state.plans) >= KEPT_PLANS:
                device_state.plans.clear()
            device_state.plans[key] = self.plan(self, device_state, sizes, size)
        found = self._row_scales(steps, rows)
        return device_state.plans[key], [PlateRows(*found[name], 0) for name in exe.plates]


def _entries_per_row(t: Any) -> int:
    """Return the entries of one row."""
    return int(t.event_size * math.prod(a.size or 1 for a in t.axes))


class SortedAdditions:
    """The additions to one table: their rows and their numbers, which a sort moves back and forth between two vectors.

    Parameters
    ----------
    plan : whose program writes the additions.
    table : what they are added to.
    """

    def __init__(self, plan: StepLaunches, table: SparseTable):
        exe = plan.trainer.executable
        self.plan, self.table = plan, table
        self.parts = exe._output_places(plan.sizes)
        self.counts = [math.prod(self.parts[term.target][2]) for term in table.terms]
        self.count = sum(self.counts)
        self.keys, self.order = ([cuda_launch.empty(self.count, np.int32) for _ in range(2)] for _ in range(2))
        self.blocks = cuda_tables.tiles(self.count)
        self.found = cuda_launch.empty(cuda_tables.DIGITS * self.blocks[0], np.int32)
        self.terms = cuda_launch.moved(np.array(list(self._terms()), np.int64).reshape(-1))
        self.last = 0

    def _terms(self) -> Iterator[tuple[int, int, int, int]]:
        """Return what the kernels must know of each term."""
        start = 0
        for term, count in zip(self.table.terms, self.counts, strict=True):
            coefs = -1 if term.coefs is None else self.parts[term.coefs][0].start
            yield start, self.parts[term.rows][0].start, coefs, term.repeat
            start += count

    def record(self) -> None:
        """Record the launches that sort."""
        start, start_of, words = self.plan.recorder, 0, floats_per_int(self.plan.trainer.executable.float)
        for term, count in zip(self.table.terms, self.counts, strict=True):
            at = self.parts[term.target][0].start // words
            given = self.keys[0], self.order[0], self.plan.ints, at, start_of, count, self.table.length
            start(cuda_tables.name_rows, cuda_launch.grid(count), *given)
            start_of += count
        for i in range(cuda_tables.passes(self.table.length)):
            now, then, shift = i % 2, (i + 1) % 2, i * cuda_tables.BITS
            start(cuda_tables.count_digits, self.blocks, self.found, self.keys[now], self.count, shift)
            start(cuda_tables.begin_digits, cuda_launch.grid(1), self.found, self.found.size)
            vectors = self.keys[then], self.order[then], self.keys[now], self.order[now]
            start(cuda_tables.move_digits, self.blocks, *vectors, self.found, self.count, shift)
            self.last = then

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape of a launch that has a block for every addition."""
        shape: tuple[int, int, int] = cuda_tables.beside(self.count, self.table.width)
        return shape

    @property
    def passed(self) -> tuple[Any, ...]:
        """What kernels that sum are passed."""
        many, width = len(self.table.terms), self.table.width
        return self.plan.out, self.terms, many, width, self.keys[self.last], self.order[self.last], self.count


class TableStepLaunches(StepLaunches):
    """The launches of a step of a program with tables."""

    trainer: DeviceTableTrainer

    def _prepare(self) -> None:
        self.tables = [SortedAdditions(self, table) for table in self.trainer.tables]
        additions = sum(table.count for table in self.tables)
        limit = np.array([LARGEST_GRADIENT / additions - 1.0], self.trainer.executable.float)
        self.limit = cuda_launch.moved(limit)

    def _record_update(self) -> None:
        for table in self.tables:
            table.record()
        if self.device_state.live.rule.name in cuda_tables.UPDATES:
            self._record_rows()
            return
        for table in self.tables:
            offset, size = table.table.offset, table.table.length * table.table.width
            self.recorder(cuda_tables.clear_rows, cuda_launch.grid(size), self.grad, offset, size)
            self.recorder(cuda_tables.add_rows, table.shape, self.grad, offset, *table.passed)
        super()._record_update()

    def _record_rows(self) -> None:
        """Record steps on the rows that are named, and on all other parameters."""
        start, device_state = self.recorder, self.device_state
        update, _ = cuda_training.STEPS[device_state.live.rule.name]
        w, at = self._scalars
        start(cuda_tables.examine_peak, (1, 1, 0), w, at + len(self.trainer.names), self.limit, self.control)
        state = device_state.params, device_state.first, device_state.second
        for first, size in self.trainer.dense or [(0, 0)]:
            grad, aux = self.grad[first : first + size], device_state.aux
            shape = cuda_launch.grid(max(size, aux.size))
            start(cuda_training.examine, shape, grad, aux, w, at, self.numbers, self.control)
        for first, size in self.trainer.dense:
            vectors = [x[first : first + size] if x.size else x for x in (*state, self.grad)]
            start(update, cuda_launch.grid(size), *vectors, self.numbers, self.control)
        rows = cuda_tables.UPDATES[device_state.live.rule.name]
        for table in self.tables:
            start(rows, table.shape, *state, table.table.offset, *table.passed, self.numbers, self.control)
        self._record_advance()


class DeviceTableTrainer(DeviceTrainer):
    """The training loop of a program with `tables`; `dense` are (offset, size) of all other parameters."""

    plan = TableStepLaunches

    def __init__(self, compiled: Compiled, request: Request, tables: tuple[SparseTable, ...]):
        self.compiled, self.tables = compiled, tables
        self.executable = compile_request(request, compiled.settings.dtype, compiled.target)  # type: ignore[assignment]
        self.executable.title = f"{compiled.title} (training)"
        offsets, inside = offsets_of(request.params)[0], {t.name for t in tables}
        self.dense = [(offsets[n], math.prod(s)) for n, s in request.params if n not in inside]
        self._read()
        self.names = self.names[:-1]


def device_trainer(compiled: Compiled) -> Trainer | None:
    """Return the training loop of a program on a device, if there is one."""
    if compiled.binder.plates:
        request = compiled.request("gradient", (), compiled.settings.particles)
        request, tables = sparse_request(request, compiled.target.rewrites)
        if tables:
            return DeviceTableTrainer(compiled, request, tables)
    found = DeviceTrainer(compiled)
    return found if found.executable.trains else None
