"""Variances to expect of estimators, in closed form: what `particles="auto"` weighs where there are no data to draw
gradients on.

They are those of a cost that adds up what every random unit contributes, equally much of each. Then the noise in one
unit's gradient comes from the units that the estimator lets vary with it:

- a pair turns the node's own n units only and keeps the noise of all others: n - h;
- particles differ in all N units that the costs depend on: with one number as baseline that leaves N - h, and on
  top what the mean cost differs by from row to row; with the mean of the K - 1 others it is a U-statistic of order
  2, for the mean of K of them ((K - 2)(N - h) + 2 N) / (K (K - 1));
- a path sees slopes of the node's own n units only, w² / 1.5 where the cost saturates or oscillates over w units of its
  own while the node moves by its standard deviation (cos w z), and what a straight cost has where w is below 1;
- a combination of least variance has a b / (a + b) of two members that err independently.

A binary unit's own contribution adds no noise at even odds, and as much as another's at odds of one to three: h is a
half. Of other discrete units h is 0. Continuous ones with location and scale learned add more: h is -3 / max(1, w²).

Two layers of 64 and 32 units should give pairs 0.56 of the variance of two particles with leave-one-out; on the
belief net of `benchmarks/results/estimator_variance.md` it is 0.60. Four particles should give 0.33; it is 0.36."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

from ppl.distributions import Bernoulli
from ppl.graph.stochastic import RandomNode
from ppl.ir.node import topological

OWN_NOISE_SHARE, STRAIGHT_COST_EXCESS = 0.5, 3.0
"""How much of the noise of another unit is missing for a discrete unit itself: h; and how much more a continuous unit
has under a straight cost."""

ROW_SPREAD = 1.5
"""What rows differ by in their mean cost, relative to the noise of a row's units. Measured: 1.55 on the digits
belief net, 1.9 on the categorical VAE (variance of a moving average over that of two particles with leave-one-out,
less 1)."""

AVERAGE_LAG = 1.1
"""What a moving average adds by lagging behind training, and beginning at 0. Not measured: a preference for baselines
that follow at once, where closed forms see no difference."""

SHARED_AVERAGE_LAG = 1.2
"""The same where rows share an average. At the initial parameters they cost alike; training makes them differ, and one
number follows none of them. Measured on a belief net of three layers: against leave-one-out 1.0 at the start and 2.5
after 300 steps. Only a part of that is charged, since moving averages stay good where rows are alike."""

OPTIMAL_BASELINE_GAIN = 0.2
"""What weighing others by their scores takes off the variance of continuous units: measured 0.25 on five units under a
black box, 0.2 on one under cos 5z; nothing on binary units."""

REBAR_REMAINDER = 0.6
"""What REBAR leaves of a node's noise. Measured against pairs: 0.65 on the belief net, 0.5 on the categorical VAE."""

ASSUMED_ROWS = 100.0
"""Rows that a node outside a plate is taken to see of the units inside."""


class UnitCounts(NamedTuple):
    """Random units as a node's gradient sees them: its own, and all that its costs depend on; whether it has rows,
    over how many units of their own its costs move with it (None for a discrete node), and whether it is 0 or 1.
    """

    own: float
    all: float
    rows: bool
    rough: float | None = None
    binary: bool = False

    @property
    def near(self) -> float:
        """All units, its own by what it adds: N - h."""
        if self.rough is not None:
            return self.all + STRAIGHT_COST_EXCESS / max(1.0, self.rough) ** 2
        return self.all - OWN_NOISE_SHARE if self.binary else self.all


VarianceForm = Callable[[UnitCounts, int], float]
"""Variance of one unit's gradient, of the mean over so many particles."""


def zero_variance(units: UnitCounts, particles: int) -> float:
    """Return the variance of sums over all outcomes."""
    return 0.0


def pathwise_variance(units: UnitCounts, particles: int) -> float:
    """Return the variance of a path."""
    return max(1.0, units.rough or 0.0) ** 2 / 1.5 / particles


