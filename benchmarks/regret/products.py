"""Variance × seconds of what a record holds, and the best of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from benchmarks.regret.measure import COPIES


class Product(NamedTuple):
    """Variance × seconds of a plan at a number of particles."""

    product: float
    relative_error: float
    seconds: float
    plan: Mapping[str, str]
    particles: int

    @property
    def order(self) -> tuple[float, float]:
        """The least product first; of exact ones the fastest."""
        return self.product, self.seconds


def products(record: Mapping[str, Any], copies: int = COPIES) -> list[Product]:
    """Those of all candidates of at most so many copies."""
    return [
        Product(v * s, error / v if v else 0.0, s, one["plan"], int(k))
        for one in record["candidates"]
        if one["copies"] <= copies
        for k, (v, error, s) in one["particles"].items()
    ]


def best(record: Mapping[str, Any], copies: int = COPIES) -> Product:
    """The best of all candidates of at most so many copies."""
    return min(products(record, copies), key=lambda p: p.order)
