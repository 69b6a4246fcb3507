"""Turn any optimizer into one step on flat vectors: `as_transform`, groups by name globs, and optimizers of other
libraries."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from ppl.arguments import mapping, shown
from ppl.errors import DataError, OptionError, ScheduleError
from ppl.runtime.state import Layout
from ppl.training.optim.base import FlatOptimizer, Optimizer, Transform
from ppl.training.optim.natural_gradient import NaturalGradient

GroupSlices = dict[str, tuple[Layout, list[slice]]]


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
        self._resolved: tuple[Layout, GroupSlices] | None = None

    def apply(
        self, flat: np.ndarray, grad: np.ndarray, opt: Any, layout: Layout, step: int, scale: float = 1.0
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Take one step of every group on its own part of the vectors; frozen entries are copied bit for bit."""
        groups, moving = self._moving(opt, layout)
        new, found = flat.copy(), {}
        for glob, member in moving.items():
            part, pieces = groups[glob]
            before = None if opt is None else opt[glob]
            try:
                own, found[glob] = member.apply(
                    _gather_slices(flat, pieces), _gather_slices(grad, pieces), before, part, step, scale
                )
            except ScheduleError as error:
                raise ScheduleError(f"optimizer group '{glob}': {error}") from error
            _scatter_slices(new, own, pieces)
        return new, found

    def check(self, opt: Any, flat: np.ndarray, layout: Layout) -> None:
        """Raise OptionError unless the globs fit the parameters, DataError unless `opt` fits the groups."""
        groups, moving = self._moving(opt, layout)
        for glob, member in moving.items():
            part, pieces = groups[glob]
            member.check(None if opt is None else opt[glob], _gather_slices(flat, pieces), part)

    def _moving(self, opt: Any, layout: Layout) -> tuple[GroupSlices, dict[str, Transform]]:
        """Return all groups, and the transforms of those that are not frozen, whose states `opt` must have."""
        groups = self.resolve(layout)
        moving = {glob: member for glob in groups if (member := self.members[glob]) is not None}
        if opt is not None and not (isinstance(opt, Mapping) and set(opt) == set(moving)):
            raise DataError(
                f"the state's optimizer state is not of the groups {list(moving)}; start afresh with "
                "state.replace(opt=None)"
            )
        return groups, moving

    def trainable(self, layout: Layout) -> np.ndarray:
        """Return a mask over the flat vector: False where a parameter is frozen."""
        mask = np.zeros(layout.size, bool)
        for glob, (_, pieces) in self.resolve(layout).items():
            for piece in pieces:
                mask[piece] = self.members[glob] is not None
        return mask

    def resolve(self, layout: Layout) -> GroupSlices:
        """Return the layout and slices of the flat vector of every group that has parameters (cached)."""
        known = self._resolved
        if known is None or (known[0] is not layout and known[0] != layout):
            known = self._resolved = layout, _assign_groups(tuple(self.members), layout)
        return known[1]


def _assign_groups(globs: tuple[str, ...], layout: Layout) -> GroupSlices:
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


def _gather_slices(flat: np.ndarray, pieces: list[slice]) -> np.ndarray:
    return flat[pieces[0]] if len(pieces) == 1 else np.concatenate([flat[p] for p in pieces])


def _scatter_slices(flat: np.ndarray, own: np.ndarray, pieces: list[slice]) -> None:
    start = 0
    for piece in pieces:
        stop = start + piece.stop - piece.start
        flat[piece] = own[start:stop]
        start = stop


