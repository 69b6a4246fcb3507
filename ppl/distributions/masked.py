"""Masked distributions."""

from __future__ import annotations

from typing import Any

from ppl.distributions.base import Distribution, require_distribution


def Masked(dist: Distribution, mask: Any) -> Distribution:
    """`dist`, counting only units where `mask` (over the shape of its units) is true: `dist.mask(mask)`.

    The log-density and the entropy sum over units that count; all units are drawn. It is a distribution of the same
    class, so that every estimator, divergence and conjugacy that knows the class knows the masked one.
    """
    require_distribution("Masked: dist", dist)
    return dist.mask(mask)
