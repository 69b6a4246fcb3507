"""The law of a user's simulator that returns its score beside its result (`ppl.external(score=True)`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from ppl.distributions.base import KEY, Distribution
from ppl.distributions.support import Support
from ppl.ir import ops
from ppl.ir.external import External, Result, packed_size, unpack_result
from ppl.ir.node import Node, make
from ppl.ir.types import union_axes


class Simulator(Distribution):
    """What a simulator returns in one call, as one random vector: its result, then d log p / d value for its values.

    Its density is not known, only how the logarithm of it changes with the values. So `node_log_prob` is a number of no
    meaning with the right derivative, and whoever needs the density itself has to refuse this law.
    """

    score_only: ClassVar[bool] = True

    def __init__(self, function: External, values: Sequence[Node]):
        self.function = function
        self.params = {f"value{i}": node for i, node in enumerate(values)}
        self.event_mask = None

    @property
    def results(self) -> list[Result]:
        """The result and the scores."""
        kinds = [("float" if n.type.dtype == "float" else "", n.type.shape) for n in self.params.values()]
        return [*self.function.outputs, *(Result(shape, dtype) for dtype, shape in kinds)]

    @property
    def event_shape(self) -> tuple[int, ...]:
        """One vector."""
        return (packed_size(self.results),)

    @property
    def support(self) -> Support:
        """Any numbers."""
        return Support.REAL

    def uniforms(self) -> tuple[tuple[int, ...] | None, ...]:
        """A noise key."""
        return (KEY,)

    def draw(self, *u: Node) -> Node:
        """One call of the simulator."""
        nodes = [*u, *self.params.values()]
        axes = union_axes(*(n.type.axes for n in nodes))
        return make("external", *(ops.expand(n, axes) for n in nodes), fn=self.function, output=None, axes=axes,
                    shape=self.event_shape, dtype="float")  # fmt: skip

    def shown(self, value: Node) -> Node:
        """The result, of every step where a loop over time has stacked them."""
        *lead, _ = value.type.shape
        result = self.results[0]
        window = [*((0, n, 1) for n in lead), (0, result.entries, 1)]
        return ops.reshape(ops.window(value, window), (*lead, *result.shape))

    def node_log_prob(self, value: Node) -> Node:
        """A scalar whose derivative in every value is its score."""
        total = ops.const(0.0)
        for i, node in enumerate(self.params.values(), len(self.function.outputs)):
            if self.results[i].dtype:
                slope = ops.stop(unpack_result(value, self.results, i))
                total = ops.add(total, ops.reduce_sum(ops.mul(slope, node)))
        return total
