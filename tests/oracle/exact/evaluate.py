"""Evaluating a trace at many parameter values at once, over the states and grids of its random sites."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ppl.ir.node import Node
from ppl.lang.trace import Site
from tests.oracle.exact import ops, variables
from tests.oracle.exact.errors import Unsupported
from tests.oracle.exact.layout import THETA
from tests.oracle.exact.variables import SiteVariables
from tests.oracle.exact.walk import FROZEN, LIVE, Reading, is_stop

Array = np.ndarray


@dataclass(eq=False)
class World:
    """Everything that a trace reads from outside.

    `base` are the parameters at which stopped values are frozen; `inputs` are by name, rows first where a plate opens
    them; `counts` says how many rows of the data each row of a plate stands for; `scales` multiply plates.
    """

    base: Mapping[str, Array]
    inputs: Mapping[str, Array] = field(default_factory=dict)
    hypers: Mapping[str, float] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    row_ids: Mapping[str, Array] = field(default_factory=dict)
    counts: Mapping[str, Array] = field(default_factory=dict)
    scales: Mapping[str, float] = field(default_factory=dict)

    def size(self, axis: Any) -> int:
        """The rows of a plate that are evaluated."""
        return int(self.sizes[axis.name]) if axis.size is None else int(axis.size)


class Evaluation:
    """Values of nodes for parameters `theta` (each with a leading dimension), site by site as grids are given."""

    def __init__(self, world: World, reading: Reading, theta: Mapping[str, Array]):
        self.world, self.reading, self.theta = world, reading, theta
        self.layout = reading.layout()
        self.made: dict[str, SiteVariables] = {}
        self.t: dict[int, Array] = {}
        self.w: dict[int, Array] = {}
        self.memo: dict[tuple[int, str], Array] = {}
        self.open: set[str] = set()
        for site in reading.sites:
            self.made[site.name] = variables.make(site, reading.joint[site.name], self.layout)

    def set_t(self, position: int, t: Array, w: Array | None = None) -> None:
        """Give a normal variable its grid and weights."""
        self.t[position] = t
        if w is not None:
            self.w[position] = w
        self.memo.clear()

    def admit(self, name: str) -> None:
        """From here on the site has a value."""
        self.open.add(name)
        self.memo.clear()

    def close(self, names: Iterable[str]) -> None:
        """These sites have no value any more."""
        self.open.difference_update(names)
        self.memo.clear()

    def __call__(self, node: Node, world: str = LIVE) -> Array:
        """The value of `node` read in `world`."""
        stack = [(node, world)]
        while stack:
            at, where = stack[-1]
            if (id(at), where) in self.memo:
                stack.pop()
                continue
            below = FROZEN if is_stop(at) else where
            missing = [(a, below) for a in at.args if (id(a), below) not in self.memo]
            if missing and not (at.op == "sample" and at.attrs["site"].name not in self.open):
                stack += missing
                continue
            stack.pop()
            with np.errstate(all="ignore"):
                self.memo[id(at), where] = self._value(at, where, below)
        return self.memo[id(node), world]

    def _value(self, node: Node, world: str, below: str) -> Array:
        if node.op == "sample":
            return self._sample(node.attrs["site"], world)
        if not node.args:
            return self._leaf(node, world)
        return ops.apply(self.layout, node, [self.memo[id(a), below] for a in node.args])

    def params(self, site: Site, world: str) -> dict[str, Array]:
        """Parameters of a site's distribution."""
        assert site.dist is not None
        return {k: self(n, world) for k, n in site.dist.params.items()}

    def _sample(self, site: Site, world: str) -> Array:
        if site.name not in self.open:
            assert site.dist is not None
            return self.layout.lead(np.full(site.dist.event_shape, np.nan))
        made = self.made[site.name]
        given = {p: self.t.get(p, self.layout.lead(np.nan)) for p in made.units}
        return variables.value(made, self.layout, self.params(site, world), given)

    def _leaf(self, node: Node, world: str) -> Array:
        name, layout = node.attrs.get("name"), self.layout
        if node.op == "const":
            return layout.lead(node.attrs["value"].value)
        if node.op == "param":
            if world == FROZEN:
                return layout.lead(self.world.base[name])
            return layout.along(THETA, self.theta[name])
        if node.op == "hyper":
            return layout.lead(np.float64(self.world.hypers[name]))
        if node.op == "input":
            array = np.asarray(self.world.inputs[name]).astype(ops.DTYPES[node.type.dtype])
            if not node.type.axes:
                return layout.lead(array)
            return layout.along(layout.plates[node.type.axes[0].name], array)
        if node.op == "rowid":
            axis = node.attrs["axis"]
            ids = self.world.row_ids.get(axis.name, np.arange(self.world.size(axis)))
            return layout.along(layout.plates[axis.name], ids)
        if node.op == "size":
            return layout.lead(np.float64(self.world.size(node.attrs["axis"])))
        raise Unsupported(f"leaf {node.op}")

    def weight(self, made: SiteVariables, world: str | None = None) -> Array:
        """The probability of the states of a site's table."""
        own = LIVE if made.name in self.reading.live else FROZEN
        return variables.table_weight(made, self.layout, self.params(made.site, world or own))

    def unit_weight(self, made: SiteVariables, index: int) -> Array:
        """The weights of a continuous unit's grid."""
        position = made.units[index]
        w = self.w[position]
        if made.kind != "VonMises":
            return w
        world = LIVE if made.name in self.reading.live else FROZEN
        p = self.params(made.site, world)
        return w * variables.circle_weight(made, self.layout, p, index, self.t[position])
