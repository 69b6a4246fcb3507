"""Groups: parameters divided among optimizers by name globs, some of them frozen."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from ppl.errors import DataError, OptionError, ScheduleError
from ppl.runtime.state import Layout
from ppl.training.optim.base import Transform

Resolved = dict[str, tuple[Layout, list[slice]]]


class Groups:
    """The transform of a dict of globs → transform or None (frozen); the first glob that matches a name
    decides.

    Raises
    ------
    OptionError
        At the first step: a parameter that no glob matches, or a glob that matches no parameter.
    """

    def __init__(self, members: Mapping[str, Transform | None]):
        if not members:
            raise OptionError("optimizer={} names no parameters; use {'*': optimizer}")
        self.members = dict(members)
        self._resolved: tuple[Layout, Resolved] | None = None

    def apply(
        self, flat: np.ndarray, grad: np.ndarray, opt: Any, layout: Layout, step: int, scale: float = 1.0
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """One step of every group on its own part of the vectors; frozen entries are copied bit for bit."""
        groups, moving = self._moving(opt, layout)
        new, found = flat.copy(), {}
        for glob, member in moving.items():
            part, pieces = groups[glob]
            before = None if opt is None else opt[glob]
            try:
                own, found[glob] = member.apply(_gather(flat, pieces), _gather(grad, pieces), before, part, step, scale)
            except ScheduleError as error:
                raise ScheduleError(f"optimizer group '{glob}': {error}") from error
            _scatter(new, own, pieces)
        return new, found

    def check(self, opt: Any, flat: np.ndarray, layout: Layout) -> None:
        """Raise OptionError unless the globs fit the parameters, DataError unless `opt` fits the groups."""
        groups, moving = self._moving(opt, layout)
        for glob, member in moving.items():
            part, pieces = groups[glob]
            member.check(None if opt is None else opt[glob], _gather(flat, pieces), part)

    def _moving(self, opt: Any, layout: Layout) -> tuple[Resolved, dict[str, Transform]]:
        """All groups, and the transforms of those that are not frozen, whose states `opt` must have."""
        groups = self.resolve(layout)
        moving = {glob: member for glob in groups if (member := self.members[glob]) is not None}
        if opt is not None and not (isinstance(opt, Mapping) and set(opt) == set(moving)):
            raise DataError(
                f"the state's optimizer state is not of the groups {list(moving)}; start afresh with "
                "state.replace(opt=None)"
            )
        return groups, moving

    def trainable(self, layout: Layout) -> np.ndarray:
        """Mask over the flat vector: False where a parameter is frozen."""
        mask = np.zeros(layout.size, bool)
        for glob, (_, pieces) in self.resolve(layout).items():
            for piece in pieces:
                mask[piece] = self.members[glob] is not None
        return mask

    def resolve(self, layout: Layout) -> Resolved:
        """Layout and slices of the flat vector of every group that has parameters (cached)."""
        known = self._resolved
        if known is None or (known[0] is not layout and known[0] != layout):
            known = self._resolved = layout, _resolve(tuple(self.members), layout)
        return known[1]


def _resolve(globs: tuple[str, ...], layout: Layout) -> Resolved:
    names = [name for name, _ in layout.shapes]
    owner = {name: next((g for g in globs if fnmatchcase(name, g)), None) for name in names}
    lost = [name for name in names if owner[name] is None]
    if lost:
        raise OptionError(f"no optimizer group matches {lost}: add '*': optimizer, or '*': None to freeze the rest")
    idle = [g for g in globs if not any(fnmatchcase(name, g) for name in names)]
    if idle:
        raise OptionError(f"optimizer groups {idle} match no parameter; the program has {names}")
    shapes: dict[str, list[tuple[str, tuple[int, ...]]]] = {}
    pieces: dict[str, list[slice]] = {}
    start = 0
    for name, shape in layout.shapes:
        glob, stop = str(owner[name]), start + int(np.prod(shape))
        shapes.setdefault(glob, []).append((name, shape))
        own = pieces.setdefault(glob, [])
        if own and own[-1].stop == start:
            own[-1] = slice(own[-1].start, stop)
        else:
            own.append(slice(start, stop))
        start = stop
    return {glob: (Layout(tuple(shapes[glob])), pieces[glob]) for glob in shapes}


def _gather(flat: np.ndarray, pieces: list[slice]) -> np.ndarray:
    return flat[pieces[0]] if len(pieces) == 1 else np.concatenate([flat[p] for p in pieces])


def _scatter(flat: np.ndarray, own: np.ndarray, pieces: list[slice]) -> None:
    start = 0
    for piece in pieces:
        stop = start + piece.stop - piece.start
        flat[piece] = own[start:stop]
        start = stop
