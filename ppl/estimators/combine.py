"""A linear combination of estimators of one node, with weights that follow its variance."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Literal

from ppl.arguments import number, shown
from ppl.errors import EstimatorError
from ppl.estimators.base import (
    Advantages,
    Auxiliary,
    Branches,
    Estimator,
    NodeContext,
    ScoreTerm,
    Support,
    check_support,
)
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.records import dataclass

if TYPE_CHECKING:
    from ppl.graph.stochastic import RandomNode

DECLARED_BY_ANY_MEMBER = ("drawn_only", "leaves_support", "own_path", "stops_density")
"""What a combination declares if any member does."""

WEIGHT_GRANULARITIES = ("parameter", "entry")

WEIGHT_NAME = re.compile(r"/\d+\.weight\.[^./]+$")
"""How the names of weights end: after the node's, the number of the member and the parameter."""


@dataclass(frozen=True, init=False, repr=False)
class Combine(Estimator):
    """Σ wᵢ gᵢ for unbiased estimators gᵢ of one node, Σ wᵢ = 1, the weights moved towards least variance.

    All members use one sample of the node and one batch of downstream evaluations; side branches add up. The weights
    are auxiliary variables that `program.step` moves by Adam on the gradient of the row-local second moment of the
    estimate in the node's own parameters. They depend on earlier samples only, so the estimate is unbiased whatever
    they are. They start at the first member alone: training begins with that estimator.

    Requires members that each support the node, are unbiased, and draw it; at most one that follows the sample's
    path, and at most one that relaxes the node. Nodes in loops over time are unrolled, with weights for every step.
    Geffner & Domke 2018.

    Parameters
    ----------
    members : two or more estimators, none of them a `Combine`.
    per : one weight for each "parameter" of the node's distribution, or one for each "entry" of each parameter.
    rate : Adam step size of the weights.

    Raises
    ------
    EstimatorError
        There are fewer than two members, two are equal, or one is no estimator, biased, or itself a combination.
    """

    members: tuple[Estimator, ...] = ()
    per: Literal["parameter", "entry"] = "parameter"
    rate: float = 0.01

    def __init__(self, *members: Estimator, per: str = "parameter", rate: float = 0.01):
        step = number("Combine: rate", rate, low=0, open_low=True, error=EstimatorError)
        for name, value in (("members", members), ("per", per), ("rate", step)):
            object.__setattr__(self, name, value)
        self.__post_init__()

    def __post_init__(self) -> None:
        if self.per not in WEIGHT_GRANULARITIES:
            raise EstimatorError(f"Combine: per must be one of {WEIGHT_GRANULARITIES}, not {shown(self.per)}")
        for i, member in enumerate(self.members):
            complaint = _why_no_member(member) or ("is named twice" if member in self.members[:i] else "")
            if complaint:
                named = member.label if isinstance(member, Estimator) else shown(member)
                raise EstimatorError(f"Combine: {named} {complaint}")
        if len(self.members) < 2:
            named = self.members[0].label if self.members else "none"
            example = "Combine(Pathwise(), ScoreFunction('leave_one_out'))"
            raise EstimatorError(f"Combine: needs two or more estimators, has {named}; for example {example}")
        relaxing = [m.label for m in self.members if hasattr(m, "temperature")]
        if len(relaxing) > 1:
            raise EstimatorError(f"Combine: {' and '.join(relaxing)} each relax the node, at temperatures of their own")
        for name in DECLARED_BY_ANY_MEMBER:
            object.__setattr__(self, name, any(getattr(m, name) for m in self.members))
        object.__setattr__(self, "before_loops", all(m.before_loops for m in self.members))

    @classmethod
    def from_options(cls, **options: Any) -> Combine:
        """The combination with these members and options."""
        return cls(*options.pop("members"), **options)

    @property
    def label(self) -> str:
        """The members as one would write them, options at their defaults left out."""
        options = [
            f"{f.name}={getattr(self, f.name)!r}" for f in fields(self)[1:] if getattr(self, f.name) != f.default
        ]
        return f"Combine({', '.join([*(m.label for m in self.members), *options])})"

    def __repr__(self) -> str:
        return f"Combine({', '.join([*map(repr, self.members), f'per={self.per!r}', f'rate={self.rate!r}'])})"

    def positive_options(self) -> list[Any]:
        """Those of all members."""
        return [option for member in self.members for option in member.positive_options()]

    def supports(self, node: RandomNode) -> Support:
        """Every member supports the node, and no two of them ask for different trunks or relaxations."""
        for member in self.members:
            found = check_support(member, node)
            if not found.ok:
                return Support(False, f"{member.label}: {found.reason}")
        paths = [m.label for m in self.members if m.follows_path]
        if len(paths) > 1:
            return Support(False, f"{' and '.join(paths)} each replace the sample's path")
        return Support(True, f"weights of least variance for {len(self.members)} estimators on one sample")

    def validate(self, particles: int) -> str | None:
        """The first complaint of a member."""
        return next(filter(None, (m.validate(particles) for m in self.members)), None)

    def side_count(self, node: RandomNode) -> int:
        """Those of all members."""
        return sum(m.side_count(node) for m in self.members)

    def expand(self, ctx: NodeContext) -> Branches:
        """The primal and all sides of the members; parameters pass each member's gradient with its weight."""
        sample, weights = ctx.draw(), self._weights(ctx)
        made: list[Branches] = []
        asked: list[tuple[int, ...] | None] = []
        for i, member in enumerate(self.members):
            params = tuple(ops.scale_grad(p, weights[k][i]) if k in weights else p for k, p in ctx.dist.params.items())
            inner = replace(
                ctx,
                dist=ctx.dist.with_params(params),
                fresh=_uniforms_after(ctx, asked),
                aux=_auxiliaries_of_member(ctx, i, made),
                sample=None if member.follows_path else sample,
            )
            made.append(member.expand(inner))
        scores = [_sum_of_terms([m.score for m in made], made), _sum_of_terms([m.fit for m in made], made)]
        temperature = next((m.temperature for m in made if m.temperature is not None), None)
        return Branches(self._trunk(made), [s for m in made for s in m.sides], scores[0], temperature, scores[1])

    def _trunk(self, made: Sequence[Branches]) -> Node:
        """The one primal: that of the member which follows the sample's path, else the sample that all members
        share."""
        trunks = [m.primal for m, member in zip(made, self.members, strict=True) if member.follows_path]
        others = [m.primal for m, member in zip(made, self.members, strict=True) if not member.follows_path]
        if any(primal is not others[0] for primal in others):
            raise EstimatorError(f"{self.label}: members evaluate the cost at different samples")
        return trunks[0] if trunks else others[0]

    def _weights(self, ctx: NodeContext) -> dict[str, list[Node]]:
        """The weights of the members by parameter; those of all but the first are auxiliary variables."""
        found = {}
        for name in ctx.learnable:
            shape = ctx.dist.params[name].type.shape if self.per == "entry" else ()
            spec = Auxiliary(0.0, "second_moment", self.rate, shape)
            others = [ctx.aux(f"{i}.weight.{name}", spec) for i in range(2, len(self.members) + 1)]
            first = ops.const(1.0)
            for weight in others:
                first = ops.sub(first, weight)
            found[name] = [first, *others]
        return found


