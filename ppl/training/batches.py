"""Batches of `ppl.fit` from arrays: their rows in a fresh order every epoch.

Which rows a step sees is a pure function of (seed, step), so that a resumed run continues with the same batches.
Streams of batches are in `ppl.training.streams`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ppl.errors import DataError, OptionError
from ppl.ir.reference.noise import mix, node_hash
from ppl.lang.arguments import as_array
from ppl.runtime.array_files import is_memory_mapped
from ppl.runtime.binding import NUMPY_DTYPES, BoundData, require_known_plates, uneven_rows_error
from ppl.runtime.buffers import ArrayPool
from ppl.training.prefetcher import Prefetcher
from ppl.tuning import CHECKED_ROWS, CONVERTED_BYTES, SHUFFLED_COMPILED

PREFETCH_BYTES, MOST_PREFETCHED = 1 << 25, 16
"""Bytes of minibatches of memory-mapped arrays that are read ahead, unless two are more; and minibatches at most."""


class Batch(NamedTuple):
    """Arguments of one training step.

    `rows` are their global row numbers (None: 0, 1, …), `size` how many rows they are, `check` whether the
    values are still to be validated, `last` whether the epoch ends here. `place` is where a stream goes on behind it,
    `bound` the data in the program's types, if that has been done, and `joined` the rows of the batches it is made of.
    """

    data: tuple[Any, ...]
    rows: np.ndarray | None
    total_rows: Any
    size: int
    check: bool
    last: bool
    place: tuple[int, int] | None = None
    bound: BoundData | None = None
    joined: tuple[int, ...] = ()


class ArrayBatches:
    """Minibatches of arrays. Those in memory are validated once, those of large files batch by batch as they are read.

    Parameters
    ----------
    program : the program to be trained; its trace says which arguments the outermost data plate opens.
    data : the arguments, whole.
    batch_size : rows per step, the last batch of an epoch being shorter; None or at least N: all, in order.
    total_rows : size of the data set that `data` is a part of; None means N.
    accumulate : minibatches of one step: with the sums of so many, it is the step on their union.
    prefetch : steps whose rows of memory-mapped arrays a thread reads ahead; None means up to 16 for large ones.

    The attribute `seed` selects the permutations; `gathers` says that batches are read by `batches` alone, and `binds`
    whether that converts and checks them. `whole` are all rows in the program's types, if they have been converted.

    Raises
    ------
    DataError
        An argument does not fit the program.
    OptionError
        `batch_size` without a plate of a length known only at run time, or below 1; `accumulate` without it; `prefetch`
        of arrays in memory.
    """

    place = whole = None
    binds = gathers = False
    _reader: Prefetcher | None = None

    def __init__(
        self,
        program: Any,
        data: Sequence[Any],
        batch_size: int | None,
        total_rows: Any,
        accumulate: int = 1,
        prefetch: int | None = None,
    ):
        compiled = self.compiled = program.prepare(*data)
        plate = outermost_data_plate(compiled)
        if total_rows is not None and plate is None:
            raise OptionError("total_rows= needs a data argument that an outermost ppl.plate opens")
        self.cut, self.binder = arguments_with_rows(compiled), compiled.binder
        given = [as_array(d, n) for d, n in zip(data, program.argument_names, strict=True)]
        mapped = [is_memory_mapped(d) and c for d, c in zip(given, self.cut, strict=True)]
        self.gathers = any(mapped) and (prefetch is not None or too_large_to_convert(given, compiled.binder))
        if prefetch is not None and not self.gathers:
            raise OptionError("prefetch= is for batches= and memory-mapped arrays: rows in memory are not waited for")
        self.data, self.whole = (tuple(given), None) if self.gathers else validate_arrays(self.binder, given, self.cut)
        self.total_rows, self.seed = dict(total_rows) if isinstance(total_rows, Mapping) else total_rows, 0
        self.plate = None if plate is None else plate.name
        self.count = row_count(compiled, self.data)
        if batch_size is not None and plate is None:
            raise OptionError("batch_size= needs a data argument that an outermost ppl.plate opens")
        if batch_size is not None and batch_size < 1:
            raise OptionError(f"batch_size must be at least 1, not {batch_size}")
        if plate is not None and self.count == 0:
            raise DataError(f"plate '{plate.name}' has no rows")
        require_known_plates("total_rows=", total_rows, {a.name for a in self.binder.plates})
        if isinstance(total_rows, (int, np.integer)) and total_rows < self.count:
            raise OptionError(f"total_rows={total_rows}: plate '{plate.name}' alone is given {self.count} rows of them")
        own = total_rows.get(plate.name) if isinstance(total_rows, Mapping) and plate is not None else total_rows
        self.total: int = self.count if own is None else int(own)
        check_accumulate(accumulate, batch_size)
        self.batch_size = self.count if batch_size is None else min(int(batch_size) * accumulate, self.count)
        self.prefetch = self._read_ahead() if prefetch is None and self.gathers else prefetch or 0
        self._inputs_with_rows = [self.cut[self.binder.arguments.index(spec.name)] for spec in self.binder.inputs]
        self.has_rows, self._pool = plate is not None, ArrayPool(2 * self.prefetch + 2)

    def _read_ahead(self) -> int:
        """Return how many steps to read ahead: as many as `PREFETCH_BYTES` hold."""
        entries = sum(d[:1].size for d, cut in zip(self.data, self.cut, strict=True) if cut)
        nbytes = entries * self.batch_size * self.binder.dtype.itemsize
        return max(2, min(MOST_PREFETCHED, PREFETCH_BYTES // max(1, nbytes)))

    @property
    def extent(self) -> tuple[int, ...]:
        """How batches are made: rows, rows of a step, and rows of the data set."""
        return (self.count, self.batch_size, self.total) if self.has_rows else ()

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which every row is seen once."""
        return -(-self.count // self.batch_size)

    def used(self, batch: Batch | None) -> None:
        """Note that the step on a batch has been taken."""

    def resume(self, place: tuple[int, int] | None) -> None:
        """Begin where a checkpoint ends: the step says where that is."""

    def close(self, hurried: bool = False) -> None:
        """End the thread that reads ahead, if it ends soon where that is `hurried`."""
        if self._reader is not None:
            self._reader.close(hurried)

    def batches(self, step: int) -> Iterator[Batch]:
        """Yield batches from global step `step` on, without end."""
        source = self._batches(step)
        if self.gathers and self.prefetch:
            self._reader = Prefetcher(source, self.prefetch)
            return self._reader
        return source

    def _batches(self, step: int) -> Iterator[Batch]:
        whole = Batch(self.data, None, self.total_rows, self.count, self.gathers, True)
        total = self._totals()
        per_epoch, size = self.steps_per_epoch, self.batch_size
        while True:
            epoch, first = divmod(step, per_epoch)
            if per_epoch == 1:
                yield whole
                step += 1
                continue
            order = epoch_permutation(self.seed, epoch, self.count)
            few = max(1, self.prefetch // 4) if self.binds else 1
            for i in range(first, per_epoch, few):
                yield from self._read_batches(order[i * size : (i + few) * size], total, i + few >= per_epoch)
            step += per_epoch - first

    def _read_batches(self, rows: np.ndarray, total: Any, ends: bool) -> Iterator[Batch]:
        """Yield the batches of some rows, read and checked together; `ends`: an epoch ends behind them."""
        size, whole = self.batch_size, self._batch_of_rows(rows)
        try:
            bound = self.binder.bind(whole.data, rows, total) if self.binds else None
        except DataError:
            if len(rows) <= size:
                raise
            for i in range(0, len(rows), size):  # the batches before the bad one are good
                yield from self._read_batches(rows[i : i + size], total, ends and i + size >= len(rows))
            return
        for i in range(0, len(rows), size):
            part, last = slice(i, min(i + size, len(rows))), i + size >= len(rows)
            data = tuple(d[part] if cut else d for d, cut in zip(whole.data, self.cut, strict=True))
            batch = whole._replace(data=data, rows=rows[part], size=part.stop - i, last=ends and last)
            yield batch if bound is None else batch._replace(bound=bound.part(self.plate, self._inputs_with_rows, part))

    def _batch_of_rows(self, rows: np.ndarray, last: bool = False) -> Batch:
        """Return the batch of some rows."""
        take = self._read_rows if self.gathers else np.ndarray.__getitem__
        data = tuple(take(d, rows) if cut else d for d, cut in zip(self.data, self.cut, strict=True))
        return Batch(data, rows, self._totals(), len(rows), self.gathers, last)

    def _totals(self) -> Any:
        """Return the rows of the data set: a number, or by plate where they were given so."""
        return self.total_rows | {self.plate: self.total} if isinstance(self.total_rows, dict) else self.total

    def _read_rows(self, array: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Read rows of a file into memory that batches before them may have been in."""
        out = empty_rows(self._pool, np.asarray(array), len(rows))
        return np.take(np.asarray(array), rows, axis=0, out=out, mode="clip")  # without `mode` it makes a second copy

    def batches_of_another_order(self, seed: int) -> Callable[[int], Batch] | None:
        """Return other batches than the run's, by number; None where a step takes all rows, or files are read."""
        if self.gathers or self.steps_per_epoch == 1:
            return None
        order, size = epoch_permutation(seed, 0, self.count), self.batch_size
        return lambda i: self._batch_of_rows(order[i % (self.count // size) * size :][:size])


def empty_rows(pool: ArrayPool, like: np.ndarray, rows: int) -> np.ndarray:
    """Return memory for so many rows of an array, from a pool."""
    shape = (rows, *like.shape[1:])
    return pool.empty("rows", math.prod(shape), like.dtype).reshape(shape)


def epoch_permutation(seed: int, epoch: int, n: int) -> np.ndarray:
    """Return the order of n rows in an epoch: a pure function of (seed, epoch), the same in every version of NumPy.

    Rows are sorted by the SplitMix64 sequence of a key made of both (Steele, Lea and Flood, 2014), whose
    values are distinct.
    """
    key = mix(mix(seed, node_hash("ppl.fit/rows")), epoch)
    if n >= SHUFFLED_COMPILED:
        from ppl.kernels.cpu.training.batch_rows import shuffled_rows  # imports Numba

        return shuffled_rows(np.uint64(key), np.int64(n))
    z = np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(key)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.argsort(z ^ (z >> np.uint64(31)))


def check_accumulate(accumulate: int, batch_size: int | None) -> None:
    """Raise an OptionError where there are no minibatches to add up."""
    if accumulate > 1 and batch_size is None:
        raise OptionError("accumulate= adds up minibatches: it needs batch_size= or batches=")


def outermost_data_plate(compiled: Any) -> Any:
    """Return the outermost plate whose length is that of the data, or None."""
    return compiled.binder.outer


def row_count(compiled: Any, data: Sequence[Any]) -> int:
    """Return the length of the outermost data plate, 1 without one; DataError where arguments differ in it."""
    binder = compiled.binder
    given = [(name, len(value)) for name, value, c in zip(binder.arguments, data, binder.cut, strict=True) if c]
    for name, rows in given:
        if rows != given[0][1]:
            if not given[0][1]:
                raise DataError(f"argument '{given[0][0]}' is empty, and '{name}' has {rows} rows")
            raise uneven_rows_error(outermost_data_plate(compiled).name, name, rows, *given[0])
    return given[0][1] if given else 1


def arguments_with_rows(compiled: Any) -> tuple[bool, ...]:
    """Return which data arguments the outermost data plate opens; one that the model does not use is not cut."""
    found: tuple[bool, ...] = compiled.binder.cut
    return found


def order_arguments(names: Sequence[str], data: Sequence[Any], what: str = "the data") -> tuple[Any, ...]:
    """Return data arguments in the program's order; a single dict gives them by name. Messages call them `what`.

    Raises
    ------
    DataError
        The names of the dict, or the number of arrays, are not those of the program's arguments.
    """
    if len(data) != 1 or not isinstance(data[0], Mapping):
        if len(data) != len(names):
            listed = ", ".join(names) or "none"
            raise DataError(f"the program takes {len(names)} data arguments ({listed}); {what}: {len(data)} given")
        return tuple(data)
    given = data[0]
    if set(given) != set(names):
        raise DataError(f"the program takes the data arguments {list(names)}, not {list(map(str, given))}")
    return tuple(given[name] for name in names)


def too_large_to_convert(data: Sequence[np.ndarray], binder: Any) -> bool:
    """Return whether data are too large to be converted at once."""
    return sum(d.size for d in data) * binder.dtype.itemsize > CONVERTED_BYTES


def needs_no_conversion(source: Any) -> bool:
    """Return whether arrays have the types and the order that compiled code reads, so that none of them is copied."""
    binder = source.binder
    types = {spec.name: NUMPY_DTYPES.get(spec.dtype, binder.dtype) for spec in binder.inputs}
    given = dict(zip(binder.arguments, source.data, strict=True))
    return all(given[name].dtype == kind and given[name].flags.c_contiguous for name, kind in types.items())


def validate_arrays(
    binder: Any, data: list[np.ndarray], cut: Sequence[bool]
) -> tuple[tuple[np.ndarray, ...], BoundData | None]:
    """Check `data`; convert and bind them here if that costs little memory, else batch by batch."""
    if not too_large_to_convert(data, binder) or not any(cut):
        bound = binder.bind(data)
        used = dict(zip((spec.name for spec in binder.inputs), bound.arrays, strict=True))
        return tuple(used.get(name, given) for name, given in zip(binder.arguments, data, strict=True)), bound
    rows = max(len(d) for d, c in zip(data, cut, strict=True) if c)
    for start in range(0, rows, CHECKED_ROWS):
        binder.bind([d[start : start + CHECKED_ROWS] if c else d for d, c in zip(data, cut, strict=True)], first=start)
    return tuple(data), None
