"""From any optimizer to one step on flat vectors: `as_transform`, and the wrapper of optax's contract."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ppl.arguments import mapping, shown
from ppl.errors import DataError, OptionError
from ppl.runtime.state import Layout
from ppl.training.optim.base import FlatOptimizer, Optimizer, Transform
from ppl.training.optim.groups import Groups
from ppl.training.optim.natural import NaturalGradient


def as_transform(optimizer: Any) -> Transform:
    """The object whose `apply(flat, grad, opt, layout, step) → (new_flat, new_opt)` takes one training step.

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
    if FlatOptimizer in type(optimizer).__mro__ or isinstance(optimizer, (Groups, External, NaturalGradient)):
        return optimizer
    if isinstance(optimizer, Mapping):
        mapping("optimizer", optimizer, "an optimizer or None")
        return Groups({glob: None if o is None else as_transform(o) for glob, o in optimizer.items()})
    if isinstance(optimizer, type):
        raise OptionError(f"optimizer={optimizer.__name__} is a class: make one, as in {optimizer.__name__}(1e-3)")
    if isinstance(optimizer, Optimizer):
        return External(optimizer)
    raise OptionError(
        "optimizer must be one of ppl.optim, a dict of name globs → optimizer or None, or an object with "
        f"init(params) and update(grads, state, params), not {shown(optimizer)}"
    )


class External:
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
        """One step on flat vectors, of which the optimizer is given read-only views by name."""
        grad = grad if scale == 1.0 else grad * np.asarray(scale, grad.dtype)
        params, grads = _views(layout, flat), _views(layout, grad)
        if self._template is None:
            self._template = self.optimizer.init(params)
        before = self._template if opt is None else restructure(opt, self._template)
        updates, after = self.optimizer.update(grads, before, params)
        return flat + layout.join(updates, flat.dtype), after

    def check(self, opt: Any, flat: np.ndarray, layout: Layout) -> None:
        """Raise DataError unless `opt` has the structure of what `init` returns for these parameters."""
        if self._template is None:
            self._template = self.optimizer.init(_views(layout, flat))
        if opt is not None:
            restructure(opt, self._template)


def restructure(tree: Any, template: Any) -> Any:
    """The leaves of `tree` in the containers of `template`.

    Raises
    ------
    DataError
        The two differ in more than the types of their containers.
    """
    if isinstance(template, (tuple, list)):
        if not isinstance(tree, (tuple, list)) or len(tree) != len(template):
            raise _foreign()
        parts = [restructure(value, like) for value, like in zip(tree, template, strict=True)]
        return type(template)(*parts) if hasattr(template, "_fields") else type(template)(parts)
    if isinstance(template, Mapping):
        if not isinstance(tree, Mapping) or set(tree) != set(template):
            raise _foreign()
        return {key: restructure(tree[key], like) for key, like in template.items()}
    if isinstance(tree, (tuple, list, Mapping)) or np.shape(tree) != np.shape(template):
        raise _foreign()
    if _kind(tree) != _kind(template):
        raise _foreign()
    return tree


def _kind(leaf: Any) -> str:
    """The kind of a leaf: whole numbers, floats, or something else by its own letter."""
    kind = np.asarray(leaf).dtype.kind
    return "i" if kind == "u" else kind


def _foreign() -> DataError:
    return DataError(
        "the state's optimizer state is of another optimizer or other parameters; start afresh with "
        "state.replace(opt=None)"
    )


def _views(layout: Layout, flat: np.ndarray) -> dict[str, np.ndarray]:
    views = layout.split(flat)
    for view in views.values():
        view.setflags(write=False)
    return views
