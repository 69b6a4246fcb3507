"""The contract of a gradient estimator: when it applies, what it costs, and how it rewrites a random node.

An estimator maps a random node to *branches*. Branch 0 is the primal; the others are side branches that run from the
node to the costs on the primal's noise. A branch has a value (stopped or not), a weight, and flags; score terms are
multiplied by the stopped primal costs downstream. The gradient of the finished surrogate is the estimate."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, TypeAlias

from ppl.arguments import flag, integer, number, within
from ppl.distributions.base import Distribution
from ppl.errors import EstimatorError
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.ir.types import PARTICLES, Axis
from ppl.lang.init import Initializer
from ppl.lang.loops import base_name
from ppl.lang.trace import Bound
from ppl.names import Keywords
from ppl.records import dataclass

if TYPE_CHECKING:
    from ppl.graph.stochastic import RandomNode
    from ppl.lang.params import Hyper as HyperValue

CONDITIONAL_PURPOSE = (
    16  # purpose of the first uniform of a conditional relaxation; base uniforms have purposes 0, 1, …
)


class Support(NamedTuple):
    """Whether an estimator applies to a node, and if not, why."""

    ok: bool
    reason: str = ""


class Hyper(NamedTuple):
    """A run-time option of an estimator: the hyper parameter `name` with its default value."""

    name: str
    default: float


Option: TypeAlias = "float | Hyper | HyperValue"
"""A number, or `ppl.hyper(...)` (kept as a `Hyper` record, so that estimators compare and hash)."""


@dataclass(frozen=True)
class Side:
    """A side branch: its value over the node's axes, the weight of its gradient, and its flags."""

    value: Node
    weight: Node | None = None
    live: bool = False
    soft: bool = False


@dataclass(frozen=True)
class Auxiliary:
    """An auxiliary variable of a node: its start (a number, or `ppl.init.*` keyed by seed and name) and how it moves.

    `adapt="second_moment"` follows the gradient of the row-local second moment of the estimate, `adapt="fit"` that of
    the `fit` of the node's branches (both by Adam with step size `rate`); a callable maps (advantages, current value)
    to the new value. With `per_step` a node in a loop over time has one for every step. `decay` says that the callable
    makes an exponential mean, in which the current value has this weight: `ppl.fit(tune=True)` then needs few steps to
    find it.
    """

    init: float | Initializer
    adapt: str | Callable[[Advantages, Node], Node] = "second_moment"
    rate: float = 0.01
    shape: tuple[int, ...] = ()
    per_step: bool = False
    decay: float = 0.0


@dataclass
class Advantages:
    """Primal downstream costs of a node, one per branch (primal first), over the node's plates and particles.

    `mean_over_rows` averages such a value over plates and particles to an unplated scalar. `bounds` are the primal's
    log-weights of the multi-sample bounds among the costs; `reduce` takes a value over the axes of such a cost to the
    node's own rows, as the costs were taken. `primal` is the value that the costs of the primal were computed from.
    """

    costs: list[Node]
    mean_over_rows: Callable[[Node], Node]
    bounds: list[Bound]
    reduce: Callable[[Node], Node]
    primal: Node


ScoreTerm = Callable[[Advantages], Node]

EntersBy = Literal["drawn", "summed", "averaged"]
"""How a node enters a program that estimates: by a sample, by all its states, or by its mean and covariance."""

SecondDerivatives = Literal["kept", "path", "score"]
"""How a node enters second derivatives: as it is, along its path where that is smooth, or by its score."""


@dataclass
class Branches:
    """What an estimator makes of a node: the primal value, side branches, and the score term (or None).

    `temperature` is that of soft sides, at which later discrete nodes are relaxed too. `fit` maps the advantages to a
    scalar that auxiliary variables with `adapt="fit"` minimise.
    """

    primal: Node
    sides: list[Side] = field(default_factory=list)
    score: ScoreTerm | None = None
    temperature: Node | None = None
    fit: ScoreTerm | None = None


@dataclass
class NodeContext:
    """What an estimator gets to expand one node: the distribution with its primal parameters, noise and auxiliaries.

    `inputs` are the float data arguments that its plates open; `relaxes()` says whether the cost can be relaxed.
    `importance` is the normalised weight of each sample in the bound downstream (estimators with `reweights` only).
    `sample` is the true sample where several estimators share one; its derivative is then no one's.
    """

    name: str
    dist: Distribution
    uniforms: tuple[Node, ...]
    fresh: Callable[[tuple[tuple[int, ...] | None, ...]], tuple[Node, ...]]
    aux: Callable[[str, Auxiliary], Node]
    option: Callable[[Option], Node]
    particles: Axis = PARTICLES
    learnable: tuple[str, ...] = ()  # names of the parameters with a learnable parameter upstream
    inputs: tuple[Node, ...] = ()
    relaxes: Callable[[], bool] = lambda: True
    importance: Node | None = None
    sample: Node | None = None

    def draw(self) -> Node:
        """The true sample."""
        return self.dist.draw(*self.uniforms) if self.sample is None else self.sample


