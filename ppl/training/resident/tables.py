"""Training on a device of programs that read tables by rows: gradients of tables are additions to the rows that are
named, sorted and summed (`ppl.kernels.cuda.training.tables`).

Optimizers for which a gradient of zero is no step move the rows that are named, and look at no others. Others take the
whole gradient.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ppl.compiler.emit.cpu.training import LARGEST
from ppl.compiler.lower.request import Request, offsets_of
from ppl.compiler.lower.sparse import Table, sparse_request
from ppl.lazy import cuda_launch, cuda_tables, cuda_training
from ppl.runtime.executable import compile_request
from ppl.training.loops import Trainer
from ppl.training.resident.plans import Plan, ResidentTrainer

if TYPE_CHECKING:
    from ppl.runtime.compiled import Compiled


class Sorted:
    """The additions to one table: their rows and their numbers, which a sort moves back and forth between two vectors.

    Parameters
    ----------
    plan : whose program writes the additions.
    table : what they are added to.
    """

    def __init__(self, plan: Plan, table: Table):
        exe = plan.trainer.executable
        self.plan, self.table = plan, table
        self.parts = exe._out_parts(plan.sizes)
        self.counts = [math.prod(self.parts[term.target][2]) for term in table.terms]
        self.count = sum(self.counts)
        self.keys, self.order = ([cuda_launch.empty(self.count, np.int32) for _ in range(2)] for _ in range(2))
        self.blocks = cuda_tables.tiles(self.count)
        self.found = cuda_launch.empty(cuda_tables.DIGITS * self.blocks[0], np.int32)
        self.terms = cuda_launch.moved(np.array(list(self._terms()), np.int64).reshape(-1))
        self.last = 0

    def _terms(self) -> Iterator[tuple[int, int, int, int]]:
        """What the kernels must know of each term."""
        start = 0
        for term, count in zip(self.table.terms, self.counts, strict=True):
            coefs = -1 if term.coefs is None else self.parts[term.coefs][0].start
            yield start, self.parts[term.rows][0].start, coefs, term.repeat
            start += count

    def record(self) -> None:
        """Record the launches that sort."""
        start, start_of, words = self.plan.recorder, 0, 8 // np.dtype(self.plan.trainer.executable.float).itemsize
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


class TablePlan(Plan):
    """The launches of a step of a program with tables."""

    trainer: TableTrainer

    def _prepare(self) -> None:
        self.tables = [Sorted(self, table) for table in self.trainer.tables]
        additions = sum(table.count for table in self.tables)
        limit = np.array([LARGEST / additions - 1.0], self.trainer.executable.float)
        self.limit = cuda_launch.moved(limit)

    def _record_update(self) -> None:
        for table in self.tables:
            table.record()
        if self.resident.live.rule.name in cuda_tables.UPDATES:
            self._record_rows()
            return
        for table in self.tables:
            offset, size = table.table.offset, table.table.length * table.table.width
            self.recorder(cuda_tables.clear_rows, cuda_launch.grid(size), self.grad, offset, size)
            self.recorder(cuda_tables.add_rows, table.shape, self.grad, offset, *table.passed)
        super()._record_update()

    def _record_rows(self) -> None:
        """Record steps on the rows that are named, and on all other parameters."""
        start, resident = self.recorder, self.resident
        update, _ = cuda_training.STEPS[resident.live.rule.name]
        w, at = self._scalars
        start(cuda_tables.examine_peak, (1, 1, 0), w, at + len(self.trainer.names), self.limit, self.control)
        state = resident.params, resident.first, resident.second
        for first, size in self.trainer.dense or [(0, 0)]:
            grad, aux = self.grad[first : first + size], resident.aux
            shape = cuda_launch.grid(max(size, aux.size))
            start(cuda_training.examine, shape, grad, aux, w, at, self.numbers, self.control)
        for first, size in self.trainer.dense:
            vectors = [x[first : first + size] if x.size else x for x in (*state, self.grad)]
            start(update, cuda_launch.grid(size), *vectors, self.numbers, self.control)
        rows = cuda_tables.UPDATES[resident.live.rule.name]
        for table in self.tables:
            start(rows, table.shape, *state, table.table.offset, *table.passed, self.numbers, self.control)
        self._record_advance()


class TableTrainer(ResidentTrainer):
    """The training loop of a program with `tables`; `dense` are (offset, size) of all other parameters."""

    plan = TablePlan

    def __init__(self, compiled: Compiled, request: Request, tables: tuple[Table, ...]):
        self.compiled, self.tables = compiled, tables
        self.executable = compile_request(request, compiled.settings.dtype, compiled.target)  # type: ignore[assignment]
        self.executable.title = f"{compiled.title} (training)"
        offsets, inside = offsets_of(request.params)[0], {t.name for t in tables}
        self.dense = [(offsets[n], math.prod(s)) for n, s in request.params if n not in inside]
        self._read()
        self.names = self.names[:-1]


def resident_trainer(compiled: Compiled) -> Trainer | None:
    """The training loop of a program on a device, if there is one."""
    if compiled.binder.plates:
        request = compiled.request("gradient", (), compiled.settings.particles)
        request, tables = sparse_request(request, compiled.target.rewrites)
        if tables:
            return TableTrainer(compiled, request, tables)
    found = ResidentTrainer(compiled)
    return found if found.executable.trains else None