def as_transform(optimizer: Any) -> Transform:
    """Return the object whose `apply(flat, grad, opt, layout, step) → (new_flat, new_opt)` takes one training step.

    Parameters
    ----------
    optimizer
        An optimizer of this package; a dict of parameter-name globs → optimizer or None (frozen; the
        first glob that matches a name decides); or any object with `init` and `update` on dicts of
        arrays, such as optax's.

    Raises
    ------
    OptionError
        `optimizer` is none of these.
    """
    if FlatOptimizer in type(optimizer).__mro__ or isinstance(optimizer, (Groups, ExternalOptimizer, NaturalGradient)):
        return optimizer
    if isinstance(optimizer, Mapping):
        mapping("optimizer", optimizer, "an optimizer or None")
        return Groups({glob: None if o is None else as_transform(o) for glob, o in optimizer.items()})
    if isinstance(optimizer, type):
        raise OptionError(f"optimizer={optimizer.__name__} is a class: make one, as in {optimizer.__name__}(1e-3)")
    if isinstance(optimizer, Optimizer):
        return ExternalOptimizer(optimizer)
    raise OptionError(
        "optimizer must be one of ppl.optim, a dict of name globs → optimizer or None, or an object with "
        f"init(params) and update(grads, state, params), not {shown(optimizer)}"
    )


class ExternalOptimizer:
    """An optimizer with optax's contract: it sees dicts of arrays and returns updates to be added.

    A checkpoint stores trees of plain tuples and dicts, so a state that comes from one is first given the
    structure of `init` (optax's states are named tuples).
    """

    def __init__(self, optimizer: Optimizer):
        self.optimizer = optimizer
        self._template: Any = None

    def apply(
        self, flat: np.ndarray, grad: np.ndarray, opt: Any, layout: Layout, step: int, scale: float = 1.0
    ) -> tuple[np.ndarray, Any]:
        """Take one step on flat vectors, of which the optimizer is given read-only views by name."""
        grad = grad if scale == 1.0 else grad * np.asarray(scale, grad.dtype)
        params, grads = _readonly_views(layout, flat), _readonly_views(layout, grad)
        if self._template is None:
            self._template = self.optimizer.init(params)
        before = self._template if opt is None else match_structure(opt, self._template)
        updates, after = self.optimizer.update(grads, before, params)
        return flat + layout.join(updates, flat.dtype), after

    def check(self, opt: Any, flat: np.ndarray, layout: Layout) -> None:
        """Raise DataError unless `opt` has the structure of what `init` returns for these parameters."""
        if self._template is None:
            self._template = self.optimizer.init(_readonly_views(layout, flat))
        if opt is not None:
            match_structure(opt, self._template)


def match_structure(tree: Any, template: Any) -> Any:
    """Return the leaves of `tree` in the containers of `template`.

    Raises
    ------
    DataError
        The two differ in more than the types of their containers.
    """
    if isinstance(template, (tuple, list)):
        if not isinstance(tree, (tuple, list)) or len(tree) != len(template):
            raise _wrong_state_error()
        parts = [match_structure(value, like) for value, like in zip(tree, template, strict=True)]
        return type(template)(*parts) if hasattr(template, "_fields") else type(template)(parts)
    if isinstance(template, Mapping):
        if not isinstance(tree, Mapping) or set(tree) != set(template):
            raise _wrong_state_error()
        return {key: match_structure(tree[key], like) for key, like in template.items()}
    if isinstance(tree, (tuple, list, Mapping)) or np.shape(tree) != np.shape(template):
        raise _wrong_state_error()
    if _leaf_kind(tree) != _leaf_kind(template):
        raise _wrong_state_error()
    return tree


def _leaf_kind(leaf: Any) -> str:
    """Return the kind of a leaf: whole numbers, floats, or something else by its own letter."""
    kind = np.asarray(leaf).dtype.kind
    return "i" if kind == "u" else kind


def _wrong_state_error() -> DataError:
    return DataError(
        "the state's optimizer state is of another optimizer or other parameters; start afresh with "
        "state.replace(opt=None)"
    )


def _readonly_views(layout: Layout, flat: np.ndarray) -> dict[str, np.ndarray]:
    views = layout.split(flat)
    for view in views.values():
        view.setflags(write=False)
    return views
