"""`batches=` of `ppl.fit`: the user's iterable, or a function that opens one pass after the other.

The place in a stream is (number of the pass, batches of it that have been used). A checkpoint keeps it, and a run that
is taken up again asks for the pass at that place. So batches have to be a function of their place alone: then the
resumed run sees those that the interrupted one would have seen."""

from __future__ import annotations

import collections
import inspect
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from ppl.arguments import shown
from ppl.errors import DataError, OptionError, ShapeError
from ppl.lang.arguments import as_array
from ppl.runtime.array_files import is_memory_mapped
from ppl.runtime.buffers import ArrayPool
from ppl.training.batches import Batch, arguments_with_rows, empty_rows, order_arguments, row_count
from ppl.training.prefetcher import Prefetcher, close_iterator

Arrays = tuple[np.ndarray, ...]

BatchSource = Iterable[Any] | Callable[..., Iterable[Any]]

PASS_ARGUMENTS = ("epoch", "start", "seed")
"""Arguments that a function which opens a pass may have."""


class StreamBatches:
    """Batches from the user's iterable, or function that opens a pass, of tuples of arrays.

    An epoch is one pass; a pass that brings nothing ends the training. Without `prefetch` nothing is read ahead but the
    first batch, which the program is traced with.

    Parameters
    ----------
    source : an iterable; or a function, called for every pass with those of `epoch` (its number), `start` (batches to
        leave out at its beginning) and `seed` that it has as arguments.
    accumulate : batches of one step; the last step of a pass may have fewer.
    prefetch : steps that a thread reads ahead.

    The attribute `place` is that behind the step taken last; `binds` says whether batches are converted and checked as
    they are read.
    """

    reads_ahead = False

    def __init__(
        self, program: Any, source: BatchSource, total_rows: Any, seed: int = 0, accumulate: int = 1, prefetch: int = 0
    ):
        self.program, self.source, self.total_rows, self.seed = program, source, total_rows, seed
        self.accumulate, self.prefetch, self.binds = accumulate, prefetch, False
        self.place = 0, 0
        self._names = program.argument_names
        self._pass_arguments, self._pool = _accepted_arguments(source), ArrayPool(2 * prefetch + accumulate + 2)
        self._reader: Any = None
        iterator = self._open(0, 0)
        self._can_be_read_once = iterator is source
        self._kinds: tuple[str, ...] = ()
        try:
            self.first = self._ordered_arrays(next(iterator), (0, 0))
        except StopIteration:
            raise DataError("batches= brought no batch") from None
        self._kinds = tuple(a.dtype.kind for a in self.first)
        self._first_pass: Iterator[Any] | None = itertools.chain([self.first], iterator)
        self._first_iterator = iterator
        self.compiled = program.prepare(*self.first)
        self.cut = arguments_with_rows(self.compiled)

    @property
    def extent(self) -> tuple[int, ...]:
        """How steps are made: of so many batches."""
        return (self.accumulate,)

    def resume(self, place: tuple[int, int] | None) -> None:
        """Begin at a place that a checkpoint has kept."""
        if place is not None:
            self.place = place

    def batches(self, skip: int) -> Iterator[Batch | None]:
        """Yield batches from `place` on; None after every pass that ends there or later.

        `skip`: steps that were taken before, by which batches are counted where no place was kept.
        """
        late = skip * self.accumulate if self.place == (0, 0) else 0
        source = self._batches(late)
        self._reader = Prefetcher(source, self.prefetch) if self.prefetch else source
        return self._reader

    def close(self, hurried: bool = False) -> None:
        """End the thread that reads ahead, if it ends soon where that is `hurried`, and close the pass."""
        if isinstance(self._reader, Prefetcher):
            self._reader.close(hurried)
        elif self._reader is not None:
            close_iterator(self._reader)

    def used(self, batch: Batch | None) -> None:
        """Note that the step on a batch has been taken, or (None) that a pass has ended."""
        if batch is None:
            self.place = self.place[0] + 1, 0
        elif batch.place is not None:
            self.place = batch.place

    def _batches(self, late: int) -> Iterator[Batch | None]:
        epoch, start = self.place
        while True:
            seen = start
            for group in self._step_groups(epoch, start):
                seen += len(group)
                if late >= len(group):
                    late -= len(group)
                    continue
                yield self._batch_at_place(group, (epoch, seen))
            if not seen or (self._can_be_read_once and epoch):
                return
            epoch, start = epoch + 1, 0
            if late:
                self.place = epoch, 0
            else:
                yield None

    def _step_groups(self, epoch: int, start: int) -> Iterator[list[Arrays]]:
        """Yield the batches of every step of a pass."""
        group: list[Arrays] = []
        for i, item in enumerate(self._open_pass(epoch, start), start):
            group.append(self._ordered_arrays(item, (epoch, i)))
            if len(group) == self.accumulate:
                yield group
                group = []
        if group:
            yield group

    def _open_pass(self, epoch: int, start: int) -> Iterator[Any]:
        """Open a pass at a place; return the iterator of what the user brings from there on."""
        begun, self._first_pass = self._first_pass, None
        if begun is not None and ((epoch, start) == (0, 0) or self._can_be_read_once):
            return self._skip_items(begun, epoch, start)
        if begun is not None and callable(self.source) and "epoch" not in self._pass_arguments:
            return self._skip_passes(begun, epoch, start)
        if begun is not None:
            close_iterator(self._first_iterator)
        skipped = "start" in self._pass_arguments
        return self._skip_items(self._open(epoch, start), epoch, 0 if skipped else start)

    def _skip_passes(self, begun: Iterator[Any], epoch: int, start: int) -> Iterator[Any]:
        """Return the rest of a pass of a function that is not told its number, behind all passes before it."""
        for _ in range(epoch):
            collections.deque(begun, maxlen=0)
            begun = self._open(epoch, 0)
        return self._skip_items(begun, epoch, start)

    def _skip_items(self, iterator: Iterator[Any], epoch: int, start: int) -> Iterator[Any]:
        """Drop the first `start` items of an iterator, and return it.

        Raises
        ------
        DataError
            It has not so many.
        """
        if start and len(list(itertools.islice(iterator, start - 1, start))) == 0:
            raise DataError(f"batches= ended before batch {start} of pass {epoch}, which the checkpoint's run has used")
        return iterator

    def _batch_at_place(self, group: list[Arrays], place: tuple[int, int]) -> Batch:
        data = group[0] if len(group) == 1 else self._join_batches(group, place)
        try:
            return self._make_batch(data, group, place)
        except (DataError, ShapeError) as error:
            if f" of pass {place[0]}" in str(error):
                raise
            raise DataError(f"batch {place[1] - 1} of pass {place[0]}: {error}") from error

    def _make_batch(self, data: Arrays, group: list[Arrays], place: tuple[int, int]) -> Batch:
        """Return the batch of some arrays, checked and converted where training asks for that here."""
        compiled = self.program.prepare(*data)
        if compiled is not self.compiled and compiled.layout != self.compiled.layout:
            raise DataError(
                f"batch {place[1] - 1} of pass {place[0]} has arrays of shapes {[a.shape for a in data]}, for which "
                f"the model has other parameters than for the first, of shapes {[a.shape for a in self.first]}"
            )
        size = row_count(compiled, data)
        joined = (size,) if len(group) == 1 else tuple(row_count(self.compiled, part) for part in group)
        found = Batch(data, None, self.total_rows, size, True, False, place, None, joined)
        if self.binds and compiled is self.compiled:
            return found._replace(bound=compiled.binder.bind(data, None, self.total_rows))
        return found

    def _join_batches(self, group: list[Arrays], place: tuple[int, int]) -> Arrays:
        """Concatenate the rows of several batches; arguments that the plate does not open must be equal in all."""
        joined = []
        where = f"accumulate={self.accumulate}: in the batches before batch {place[1]} of pass {place[0]},"
        for name, cut, parts in zip(self.program.argument_names, self.cut, zip(*group, strict=True), strict=True):
            if cut and len({p.shape[1:] for p in parts}) > 1:
                raise DataError(f"{where} rows of '{name}' have the shapes {[p.shape[1:] for p in parts]}")
            if not cut and any(not np.array_equal(parts[0], p) for p in parts):
                raise DataError(f"{where} argument '{name}', which is not cut into rows, is not the same")
            joined.append(np.concatenate(parts) if cut else parts[0])
        return tuple(joined)

    def _ordered_arrays(self, item: Any, place: tuple[int, int]) -> Arrays:
        """Return one batch in the program's order."""
        names = self._names
        given = order_arguments(names, tuple(item) if isinstance(item, (tuple, list)) else (item,), "a batch")
        found = tuple(as_array(value, name) for value, name in zip(given, names, strict=True))
        if self.accumulate > 1 or self.prefetch or self.reads_ahead:
            found = tuple(map(self._own_copy, found))
        for name, array, kind in zip(names, found, self._kinds, strict=False):
            if kind in "iub" and array.dtype.kind == "f":
                raise DataError(f"batch {place[1]} of pass {place[0]}: argument '{name}' holds {array.dtype}; that of "
                                "the first batch held whole numbers")  # fmt: skip
        if not self._kinds:
            return found
        return tuple(
            a.astype(float) if k == "f" != a.dtype.kind else a for a, k in zip(found, self._kinds, strict=True)
        )

    def _own_copy(self, array: np.ndarray) -> np.ndarray:
        """Return a copy of an array, which a reader may fill again; not of a file that is open for reading."""
        if not array.flags.writeable and is_memory_mapped(array):
            return array
        if not array.ndim:
            return array.copy()
        out = empty_rows(self._pool, array, len(array))
        out[...] = array
        return out

    def _open(self, epoch: int, start: int) -> Iterator[Any]:
        values = {"epoch": epoch, "start": start, "seed": self.seed}
        opened = self.source
        if callable(opened):
            opened = opened(**{name: values[name] for name in self._pass_arguments})
        if not isinstance(opened, Iterable):
            raise OptionError(f"batches= must give an iterable of tuples of arrays, not {shown(opened)}")
        return iter(opened)


def _accepted_arguments(source: Any) -> tuple[str, ...]:
    """Return which of `PASS_ARGUMENTS` a function that opens a pass is called with.

    Raises
    ------
    OptionError
        It needs other arguments.
    """
    if not callable(source):
        return ()
    try:
        parameters = inspect.signature(source).parameters.values()
    except (TypeError, ValueError):
        return ()
    for p in parameters:
        optional = p.default is not p.empty or p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        if not optional and (p.name not in PASS_ARGUMENTS or p.kind is p.POSITIONAL_ONLY):
            raise OptionError(
                f"batches= has an argument {p.name!r}: it is called with those of epoch, start and seed that it names"
            )
    return tuple(p.name for p in parameters if p.name in PASS_ARGUMENTS and p.kind is not p.POSITIONAL_ONLY)
