"""The batches of `ppl.fit`: rows of arrays in memory in a fresh order every epoch, or a stream.

Which rows a step sees is a pure function of (seed, step), so that a resumed run continues with the same
batches.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ppl.arguments import shown
from ppl.errors import DataError, OptionError
from ppl.ir.reference.noise import mix, node_hash
from ppl.lang.arguments import as_array
from ppl.runtime.binding import check_plates
from ppl.tuning import CHECKED_ROWS, CONVERTED_BYTES, SHUFFLED_COMPILED


class Batch(NamedTuple):
    """Arguments of one training step.

    `rows` are their global row numbers (None: 0, 1, …), `size` how many rows they are, `check` whether the
    values are still to be validated, `last` whether the epoch ends here.
    """

    data: tuple[Any, ...]
    rows: np.ndarray | None
    total_rows: Any
    size: int
    check: bool
    last: bool


class Rows:
    """Minibatches of arrays in memory (or memory-mapped), validated once.

    Parameters
    ----------
    program : the program to be trained; its trace says which arguments the outermost data plate opens.
    data : the arguments, whole.
    batch_size : rows per step, the last batch of an epoch being shorter; None or at least N: all, in order.
    total_rows : size of the data set that `data` is a part of; None means N.

    The attribute `seed` selects the permutations.

    Raises
    ------
    DataError
        An argument does not fit the program.
    OptionError
        `batch_size` without a plate of a length known only at run time, or below 1.
    """

    def __init__(self, program: Any, data: Sequence[Any], batch_size: int | None, total_rows: Any):
        compiled = program.prepare(*data)
        plate = outer_plate(compiled)
        if total_rows is not None and plate is None:
            raise OptionError("total_rows= needs a data argument that an outermost ppl.plate opens")
        self.cut = cut_arguments(compiled)
        self.data = _validated(
            compiled.binder, [as_array(d, n) for d, n in zip(data, program.argument_names, strict=True)], self.cut
        )
        self.total_rows, self.seed = dict(total_rows) if isinstance(total_rows, Mapping) else total_rows, 0
        self.plate = None if plate is None else plate.name
        self.count = row_count(compiled, self.data)
        if batch_size is not None and plate is None:
            raise OptionError("batch_size= needs a data argument that an outermost ppl.plate opens")
        if batch_size is not None and batch_size < 1:
            raise OptionError(f"batch_size must be at least 1, not {batch_size}")
        if plate is not None and self.count == 0:
            raise DataError(f"plate '{plate.name}' has no rows")
        check_plates("total_rows=", total_rows, {a.name for a in compiled.binder.plates})
        if isinstance(total_rows, (int, np.integer)) and total_rows < self.count:
            raise OptionError(f"total_rows={total_rows}: plate '{plate.name}' alone is given {self.count} rows of them")
        own = total_rows.get(plate.name) if isinstance(total_rows, Mapping) and plate is not None else total_rows
        self.total: int = self.count if own is None else int(own)
        self.batch_size = self.count if batch_size is None else min(int(batch_size), self.count)
        self.has_rows = plate is not None

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which every row is seen once."""
        return -(-self.count // self.batch_size)

    def batches(self, step: int) -> Iterator[Batch]:
        """Batches from global step `step` on, without end."""
        whole = Batch(self.data, None, self.total_rows, self.count, False, True)
        total = self.total_rows | {self.plate: self.total} if isinstance(self.total_rows, dict) else self.total
        per_epoch, size = self.steps_per_epoch, self.batch_size
        while True:
            epoch, first = divmod(step, per_epoch)
            if per_epoch == 1:
                yield whole
                step += 1
                continue
            order = permutation(self.seed, epoch, self.count)
            for i in range(first, per_epoch):
                rows = order[i * size : (i + 1) * size]
                data = tuple(d[rows] if cut else d for d, cut in zip(self.data, self.cut, strict=True))
                yield Batch(data, rows, total, len(rows), False, i == per_epoch - 1)
            step += per_epoch - first


class Stream:
    """Batches from the user's iterable, or callable that returns an iterator, of tuples of arrays.

    An epoch is one pass; a pass that brings nothing ends the training. Nothing is read ahead but the
    first batch, which the program is traced with.
    """

    def __init__(self, program: Any, source: Iterable[Any] | Callable[[], Iterable[Any]], total_rows: Any):
        self.program, self.source, self.total_rows, self.seed = program, source, total_rows, 0
        self.epochs_done = 0
        iterator = self._open()
        try:
            self.first = self._arrays(next(iterator))
        except StopIteration:
            raise DataError("batches= brought no batch") from None
        self._pass: Iterator[Any] | None = itertools.chain([self.first], iterator)

    def batches(self, skip: int) -> Iterator[Batch | None]:
        """Batches after the first `skip`; None after every pass that ends with them or later."""
        compiled = self.program.prepare(*self.first)
        while True:
            iterator, self._pass = self._pass or self._open(), None
            seen = 0
            for item in iterator:
                seen += 1
                if skip:
                    skip -= 1
                    continue
                data = self._arrays(item)
                yield Batch(data, None, self.total_rows, row_count(compiled, data), True, False)
            if not seen:
                return
            self.epochs_done += 1
            if not skip:
                yield None

    def _arrays(self, item: Any) -> tuple[np.ndarray, ...]:
        """One batch in the program's order."""
        names = self.program.argument_names
        given = by_position(names, tuple(item) if isinstance(item, (tuple, list)) else (item,), "a batch")
        return tuple(as_array(value, name) for value, name in zip(given, names, strict=True))

    def _open(self) -> Iterator[Any]:
        opened = self.source() if callable(self.source) else self.source
        if not isinstance(opened, Iterable):
            raise OptionError(f"batches= must give an iterable of tuples of arrays, not {shown(opened)}")
        return iter(opened)


def permutation(seed: int, epoch: int, n: int) -> np.ndarray:
    """The order of n rows in an epoch: a pure function of (seed, epoch), the same in every version of NumPy.

    Rows are sorted by the SplitMix64 sequence of a key made of both (Steele, Lea and Flood, 2014), whose
    values are distinct.
    """
    key = mix(mix(seed, node_hash("ppl.fit/rows")), epoch)
    if n >= SHUFFLED_COMPILED:
        from ppl.kernels.cpu.training.shuffle import shuffled  # imports Numba

        return shuffled(np.uint64(key), np.int64(n))
    z = np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(key)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.argsort(z ^ (z >> np.uint64(31)))


def outer_plate(compiled: Any) -> Any:
    """The outermost plate whose length is that of the data, or None."""
    return next((a for a in compiled.binder.plates if a.depth == 0), None)


def row_count(compiled: Any, data: Sequence[Any]) -> int:
    """Length of the outermost data plate; 1 without one."""
    opened = cut_arguments(compiled)
    return next((len(value) for value, cut in zip(data, opened, strict=True) if cut), 1)


def cut_arguments(compiled: Any) -> tuple[bool, ...]:
    """Which data arguments the outermost data plate opens; one that the model does not use is not cut."""
    plate, inputs = outer_plate(compiled), compiled.trace.inputs
    names = compiled.binder.arguments
    return tuple(plate is not None and n in inputs and inputs[n].plate == plate for n in names)


def by_position(names: Sequence[str], data: Sequence[Any], what: str = "the data") -> tuple[Any, ...]:
    """Data arguments in the program's order; a single dict gives them by name. Messages call them `what`.

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


def _validated(binder: Any, data: list[np.ndarray], cut: Sequence[bool]) -> tuple[np.ndarray, ...]:
    """Checked `data`; converted here if that costs little memory, else batch by batch."""
    if sum(d.size for d in data) * binder.dtype.itemsize <= CONVERTED_BYTES or not any(cut):
        used = {spec.name: array for spec, array in zip(binder.inputs, binder.bind(data).arrays, strict=True)}
        return tuple(used.get(name, given) for name, given in zip(binder.arguments, data, strict=True))
    rows = max(len(d) for d, c in zip(data, cut, strict=True) if c)
    for start in range(0, rows, CHECKED_ROWS):
        binder.bind([d[start : start + CHECKED_ROWS] if c else d for d, c in zip(data, cut, strict=True)], first=start)
    return tuple(data)
