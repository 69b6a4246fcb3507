"""Exact enumeration over finite support, or over a part of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ppl.arguments import integer
from ppl.errors import EstimatorError
from ppl.estimators.base import Branches, Hyper, NodeContext, Support
from ppl.estimators.parts.baselines import checked
from ppl.estimators.parts.likely import LikelyCategories
from ppl.estimators.parts.summed import Summed
from ppl.estimators.parts.uncertain import UncertainUnits
from ppl.records import dataclass

if TYPE_CHECKING:
    from ppl.graph.stochastic import RandomNode

BASELINES = (None, "moving_average", "leave_one_out")
PARTIAL = {"enters": "drawn", "second": "score", "sampled": True, "drawn_only": True, "leaves_support": True}
"""What a sum over a part of the states declares otherwise: it draws the node."""


@dataclass(frozen=True)
class Enumerate(Summed):
    """Sum over every joint value of the node, weighted by its probability: no sampling, no variance from this node.

    The values run along an enumeration axis, so that everything downstream is one batch; nodes downstream keep their
    own estimators in every state. Cost: the joint support over all event entries and all rows that a downstream
    value couples, times that of other enumerated nodes with a common cost, at most `budget`.

    With `units` or `categories` only a part is summed, and the rest is drawn once; unbiased, with less variance than
    the score function under the same baseline. That needs rows that no cost couples; parameters of later nodes get
    their gradient from the drawn sample.

    Parameters
    ----------
    budget : the most joint values.
    units : of every row, sum over the joint values of the so many units whose outcome is least certain under the
        parameters (least Σ p²), and take the score function of the others at the cost's mean over those values. With S
        states a unit that is S**units evaluations. Units are numbers or one-hot vectors.
    categories : sum over the so many most probable categories of a node of one unit, and draw once among the others.
        They take one evaluation each, and one more for the others. The baseline of these is the mean cost of the
        summed ones.
    baseline : that of the other units: None, a number or `ppl.hyper(...)`, "moving_average", or "leave_one_out"
        (`particles` >= 2), as for `ScoreFunction`.

    Raises
    ------
    EstimatorError
        Both `units` and `categories` are given, or one is no positive number.

    References: Liu, Regier, Tripuraneni, Jordan & McAuliffe 2019 (categories).
    """

    units: int | None = None
    categories: int | None = None
    baseline: str | float | Hyper | None = "moving_average"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.units is not None and self.categories is not None:
            raise EstimatorError("Enumerate sums over a part of the units or of the categories, not of both")
        object.__setattr__(self, "baseline", checked("Enumerate", self.baseline, BASELINES))
        for name in ("units", "categories"):
            count = getattr(self, name)
            if count is not None:
                object.__setattr__(self, name, integer(f"Enumerate: {name}", count, low=1, error=EstimatorError))
                for attribute, value in PARTIAL.items():
                    object.__setattr__(self, attribute, value)

    @property
    def _part(self) -> UncertainUnits | LikelyCategories | None:
        if self.units is not None:
            return UncertainUnits(self.units, self.baseline, self.budget)
        return None if self.categories is None else LikelyCategories(self.categories)

    def supports(self, node: RandomNode) -> Support:
        """Finite support within the budget; of a part, rows on their own."""
        if self._part is None:
            return super().supports(node)
        if node.coupled_plates:
            return Support(False, "a cost couples its rows, which would all change at once")
        return self._part.supports(node)

    def validate(self, particles: int) -> str | None:
        """A baseline from the other particles needs two."""
        if self.units is not None and self.baseline == "leave_one_out" and particles < 2:
            return "a leave-one-out baseline needs particles >= 2 (pass particles= to ppl.compile)"
        return None

    def states(self, node: RandomNode) -> float:
        """All joint values, or 1 where the node is drawn."""
        return super().states(node) if self._part is None else 1.0

    def side_count(self, node: RandomNode) -> int:
        """The values of the part that is summed, but for one: that is the sample."""
        return 0 if self._part is None else self._part.side_count(node)

    def expand(self, ctx: NodeContext) -> Branches:
        """The trunk is the sample; the other values of the part are hard branches."""
        assert self._part is not None
        return self._part.expand(ctx)
