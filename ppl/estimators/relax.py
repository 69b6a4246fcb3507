"""RELAX: a score function whose control variate is learned."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ppl.errors import EstimatorError
from ppl.estimators.base import Advantages, Branches, Estimator, NodeContext, Option, Side, Support, score_of
from ppl.estimators.baselines import SmallNetwork, baseline_inputs, concat_flat
from ppl.estimators.rebar import adaptive_temperature
from ppl.estimators.relaxed import normalize_temperature, relaxation_support
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.records import dataclass

if TYPE_CHECKING:
    from ppl.graph.stochastic import RandomNode


@dataclass(frozen=True)
class Relax(Estimator):
    """[f(b) - c(z~)] grad log p(b) + grad c(z) - grad c(z~), with c = f(s(.)) + a small network r(s(.)).

    z, z~ and the relaxation s are those of REBAR. Where the relaxed cost has a jump (a black box, a later node that
    cannot be relaxed) c is the network alone, and the estimate costs one downstream evaluation, else three. The network
    sees s(z), the node's distribution parameters and its row's data, the latter two stopped: the identity holds for
    each value of them. Requires a relaxable node. Unbiased for every network and temperature; with an untrained network
    the variance is that of REBAR with eta = 1, or of the plain score function. Network and temperature follow the
    gradient of the row-local second moment of the estimate in the node's own parameters, where the paper takes that in
    all parameters. Grathwohl, Choi, Wu, Roeder & Duvenaud 2018.

    Parameters
    ----------
    temperature : positive number or `ppl.hyper(...)`; the start of the trained one with `adapt_temperature`.
    width, rate : units of the network's tanh layer, and its Adam step size.
    """

    temperature: Option = 0.5
    width: int = 16
    rate: float = 0.01
    adapt_temperature: bool = False
    sides: ClassVar[int] = 2
    drawn_only: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        normalize_temperature(self)
        if self.width < 1 or not self.rate > 0:
            raise EstimatorError(f"{self.label} needs width >= 1 and rate > 0")

    def supports(self, node: RandomNode) -> Support:
        """Relaxable; anything downstream."""
        soft = relaxation_support(node, soft=True)
        if soft.ok or not node.dist.relaxable:
            return soft
        return Support(True, f"relaxable; the control variate is the network alone: {soft.reason}")

    def side_count(self, node: RandomNode) -> int:
        """Two where the cost can be relaxed, none for a black box."""
        return 2 if relaxation_support(node, soft=True).ok else 0

    def expand(self, ctx: NodeContext) -> Branches:
        """Three branches as in REBAR where the cost relaxes, else one; the network enters with the score term."""
        dist, temperature = ctx.dist, adaptive_temperature(ctx, self.temperature, self.adapt_temperature)
        value = ops.stop(ctx.draw())
        relaxed = dist.relax(temperature, *ctx.uniforms)
        given = dist.relax_given(temperature, value, *ctx.fresh(dist.uniforms()))
        context = baseline_inputs(ctx)
        sizes = {"value": relaxed.type.event_size, "context": context.type.event_size}
        network = SmallNetwork(ctx, sizes, self.width, "second_moment", self.rate)
        at_relaxed, at_given = (network(concat_flat(x), context) for x in (relaxed, given))

        def score(advantages: Advantages) -> Node:
            hard, *soft = advantages.costs
            rest = ops.sub(hard, ops.add(soft[1], at_given) if soft else at_given)
            return ops.add(ops.mul(score_of(dist, value), ops.stop(rest)), ops.sub(at_relaxed, at_given))

        one = ops.const(1.0)
        sides = [Side(relaxed, one, soft=True), Side(given, ops.neg(one), soft=True)] if ctx.relaxes() else []
        return Branches(value, sides, score, temperature)
