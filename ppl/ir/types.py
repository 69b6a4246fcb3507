"""Types of the expression IR: named leading axes plus an event shape and a dtype.

A value has axes `plates + event`. Plates, particles, enumerated supports and estimator branches are *named
axes*, kept in one canonical memory order (repeats, data plates, particles, enumerations, branch); the event
is a plain shape."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple

from ppl.records import dataclass


class Kind(IntEnum):
    """What a named axis stands for; the order of the members is the memory order."""

    REPEATS = 0
    PLATE = 1
    PARTICLES = 2
    ENUM = 3
    BRANCH = 4


class Branch(NamedTuple):
    """One entry of the ragged branch axis: the primal, or side branch `index` of random node `node`.

    `rank` orders entries canonically, `live` says whether downstream parameters receive gradient from it, and
    `soft` that the node's value there is a relaxation, so that discrete nodes after it must be relaxed too.
    """

    rank: int
    node: str
    index: int  # type: ignore[assignment]
    live: bool = False
    soft: bool = False


PRIMAL = Branch(-1, "", 0, live=True)


@dataclass(frozen=True)
class Axis:
    """A named axis. `size` is None for a length known only at run time; `depth` orders axes of one kind.

    Threads never share the entries of one that is `together`, because what is computed of all of them is read by each.
    """

    name: str
    kind: Kind
    size: int | None = None
    depth: int = 0
    copies: tuple[Branch, ...] = ()
    together: bool = False

    @property
    def order(self) -> tuple[int, int, str]:
        """Sort key of the canonical memory order."""
        return (int(self.kind), self.depth, self.name)

    def __str__(self) -> str:
        return f"{self.name}:{'?' if self.size is None else self.size}"


def branch_axis(copies: tuple[Branch, ...]) -> Axis:
    """The branch axis that holds `copies` (sorted, primal first)."""
    ordered = tuple(sorted(set(copies)))
    return Axis("branch", Kind.BRANCH, len(ordered), 0, ordered)


PARTICLES = Axis("particles", Kind.PARTICLES)

REPEATS = Axis("repeats", Kind.REPEATS)


@dataclass(frozen=True)
class Type:
    """Named axes in canonical order, event shape, dtype ("float", "int", "bool"; emission sets precision)."""

    axes: tuple[Axis, ...] = ()
    shape: tuple[int, ...] = ()
    dtype: str = "float"

    @property
    def event_size(self) -> int:
        """Number of event entries."""
        size = 1
        for n in self.shape:
            size *= n
        return size

    @property
    def branch(self) -> Axis | None:
        """The branch axis, if the value has one."""
        return self.axes[-1] if self.axes and self.axes[-1].kind is Kind.BRANCH else None

    def __str__(self) -> str:
        axes = " ".join(str(a) for a in self.axes)
        return f"{self.dtype}[{axes}{' | ' if axes else ''}{', '.join(map(str, self.shape))}]"


def sort_axes(axes: Iterable[Axis]) -> tuple[Axis, ...]:
    """Axes in canonical order without repetition."""
    return tuple(sorted(set(axes), key=lambda a: a.order))


def union_axes(*groups: tuple[Axis, ...]) -> tuple[Axis, ...]:
    """Union of several axis tuples, with differing branch axes merged into one."""
    plain = {a for g in groups for a in g if a.kind is not Kind.BRANCH}
    copies = {c for g in groups for a in g if a.kind is Kind.BRANCH for c in a.copies}
    if copies:
        plain.add(branch_axis(tuple(copies)))
    return sort_axes(plain)
