"""Contenders as plans keep and print them."""

from __future__ import annotations

from ppl.compiler.plan.measured import Joint, Measured
from ppl.estimators.base import Estimator
from ppl.inference.tuning.contender import Contender


def measured(estimator: Estimator, found: Contender | str) -> Measured:
    """A candidate of a node."""
    if isinstance(found, str):
        return Measured(estimator, rejected=found)
    return Measured(
        estimator, found.trace, found.trace_error, found.seconds, found.repeats, found.clock,
        particles=found.config.particles, squared_bias=found.squared_bias,
    )  # fmt: skip


def joint(found: Contender, taken: bool) -> Joint:
    """A whole choice."""
    config = found.config
    return Joint(
        config.estimators, config.particles, found.trace, found.trace_error, found.squared_bias, found.seconds,
        found.repeats, found.clock, taken,
    )  # fmt: skip