@dataclass(frozen=True)
class Estimator(Keywords):
    """Base class of gradient estimators; instances are immutable and compare by their options.

    The rest of the package asks an estimator what it declares here, and never for its class.
    """

    enters: ClassVar[EntersBy] = "drawn"
    second: ClassVar[SecondDerivatives] = "score"
    sampled: ClassVar[bool] = True  # whether the node's value is a sample; else no draw of it exists
    imposed: ClassVar[bool] = False  # whether it follows from the graph or the objective, and is no one's choice
    within_cost: ClassVar[bool] = False  # whether the node is summed out inside a cost, by log-sum-exp
    biased: ClassVar[bool] = False
    sides: ClassVar[int] = 0
    stops_density: ClassVar[bool] = False  # whether the node's own log-density in costs has its parameters stopped
    follows_path: ClassVar[bool] = False  # whether its derivative is that along the sample's path and nothing else
    leaves_support: ClassVar[bool] = False  # whether it evaluates costs at values of probability 0
    drawn_only: ClassVar[bool] = False  # whether it sees values that are drawn only, none of probability 0
    own_path: ClassVar[bool] = False  # whether the gradient flows through the distribution's own sampling path
    positive: ClassVar[tuple[str, ...]] = ("temperature",)  # options that have to be positive
    reweights: ClassVar[bool] = False  # whether it needs the normalised weights of the bound downstream
    in_loops: ClassVar[bool] = False  # whether a node in a loop over time keeps the loop; else it is unrolled
    before_loops: ClassVar[bool] = True  # whether loops over time that read the node's value stay loops

    def __post_init__(self) -> None:
        """Options that are declared as numbers or truth values are of that kind."""
        rules: dict[str, Any] = {"int": within(integer, low=1), "bool": flag, "float": number}
        for option in fields(self):
            rule = rules.get(str(option.type))
            if rule is not None:
                value = rule(f"{type(self).__name__}: {option.name}", getattr(self, option.name), error=EstimatorError)
                object.__setattr__(self, option.name, value)

    @classmethod
    def from_options(cls, **options: Any) -> Estimator:
        """The estimator with these values of its fields."""
        return cls(**options)

    @property
    def label(self) -> str:
        """The estimator as one would write it, options at their defaults left out."""
        changed = [f for f in fields(self) if getattr(self, f.name) != f.default]
        return f"{type(self).__name__}({', '.join(f'{f.name}={getattr(self, f.name)!r}' for f in changed)})"

    def positive_options(self) -> list[Any]:
        """The values of its options that have to be positive."""
        return [getattr(self, name, None) for name in self.positive]

    def supports(self, node: RandomNode) -> Support:
        """Whether the estimator gives a right gradient for `node` (a biased one: its own formula's expectation).

        Asked by `check_support`, which answers for nodes of loops and for nodes that a cost also has stopped.
        """
        raise NotImplementedError(f"{type(self).__name__}.supports is abstract")

    def side_count(self, node: RandomNode) -> int:
        """Side branches that a supported `node` gets: downstream evaluations beside the primal's."""
        return self.sides

    def states(self, node: RandomNode) -> float:
        """Joint states that a supported `node` is summed over; 1 where it is drawn."""
        return 1.0

    def side_count_over_loop(self, node: RandomNode) -> int:
        """Side branches of all the steps of a loop over time."""
        return self.side_count(node.in_one_step) * node.steps

    def states_over_loop(self, node: RandomNode) -> float:
        """Joint states of all the steps of a loop over time."""
        try:
            return self.states(node.in_one_step) ** node.steps
        except OverflowError:
            return float("inf")

    @property
    def most_states(self) -> float:
        """Joint states at most of all nodes that are summed under one cost."""
        return float("inf")

    def law(self, dist: Distribution) -> Distribution:
        """The law whose states a summed node runs over."""
        return dist

    def value(self, dist: Distribution, state: Node, uniforms: tuple[Node, ...]) -> Node:
        """A summed node's value in a state of that law; `uniforms` are those of a draw."""
        return state

    def expand(self, ctx: NodeContext) -> Branches:
        """Rewrite one node that enters by a sample."""
        raise NotImplementedError(f"{type(self).__name__}.expand is abstract")

    def validate(self, particles: int) -> str | None:
        """A complaint about compile-time settings, or None."""
        return None


def check_support(estimator: Estimator, node: RandomNode) -> Support:
    """Ask an estimator whether it supports a node, in all steps of the loops that the node stands in.

    Where a cost has the node both directly and stopped, only estimators that follow its path support it.
    """
    if node.tangled is not None and not estimator.follows_path:
        return Support(False, node.tangled)
    found = [check_support(estimator, copy) for copy in node.copies] or [estimator.supports(node)]
    chosen = next((support for support in found if not support.ok), found[0])
    return Support(chosen.ok, base_name(chosen.reason))


def score_of(dist: Distribution, value: Node) -> Node:
    """log p(value | parameters) with the value stopped: the term whose gradient is the score."""
    return dist.node_log_prob(ops.stop(value))


def zero_if_impossible(chance: Node, cost: Node) -> Node:
    """A cost, or a difference of costs; nothing where it is not finite in a state that cannot happen."""
    counts = ops.logical_or(ops.less(0.0, ops.stop(chance)), ops.less(ops.absolute(cost), math.inf))
    return ops.where(counts, cost, 0.0)
