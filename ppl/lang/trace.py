"""What tracing a model produces: records of parameters, inputs, sites, costs and loops that point into one
expression graph.

A random node appears in the graph as op `sample`, whose arguments are its distribution's parameters. The surrogate
stage (`ppl/compiler/surrogate`) replaces it by the values that its estimator asks for."""

from __future__ import annotations

from dataclasses import field
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np

from ppl.arguments import shown
from ppl.errors import ModelError
from ppl.ir import ops
from ppl.ir.node import Node, make
from ppl.ir.show import show
from ppl.ir.types import Axis, sort_axes
from ppl.lang.loops import Scan, sum_over_loops
from ppl.lang.source import user_line
from ppl.records import dataclass

if TYPE_CHECKING:
    from ppl.distributions.base import Distribution


class SiteKind(Enum):
    """Kinds of named sites. SCORED is a model's latent whose value comes from a guide."""

    RANDOM = "random"
    OBSERVED = "observed"
    SCORED = "scored"
    DETERMINISTIC = "deterministic"


@dataclass(eq=False)
class Site:
    """A named site. `node` is its value; `mask` says which units of an observation count; `where` is user
    source.

    Where `mask` drops an entry, `node` holds a harmless value of the support (so that no NaN meets a
    derivative); `observed` is the observation as it was given, `checked` whether it is a constant that was found
    inside the support, `redrawn` it with draws in place of those entries. Of every observation, `fresh` is a draw of
    all entries, and `returned` what `ppl.sample` returned, by which what is computed from it is known. Of a site in a
    loop over time, `node` is the value in a step of `scan`, `times` are the numbers of the step in all loops, and
    `active` says which rows still run.
    """

    name: str
    kind: SiteKind
    axes: tuple[Axis, ...]
    where: str
    dist: Distribution | None = None
    node: Node | None = None
    mask: Node | None = None
    estimator: Any = None
    aux: bool = False
    unit_noise: str = "logistic"
    observed: Node | None = None
    checked: bool = False
    redrawn: Node | None = None
    fresh: Node | None = None
    returned: Node | None = None
    scan: Scan | None = None
    times: tuple[Node, ...] = ()
    active: Node | None = None

    def __repr__(self) -> str:
        return f"Site({self.name!r})"


@dataclass(eq=False)
class Param:
    """A learnable array: unconstrained leaf `node` of `raw_shape`, constrained value `value` of `shape`."""

    name: str
    shape: tuple[int, ...]
    raw_shape: tuple[int, ...]
    init: Any
    constraint: str | None
    node: Node
    value: Node
    where: str
    shared: bool = False


@dataclass(eq=False)
class Input:
    """A data argument: `plate` is the axis that its leading dimension opens, None if it is passed whole."""

    name: str
    plate: Axis | None
    shape: tuple[int, ...]
    dtype: str
    node: Node


@dataclass(eq=False)
class Bound:
    """What makes a cost a multi-sample bound: the log-weights, one for every entry of the importance axis."""

    log_weights: Node
    axis: Axis


@dataclass(eq=False)
class Cost:
    """A cost node: scalar per entry of its axes; the objective is the expectation of the sum over all of
    them.

    With `marginalize`, the node is a log-density given those finite latents, and the cost is minus the
    log-sum-exp of it plus their log-probabilities over all their joint values. `factors` are the terms of that
    log-density, in a loop over time those of a step; they may vary over more plates than the cost, which sums them over
    all rows of the run-time plates `whole`, so that it takes no minibatches. With `bound`, it is minus the
    log-mean-exp of the bound's log-weights. A cost in a loop over time is the sum of `step` over the steps of `scan`.
    """

    name: str
    node: Node
    where: str
    axes: tuple[Axis, ...] = ()
    marginalize: tuple[str, ...] = ()
    factors: tuple[Node, ...] = ()
    whole: tuple[str, ...] = ()
    bound: Bound | None = None
    step: Node | None = None
    scan: Scan | None = None


@dataclass(eq=False)
class Factor:
    """A term of the log-density: scalar per entry of its axes."""

    name: str
    node: Node
    where: str
    axes: tuple[Axis, ...] = ()
    scan: Scan | None = None
    active: Node | None = None


@dataclass(eq=False)
class SymbolicIndex:
    """A symbolic index into an event axis of a length, and the `take` that reads it; `where` is the user's line.

    `costs` and `sites` say whether costs, and which sites, are computed with what is read, once that was asked.
    """

    node: Node
    length: int
    read: Node
    where: str
    costs: bool = False
    sites: frozenset[str] = frozenset()


@dataclass(eq=False)
class FormulaUse:
    """A formula of a distribution that the model asked for (`cdf`, `mean`, ...): `read` is its result.

    `where`, `costs` and `sites` are those of an `Index`.
    """

    dist: Distribution
    read: Node
    where: str
    costs: bool = False
    sites: frozenset[str] = frozenset()


