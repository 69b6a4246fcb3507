"""Normalizing flows: maps of vectors whose shifts and scales are small networks of other entries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from ppl.arguments import array
from ppl.distributions.bijectors.base import Bijector
from ppl.distributions.domain.intervals import REAL, Interval
from ppl.errors import ModelError, ShapeError
from ppl.ir import ops
from ppl.ir.node import Node


class Flow(Bijector):
    """y = x exp(s(x)) + t(x), where s and t of an entry depend on entries before it only, in some order.

    (s, t) = tanh(x @ hidden_weight + hidden_bias) @ weight + bias, with weights that would break the order left out.
    The volume change is the sum of s. The inverse is found entry after entry: `passes` times.
    """

    rank: ClassVar[int] = 1
    value_rank: ClassVar[int] = 1
    shared = True
    constraints: ClassVar[dict[str, str]] = dict.fromkeys(("hidden_weight", "hidden_bias", "weight", "bias"), "real")
    passes: int

    def __init__(self, hidden_weight: Any, hidden_bias: Any, weight: Any, bias: Any):
        given = {"hidden_weight": hidden_weight, "hidden_bias": hidden_bias, "weight": weight, "bias": bias}
        self.params = {name: ops.cast(ops.as_node(value), "float") for name, value in given.items()}
        shapes = {name: node.type.shape for name, node in self.params.items()}
        first = shapes["hidden_weight"]
        self.size, self.units = first if len(first) == 2 else (0, 0)
        wanted = {"hidden_bias": (self.units,), "weight": (self.units, 2 * self.size), "bias": (2 * self.size,)}
        if not self.size or any(shapes[name] != shape for name, shape in wanted.items()):
            listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
            raise ShapeError(f"{type(self).__name__}: shapes do not fit (d, h), (h,), (h, 2 d), (2 d,): {listed}")

    def masks(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Which inputs a hidden unit reads, (d, h), which units an entry's shift and scale read, (h, d), and which
        entries have any, (d,)."""
        raise NotImplementedError

    def image(self, inside: Interval) -> Interval:
        """All reals."""
        return REAL

    def shape(self, event: tuple[int, ...]) -> tuple[int, ...]:
        """The same."""
        if event[-1:] != (self.size,):
            raise ShapeError(f"{type(self).__name__} maps vectors of {self.size} entries, not events of shape {event}")
        return event

    def source(self, event: tuple[int, ...]) -> tuple[int, ...]:
        """The same."""
        return self.shape(event)

    def network(self, x: Node) -> tuple[Node, Node]:
        """The logarithms of the scales, and the shifts."""
        first, second, moved = self.masks()
        hidden_weight, hidden_bias, weight, bias = self.params.values()
        rows = ops.reshape(x, (-(-x.type.event_size // self.size), self.size))
        hidden = ops.tanh(ops.add(ops.matmul(rows, ops.mul(hidden_weight, first)), hidden_bias))
        both = ops.add(
            ops.matmul(hidden, ops.mul(weight, np.hstack([second, second]))), ops.mul(bias, np.tile(moved, 2))
        )
        count = rows.type.shape[0]
        parts = (ops.window(both, ((0, count, 1), (i * self.size, self.size, 1))) for i in (0, 1))
        scales, shifts = (ops.reshape(part, x.type.shape) for part in parts)
        return scales, shifts

    def forward(self, x: Node) -> Node:
        """x exp(s(x)) + t(x)."""
        scales, shifts = self.network(x)
        return ops.add(ops.mul(x, ops.exp(scales)), shifts)

    def inverse(self, y: Node) -> Node:
        """(y - t(x)) exp(-s(x)), until all entries are right."""
        x = y
        for _ in range(self.passes):
            scales, shifts = self.network(x)
            x = ops.mul(ops.sub(y, shifts), ops.exp(ops.neg(scales)))
        return x

    def log_det(self, x: Node) -> Node:
        """The sum of s(x)."""
        return ops.reduce_sum(self.network(x)[0], -1)


class Coupling(Flow):
    """Coupling(passive, hidden_weight, hidden_bias, weight, bias): entries that `passive` names stay, and say how the
    others are scaled and shifted (Dinh, Sohl-Dickstein & Bengio 2017). Either direction is one pass.

    Parameters
    ----------
    passive : which of the d entries stay as they are: d truth values, neither all true nor all false.
    hidden_weight, hidden_bias, weight, bias : of shapes (d, h), (h,), (h, 2 d), (2 d,), the logarithms of scales first.

    Raises
    ------
    ModelError
        `passive` does not divide the entries in two parts.
    ShapeError
        Shapes do not fit.
    """

    passes = 1

    def __init__(self, passive: Sequence[bool], hidden_weight: Any, hidden_bias: Any, weight: Any, bias: Any):
        super().__init__(hidden_weight, hidden_bias, weight, bias)
        self.passive: np.ndarray = array("Coupling: passive", passive, ModelError).astype(bool)
        if self.passive.shape != (self.size,) or self.passive.all() or not self.passive.any():
            raise ModelError(
                f"Coupling: passive says for each of {self.size} entries whether it stays, some true, some not"
            )

    def same_map(self, other: Any) -> bool:
        """Whether the same entries stay."""
        return isinstance(other, Coupling) and np.array_equal(self.passive, other.passive)

    def masks(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All units read the entries that stay; the others read all units."""
        first = np.repeat(self.passive[:, None], self.units, 1).astype(float)
        moved = 1.0 - self.passive
        return first, np.repeat(moved[None], self.units, 0), moved


class InverseAutoregressive(Flow):
    """InverseAutoregressive(hidden_weight, hidden_bias, weight, bias, reverse=False): every entry is scaled and shifted
    as those before it say, through a masked network (Kingma et al. 2016; Germain et al. 2015).

    `forward` is one pass, the inverse, which a density of a given value needs, one for every entry.

    Parameters
    ----------
    hidden_weight, hidden_bias, weight, bias : of shapes (d, h), (h,), (h, 2 d), (2 d,), the logarithms of scales first.
    reverse : whether "before" means later entries, for layers that follow each other.

    Raises
    ------
    ShapeError
        Shapes do not fit.
    """

    def __init__(self, hidden_weight: Any, hidden_bias: Any, weight: Any, bias: Any, reverse: bool = False):
        super().__init__(hidden_weight, hidden_bias, weight, bias)
        self.reverse, self.passes = reverse, self.size

    def same_map(self, other: Any) -> bool:
        """Whether the order is the same."""
        return isinstance(other, InverseAutoregressive) and self.reverse == other.reverse

    def masks(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Unit u reads the first u mod (d - 1) + 1 entries; entries behind these read it."""
        order = np.arange(1, self.size + 1)
        order = order[::-1] if self.reverse else order
        degree = np.arange(self.units) % max(self.size - 1, 1) + 1
        first = (degree[None] >= order[:, None]).astype(float)
        return first, (order[None] > degree[:, None]).astype(float), np.ones(self.size)