def curvature_variance(units: UnitCounts, particles: int) -> float:
    """Return the variance of a path for the location and of curvature for the scale: cos w z has w² / 2 + w⁴ / 2 where
    a path has w².
    """
    return pathwise_variance(units, particles) * (1 + (units.rough or 0.0) ** 2) / 2


def measure_valued_variance(units: UnitCounts, particles: int) -> float:
    """Return the variance of a pair for each unit, which differ in that unit alone: that of a path without a slope."""
    return 1 / 1.5 / particles


def combined_variance(units: UnitCounts, particles: int) -> float:
    """Return the variance of a path and a score combined with the weights of least variance."""
    a, b = pathwise_variance(units, particles), leave_one_out_variance(units, particles)
    return a * b / (a + b)


def antithetic_pair_variance(units: UnitCounts, particles: int) -> float:
    """Return the variance of the difference of two samples that share all other noise."""
    return (units.own - OWN_NOISE_SHARE) / particles


def class_pair_variance(units: UnitCounts, particles: int) -> float:
    """Return the variance of such a difference between classes, where the unit's own noise stays."""
    return units.own / particles


def rebar_variance(units: UnitCounts, particles: int) -> float:
    """Return the variance of what relaxing changes."""
    return REBAR_REMAINDER * units.own / particles


def u_statistic_weights(particles: int) -> tuple[float, float]:
    """Return what a and b are multiplied by in (a (K - 2) + b) / (K (K - 1)), the variance of a U-statistic of order 2
    of K particles (Hoeffding 1948): of a gradient with the mean of the others' costs as baseline.
    """
    ordered = particles * (particles - 1)
    return (particles - 2) / ordered, 1 / ordered


def leave_one_out_variance(units: UnitCounts, particles: int) -> float:
    """Return the variance of a score against the mean of the other particles."""
    a, b = u_statistic_weights(max(particles, 2))
    return a * units.near + 2 * b * max(units.near, units.all)


def optimal_baseline_variance(units: UnitCounts, particles: int) -> float:
    """Return the same with others weighed by their squared scores, which vary for continuous units."""
    gain = 1.0 if units.rough is None or particles < 4 else 1 - OPTIMAL_BASELINE_GAIN * units.own / units.all
    return leave_one_out_variance(units, particles) * gain


def moving_average_variance(units: UnitCounts, particles: int) -> float:
    """Return the variance of a score against one number for all rows, a moving average."""
    return AVERAGE_LAG * (units.near + (ROW_SPREAD * units.all if units.rows else 0.0)) / particles


def count_units(rn: RandomNode, drawn: Iterable[RandomNode]) -> UnitCounts:
    """Return the units of a node, and those of the nodes `drawn` that share a cost with it."""
    costs = {c.name for c in rn.costs}
    near = [other for other in drawn if other is not rn and costs & {c.name for c in other.costs}]
    own = _unit_count(rn)
    rough = None if rn.dist.discrete else cost_roughness(rn)
    return UnitCounts(
        own,
        own + sum(_units_seen_from(rn, other) for other in near),
        bool(rn.node.type.axes),
        rough,
        isinstance(rn.dist, Bernoulli),
    )


def cost_roughness(rn: RandomNode) -> float:
    """Return the most units of its own that an op between a node and its costs moves. Only constants are known."""
    slopes, bit, reach = rn.graph.ranges.slopes, rn.graph.terms.bit[rn.name], rn.graph.terms.reach
    moved = (n for n in topological([c.node for c in rn.costs]) if n.args and reach(n).direct & bit)
    return max(
        (slopes.swing_in_units(n, i) for n in moved for i in range(len(n.args)) if n is not rn.node), default=0.0
    )


def _unit_count(rn: RandomNode) -> float:
    """Units of one row, of all steps of a loop over time."""
    return float(max(math.prod(rn.dist.batch_of_units), 1) * rn.steps)


def _units_seen_from(rn: RandomNode, other: RandomNode) -> float:
    extra = [a for a in other.node.type.axes if a not in rn.node.type.axes]
    rows = 1.0
    for axis in extra:
        rows *= axis.size if axis.size is not None else ASSUMED_ROWS
    return _unit_count(other) * rows
