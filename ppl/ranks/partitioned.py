"""A program whose rows or particles are shared out among ranks: what each computes, and how sums give the result.

Every rank calls the program as a minibatch of its own rows, whose sums are scaled to all N. Weighted by the shares of
rows, these estimates add up to the estimate on the rows of all ranks. Programs without data rows share out particles in
the same way. What follows from sums in another way, such as adapted variables, is computed once these are known. Of
large tables, ranks exchange the sums of the rows that they have touched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ppl.compiler.lower.request import Request, Result, offsets_of
from ppl.compiler.lower.sparse_gradients import SparseTable, sparse_request
from ppl.errors import OptionError
from ppl.ir.types import PARTICLES, Axis
from ppl.lazy import table_sums
from ppl.ranks.communicator import Communicator
from ppl.ranks.data_parallel import GradientPartition, partition_variant
from ppl.runtime.call import BoundCall
from ppl.runtime.executable import Executable, compile_request
from ppl.runtime.state import State

if TYPE_CHECKING:
    from ppl.runtime.compiled import Compiled


class CallInputs(NamedTuple):
    """What all ranks know of a call: the state, run-time scalars, particles, and the seed and step of the noise."""

    state: State
    hypers: np.ndarray
    particles: int
    seed: int
    step: int


class SummedResult(NamedTuple):
    """What was added up: scalars by name, the gradient, and the new auxiliary variables."""

    scalars: dict[str, float]
    grad: np.ndarray
    aux: np.ndarray


class PartitionedProgram:
    """A variant ("gradient" or "value") of a program whose rows, or particles, are shared out among ranks.

    Parameters
    ----------
    compiled : the program.
    key : the variant.
    int32 : arguments that are given as 32-bit integers.

    Raises
    ------
    EstimatorError
        A result is not made of sums over rows (particles).
    OptionError
        Particles are to be shared out among devices.
    """

    def __init__(self, compiled: Compiled, key: str, particles: int, int32: tuple[str, ...] = ()):
        self.compiled, self.key = compiled, key
        plate = next((a for a in compiled.binder.plates if a.depth == 0), None)
        self.rows = plate is not None
        self.axis: Axis | None = plate if plate is not None else PARTICLES if particles > 1 else None
        if self.axis == PARTICLES and compiled.target.printer != "cpu":
            raise OptionError('program.on: particles are shared out on the CPU only; compile with target="cpu"')
        fixed = compiled.static_particles(key, particles) if self.rows or particles == 1 else None
        variant = compiled.variant(key, (), fixed)
        self.division = GradientPartition({}, {}, {}) if self.axis is None else partition_variant(variant, self.axis)
        request = compiled.request(key, (), fixed, int32)
        self.scalars = [name for name, _ in request.scalars]
        self.executable = self._partial(request, particles, int32)
        self.last = self._last(request) if self.division.sums else None

    def _partial(self, request: Request, particles: int, int32: tuple[str, ...]) -> Executable:
        """What a rank computes."""
        part = self.axis == PARTICLES
        if not part and not self.division.sums:
            return self.compiled.executable(self.key, (), particles, int32)
        sums = tuple(self.division.sums.items())
        aux = () if sums else request.aux
        return self._compiled(replace(request, aux=aux, arrays=sums, part=part, whole=True), "part")

    def _last(self, request: Request) -> Executable:
        """What is computed once sums are known."""
        leaves = tuple((name, node.type.shape) for name, node in self.division.sums.items())
        last = Request(aux=tuple(self.division.aux.items()), params=(*request.params, *leaves),
                       aux_shapes=request.aux_shapes, hypers=request.hypers)  # fmt: skip
        return self._compiled(last, "sums")

    def _compiled(self, request: Request, what: str) -> Executable:
        settings = self.compiled.settings
        found = compile_request(request, settings.dtype, self.compiled.target)
        found.title = f"{self.compiled.title} ({self.key}, {what})"
        return found

    @property
    def entries(self) -> int:
        """Numbers of what a rank finds besides scalars."""
        arrays = sum(int(np.prod(node.type.shape)) for node in self.division.sums.values())
        return self.executable.n_params * bool(self.executable.request.grads) + (
            arrays if self.division.sums else self.executable.n_aux * bool(self.executable.request.aux)
        )

    def own(self, bound: BoundCall, window: tuple[int, int] | None = None, grad: np.ndarray | None = None) -> Result:
        """What this rank computes; `window` is its first particle and their number, where particles are shared.

        `grad` is where the gradient is written.
        """
        options: dict[str, Any] = {} if grad is None else {"grad": grad}
        if window is not None and self.axis == PARTICLES:
            options["window"] = window
        return bound.run(self.executable, **options)

    def packed(self, result: Result, share: float) -> np.ndarray:
        """The gradient and what else is added up, as one vector whose weighted sum is that of all rows."""
        rest = self.rest(result, share)
        return np.concatenate([result.grad, rest]) if rest.size else result.grad

    def rest(self, result: Result, share: float) -> np.ndarray:
        """What is added up besides the gradient; see `packed`."""
        if not self.division.sums:
            return result.aux if self.executable.request.aux else result.aux[:0]
        factors = {name: share ** (degree - 1) for name, degree in self.division.degrees.items()}
        parts = [np.ravel(result.arrays[name]) * result.grad.dtype.type(f) for name, f in factors.items()]
        return np.concatenate(parts)

    def unpacked(self, vector: np.ndarray, scalars: np.ndarray, at: CallInputs, rows: int, total: int) -> SummedResult:
        """The results from the sums over `rows` rows of `total`, at a moment of the training."""
        size = self.executable.n_params if self.executable.request.grads else 0
        named = dict(zip(self.scalars, scalars.tolist(), strict=True))
        return SummedResult(named, vector[:size], self.adapted(vector[size:], at, rows, total))

    def adapted(self, rest: np.ndarray, at: CallInputs, rows: int, total: int) -> np.ndarray:
        """The new auxiliary variables from the sum of what is no gradient; see `unpacked`."""
        aux = at.state._aux
        if self.last is None:
            return rest if rest.size else aux
        plate = self.axis.name if self.rows and self.axis is not None else ""
        found = self.last.run(
            np.concatenate([at.state._flat, rest]), aux, at.hypers, (), rows={plate: rows},
            scales={plate: total / rows}, total_rows={plate: total}, particles=at.particles, seed=at.seed, step=at.step,
        )  # fmt: skip
        return found.aux


def partitioned_program(
    compiled: Compiled,
    key: str,
    particles: int,
    int32: tuple[str, ...] = (),
    kind: type[PartitionedProgram] | None = None,
) -> PartitionedProgram:
    """The shared form of a variant, of a kind, kept with the program."""
    made = kind or PartitionedProgram
    arguments = key, particles, int32
    return compiled.get_or_make(made, arguments, lambda: made(compiled, *arguments))


class TouchedRows(NamedTuple):
    """Rows of a table, sorted, and the gradient in them, (rows, width)."""

    rows: np.ndarray
    sums: np.ndarray


class PartitionedTableProgram(PartitionedProgram):
    """A gradient that is sparse in `tables`; the rest of it is that of `Shared`. Falsy where there are no such tables.

    `dense` says which parts of the flat vector are not tables.
    """

    tables: tuple[SparseTable, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.tables)

    def _partial(self, request: Request, particles: int, int32: tuple[str, ...]) -> Executable:
        found, tables = sparse_request(request, self.compiled.target.rewrites)
        if not tables or self.division.sums or not self.rows:
            return super()._partial(request, particles, int32)
        self.tables = tables
        starts, _ = offsets_of(request.params)
        named = {t.name for t in tables}
        self.dense = [
            slice(starts[n], starts[n] + int(np.prod(s, dtype=np.int64))) for n, s in request.params if n not in named
        ]
        return self._compiled(replace(found, whole=True), "tables")

    @property
    def entries(self) -> int:
        """Numbers of what a rank finds besides scalars and rows of tables."""
        aux = self.executable.n_aux * bool(self.executable.request.aux)
        return sum(part.stop - part.start for part in self.dense) + aux

    def packed(self, result: Result, share: float) -> np.ndarray:
        """The gradient outside tables, and the new auxiliary variables."""
        aux = result.aux if self.executable.request.aux else result.aux[:0]
        return np.concatenate([*(result.grad[part] for part in self.dense), aux])

    def touched(self, result: Result | None, table: SparseTable, dtype: np.dtype) -> TouchedRows:
        """What this rank adds to a table."""
        if result is None:
            return TouchedRows(np.zeros(0, np.int64), np.zeros((0, table.width), dtype))
        arrays = result.arrays
        index = [np.ravel(arrays[term.target]) for term in table.terms]
        rows, places = table_sums.touched(np.concatenate(index), table.length)
        sums, at = np.zeros((len(rows), table.width), dtype), 0
        for term, named in zip(table.terms, index, strict=True):
            coefs = np.ravel(arrays[term.coefs]) if term.coefs else np.zeros(0, dtype)
            part = np.ascontiguousarray(places.reshape(-1)[at : at + named.size])
            table_sums.add_rows(sums, part, coefs, arrays[term.rows].reshape(-1, table.width), term.repeat)
            at += named.size
        return TouchedRows(rows.astype(np.int64), sums)

    def together(
        self, ranks: Communicator, result: Result | None, weights: np.ndarray, dtype: np.dtype
    ) -> Sequence[TouchedRows]:
        """What all ranks add to every table, added up in the order of ranks. Collective."""
        own = [self.touched(result, table, dtype) for table in self.tables]
        weight = dtype.type(weights[ranks.rank])
        counts = ranks.exchange(np.array([len(t.rows) for t in own], float)).astype(int)
        found = []
        for i, (table, mine) in enumerate(zip(self.tables, own, strict=True)):
            each = counts[:, i].tolist()
            rows = ranks.gather_vectors(mine.rows, each)
            sums = ranks.gather_vectors((mine.sums * weight).reshape(-1), [n * table.width for n in each])
            names, places = np.unique(rows, return_inverse=True)
            total = np.zeros((len(names), table.width), dtype)
            added = sums.reshape(-1, table.width)
            table_sums.add_rows(total, np.ascontiguousarray(places.reshape(-1)), np.zeros(0, dtype), added, 1)
            found.append(TouchedRows(names, total))
        return found