@dataclass(eq=False)
class RangeGuard:
    """0 where a parameter of node `name`, or what a `reader` is given, is in range and NaN elsewhere.

    `drawn`: the node is sampled, not scored; `whole`: the range is of whole numbers.
    """

    name: str
    node: Node
    drawn: bool
    whole: bool
    reader: SymbolicIndex | FormulaUse | None = None


@dataclass(eq=False)
class Carried:
    """A value that the state keeps: leaf `node`, and `next`, what it becomes in a step."""

    name: str
    shape: tuple[int, ...]
    init: Any
    node: Node
    where: str
    next: Node | None = None
    next_where: str = ""


@dataclass(eq=False)
class Trace:
    """Everything one run of a model declared, in declaration order.

    `scored` holds SCORED sites apart from `sites`, where a guide traced before has RANDOM ones of the same
    names. `arguments` are the data arguments in positional order; `outer_plates` and `plate_lines` say inside
    which plates and on which line each plate was opened first; `rowkeys` maps the names of external noise
    keys to lines; `guards` are the conditions on parameters that must be computed; `indices` are the symbolic indices;
    `uses` are the formulas of distributions that the model asked for, `choices` its own `np.where`; `scans` are
    its loops over time.
    """

    params: dict[str, Param] = field(default_factory=dict)
    inputs: dict[str, Input] = field(default_factory=dict)
    sites: dict[str, Site] = field(default_factory=dict)
    costs: dict[str, Cost] = field(default_factory=dict)
    factors: dict[str, Factor] = field(default_factory=dict)
    hypers: dict[str, float] = field(default_factory=dict)
    least: dict[str, float] = field(default_factory=dict)
    """The least values of those run-time scalars that have one."""
    plates: dict[str, Axis] = field(default_factory=dict)
    scored: dict[str, Site] = field(default_factory=dict)
    arguments: dict[str, ArgumentSpec] = field(default_factory=dict)
    outer_plates: dict[str, tuple[Axis, ...]] = field(default_factory=dict)
    plate_lines: dict[str, str] = field(default_factory=dict)
    rowkeys: dict[str, str] = field(default_factory=dict)
    carried: dict[str, Carried] = field(default_factory=dict)
    guards: list[RangeGuard] = field(default_factory=list)
    indices: list[SymbolicIndex] = field(default_factory=list)
    uses: list[FormulaUse] = field(default_factory=list)
    choices: list[Node] = field(default_factory=list)
    scans: list[Scan] = field(default_factory=list)
    returned: Any = None
    predictive: bool = False
    """Whether it is only drawn from: it has no loss."""

    def __str__(self) -> str:
        """List the expressions of sites and costs, one node a line."""
        named = {n: s.node for n, s in self.sites.items() if s.node is not None}
        named.update((n, c.node) for n, c in self.costs.items())
        return show(list(named.values()), list(named))

    def random_sites(self) -> list[Site]:
        """Random sites in declaration order."""
        return [s for s in self.sites.values() if s.kind is SiteKind.RANDOM]


def sample_node(site: Site, axes: tuple[Axis, ...]) -> Node:
    """The graph node of a random site over plates `axes`; its arguments are the distribution's parameters."""
    dist = site.dist
    assert dist is not None
    return make(
        "sample",
        *dist.params.values(),
        site=site,
        axes=sort_axes(axes),
        shape=dist.event_shape,
        dtype=dist.dtype,
    )


def cost_per_step(
    name: str, value: Node, where: str, axes: tuple[Axis, ...], scan: Scan | None, active: Node | None
) -> Cost:
    """The cost of `value`, one number a row and step of `scan`; rows that have stopped cost nothing."""
    if active is not None:
        value = ops.where(active, value, 0.0)
    return Cost(name, sum_over_loops(value, scan), where, axes, step=value, scan=scan)


def dtype_name(dtype: Any) -> str:
    """The IR dtype ("float", "int", "bool") of a NumPy dtype."""
    try:
        found = np.dtype(dtype)
    except Exception:
        raise ModelError(f"{shown(dtype)} is not a dtype\n  at {user_line()}") from None
    kind = {"f": "float", "i": "int", "u": "int", "b": "bool"}.get(found.kind)
    if kind is None:
        raise ModelError(f"dtype {found} is not a number type\n  at {user_line()}")
    return kind


@dataclass(frozen=True)
class ArgumentSpec:
    """Shape (a leading None is a run-time number of rows) and NumPy dtype of a data argument."""

    shape: tuple[int | None, ...]
    dtype: np.dtype

    @property
    def ir_dtype(self) -> str:
        """ "float", "int" or "bool"."""
        return dtype_name(self.dtype)
