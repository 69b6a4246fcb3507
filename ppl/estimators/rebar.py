"""REBAR: a score function whose control variate is the relaxed cost."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from ppl.estimators.base import Advantages, Auxiliary, Branches, Estimator, NodeContext, Option, Side, Support, score_of
from ppl.estimators.relaxed import normalize_temperature, relaxation_support
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.records import dataclass

if TYPE_CHECKING:
    from ppl.graph.stochastic import RandomNode


@dataclass(frozen=True)
class Rebar(Estimator):
    """[f(b) - eta f(s(z~))] grad log p(b) + eta grad f(s(z)) - eta grad f(s(z~)), s the relaxation.

    z is the relaxed variable that b is the hard value of, z~ a draw of it given b. Requires a relaxable node and a cost
    without jump on relaxed values. Unbiased for every eta and temperature; three downstream evaluations; low variance
    where the relaxed cost correlates with the cost. Tucker et al. 2017.

    Parameters
    ----------
    temperature : positive number or `ppl.hyper(...)`.
    eta : initial weight of the control variate; adapted in `program.step` by Adam on the gradient of the row-local
        second moment of the estimate with respect to the node's own parameters, unless `adapt_eta=False`.
    adapt_temperature : train the log-temperature too, by the same second moment; `temperature` is then its start.
        The mean of the estimate does not depend on it, so the gradient of the second moment is that of the variance.
    """

    temperature: Option = 0.5
    eta: float = 1.0
    adapt_eta: bool = True
    adapt_temperature: bool = False
    sides: ClassVar[int] = 2
    drawn_only: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        normalize_temperature(self)

    def supports(self, node: RandomNode) -> Support:
        """Relaxable with everything downstream."""
        return relaxation_support(node, soft=True)

    def expand(self, ctx: NodeContext) -> Branches:
        """Three branches: b stopped, s(z) with weight eta, s(z~) with weight -eta."""
        dist, temperature = ctx.dist, adaptive_temperature(ctx, self.temperature, self.adapt_temperature)
        value = ops.stop(ctx.draw())
        eta = ctx.aux("eta", Auxiliary(self.eta)) if self.adapt_eta else ops.const(self.eta)
        relaxed = dist.relax(temperature, *ctx.uniforms)
        given = dist.relax_given(temperature, value, *ctx.fresh(dist.uniforms()))

        def score(advantages: Advantages) -> Node:
            hard, _, soft = advantages.costs
            return ops.mul(score_of(dist, value), ops.stop(ops.sub(hard, ops.mul(eta, soft))))

        sides = [Side(relaxed, eta, soft=True), Side(given, ops.neg(eta), soft=True)]
        return Branches(value, sides, score, temperature)


def adaptive_temperature(ctx: NodeContext, start: Option, adapt: bool) -> Node:
    """The temperature: an option, or the exponential of an auxiliary variable that begins at its logarithm."""
    if adapt and isinstance(start, float):
        return ops.exp(ctx.aux("log_temperature", Auxiliary(math.log(start))))
    return ctx.option(start)