def is_combination_weight(name: str) -> bool:
    """Whether an auxiliary variable is a weight of a combination."""
    return WEIGHT_NAME.search(name) is not None


def _why_no_member(member: Any) -> str:
    """Why an estimator cannot be a member; "" where it can."""
    if not isinstance(member, Estimator):
        if isinstance(member, (list, tuple)):
            return "is a list: name its members one by one"
        return "is a class: write it with parentheses" if isinstance(member, type) else "is no estimator"
    if isinstance(member, Combine):
        return "is no single estimator"
    if member.biased:
        return "is biased, and weights that sum to 1 would keep its bias"
    if member.enters != "drawn" or not member.sampled:
        return "takes no sample of the node that others could share"
    return "changes the weights of the bound downstream for all of them" if member.reweights else ""


def _uniforms_after(ctx: NodeContext, asked: list[tuple[int, ...] | None]) -> Callable[..., tuple[Node, ...]]:
    """Fresh uniforms after those that earlier members asked for, so that each has its own."""

    def fresh(shapes: tuple[tuple[int, ...] | None, ...]) -> tuple[Node, ...]:
        asked.extend(shapes)
        return ctx.fresh(tuple(asked))[len(asked) - len(shapes) :]

    return fresh


def _auxiliaries_of_member(ctx: NodeContext, i: int, made: Sequence[Branches]) -> Callable[[str, Auxiliary], Node]:
    """Auxiliary variables of member `i`: numbered from 1, and moved by the advantages of its own branches."""

    def aux(key: str, spec: Auxiliary) -> Node:
        rule = spec.adapt
        if callable(rule):
            spec = replace(spec, adapt=lambda advantages, old: rule(_advantages_of_member(advantages, made, i), old))
        return ctx.aux(f"{i + 1}.{key}", spec)

    return aux


def _advantages_of_member(advantages: Advantages, made: Sequence[Branches], i: int) -> Advantages:
    """The advantages of member `i`: the primal's, and those of its sides."""
    first = 1 + sum(len(m.sides) for m in made[:i])
    return replace(advantages, costs=[advantages.costs[0], *advantages.costs[first : first + len(made[i].sides)]])


def _sum_of_terms(terms: Sequence[ScoreTerm | None], made: Sequence[Branches]) -> ScoreTerm | None:
    """The sum of the members' terms, each of its own advantages."""
    if all(term is None for term in terms):
        return None

    def total(advantages: Advantages) -> Node:
        found = [term(_advantages_of_member(advantages, made, i)) for i, term in enumerate(terms) if term is not None]
        out = found[0]
        for each in found[1:]:
            out = ops.add(out, each)
        return out

    return total
