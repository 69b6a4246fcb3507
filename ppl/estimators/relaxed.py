"""Relaxed gradients: Concrete / Gumbel-softmax, soft or hard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from ppl.arguments import number
from ppl.errors import EstimatorError
from ppl.estimators.base import Branches, Estimator, Hyper, NodeContext, Option, Support
from ppl.graph.smoothness import describe_order
from ppl.ir import ops
from ppl.ir.op_facts import KINK
from ppl.records import dataclass

if TYPE_CHECKING:
    from ppl.graph.stochastic import RandomNode


def relaxation_support(node: RandomNode, soft: bool) -> Support:
    """Whether `node` can be relaxed: a relaxable distribution and no jump on the soft path."""
    if not node.dist.relaxable:
        hint = "; use OneHotCategorical" if node.dist.dtype == "int" else ""
        return Support(False, f"{type(node.dist).__name__} has no relaxation{hint}")
    order, where = node.soft_order() if soft else node.path_order()
    if order < KINK:
        return Support(False, f"{describe_order(order)} on the relaxed way: {where}")
    return Support(True, "relaxable, no jump on the relaxed way to a cost")


@dataclass(frozen=True)
class Relaxed(Estimator):
    """The sample replaced by its relaxation: sigmoid or softmax of (logits + noise) / temperature.

    Biased: the gradient is that of the relaxed cost; the temperature trades bias for variance. With `hard=True` the
    forward value is the true sample and only the derivative is the relaxation's (straight-through Gumbel-softmax).
    One downstream evaluation. Maddison, Mnih & Teh 2017; Jang, Gu & Poole 2017.

    Parameters
    ----------
    temperature : positive number or `ppl.hyper(name, default)` to set or schedule it at run time.
    hard : whether the forward value is the true sample.
    """

    temperature: Option = 0.5
    hard: bool = False
    in_loops: ClassVar[bool] = True
    biased: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        normalize_temperature(self)

    def supports(self, node: RandomNode) -> Support:
        """Relaxable, and no jump on the way."""
        return relaxation_support(node, soft=False)

    def expand(self, ctx: NodeContext) -> Branches:
        """One soft branch, not stopped."""
        temperature = ctx.option(self.temperature)
        soft = ctx.dist.relax(temperature, *ctx.uniforms)
        return Branches(ops.graft(ctx.draw(), soft) if self.hard else soft, temperature=temperature)


def normalize_temperature(estimator: Any) -> None:
    """Make a `ppl.hyper(...)` given as `temperature` a Hyper record, so that estimators stay hashable, or a float.

    A temperature that is adapted is a float.
    """
    value = estimator.temperature
    node, label = getattr(value, "__ppl_node__", None), f"{type(estimator).__name__}: temperature"
    if node is not None:
        if not value.default > 0:
            raise EstimatorError(f"{label} must be positive, not {value.default} by default")
        object.__setattr__(estimator, "temperature", Hyper(node.attrs["name"], value.default))
    elif not isinstance(value, Hyper):
        object.__setattr__(estimator, "temperature", number(label, value, 0, open_low=True, error=EstimatorError))
    if getattr(estimator, "adapt_temperature", False) and not isinstance(estimator.temperature, float):
        raise EstimatorError(f"{estimator.label}: a temperature is either adapted or set at run time, not both")
