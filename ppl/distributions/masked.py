"""Masked distributions."""

from __future__ import annotations

from typing import Any

from ppl.distributions.base import Distribution, require_distribution


def Masked(dist: Distribution, mask: Any) -> Distribution:
    """`dist` whose log-density and entropy sum only over the units where `mask` is true: `dist.mask(mask)`.

    All units are drawn. The result is of the same class, so estimators, divergences and conjugacy apply as they do
    without a mask.

    Parameters
    ----------
    dist : a distribution.
    mask : truth values of the shape of its units (`event_shape` without the dimensions of one unit).

    Raises
    ------
    ModelError
        `dist` is no distribution, or `mask` is a NumPy masked array.
    """
    require_distribution("Masked: dist", dist)
    return dist.mask(mask)
