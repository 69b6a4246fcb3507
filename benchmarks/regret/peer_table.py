"""PyTorch in the table: its best beside the best of ours, of all copies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from benchmarks.regret.products import best
from ppl.choosing.tune import MAX_COPIES

MOST = 16
"""Particles at most, as ours."""

MANY = 256
"""What PyTorch is measured with, too, where its steps are mostly overhead."""


class Ratio(NamedTuple):
    """PyTorch's best variance × seconds over ours; of seconds alone where both are exact."""

    value: float
    label: str
    particles: int
    exact: bool


def differs(record: Mapping[str, Any]) -> bool:
    """Whether PyTorch's program is not the same graph: a mean is further from ours than chance explains."""
    return any(not apart <= 1.0 for apart in record["torch"]["apart"].values())


def ratio(record: Mapping[str, Any], particles: int = MOST) -> Ratio | None:
    """The best of PyTorch's with at most so many particles; None where it was not measured or is another graph."""
    if "torch" not in record or differs(record):
        return None
    rows = [
        (v * s, s, label, int(k))
        for label, found in record["torch"]["estimators"].items()
        for k, (v, _, s) in found.items()
        if int(k) <= particles
    ]
    product, seconds, label, count = min(rows)
    ours = best(record, MAX_COPIES)
    if ours.product == 0:
        exact = product == 0
        return Ratio(seconds / ours.seconds if exact else float("inf"), label, count, exact)
    return Ratio(product / ours.product, label, count, False)


def cell(record: Mapping[str, Any]) -> str:
    """What the table says of a graph."""
    found = ratio(record)
    if found is None:
        return "differs" if "torch" in record else "-"
    kind = "exact, time only" if found.exact else f"{found.label}, {found.particles}"
    return f"**{found.value:.3g}** ({kind})"


def lines(records: Mapping[str, Any]) -> list[str]:
    """All graphs in a few lines; none where PyTorch was not measured."""
    found = [pair for r in records.values() if (pair := ratio(r))]
    if not found:
        return []
    many = [pair.value for r in records.values() if (pair := ratio(r, MANY))]
    said = [_line(f"PyTorch, at most {MOST} particles", [pair.value for pair in found])]
    said += [_line(f"PyTorch, at most {MANY} particles where its steps are short (ours: {MOST})", many)]
    return ["", "| variance × seconds over the best of ours | graphs | median | range | behind an exact one of ours |",
            "|---|---|---|---|---|", *said, "", *_other(records)]  # fmt: skip


def _line(title: str, values: list[float]) -> str:
    finite = [v for v in values if np.isfinite(v)]
    spread = f"{min(finite):.3g} to {max(finite):.3g}" if finite else "-"
    return f"| {title} | {len(values)} | {np.median(values):.3g} | {spread} | {len(values) - len(finite)} |"


def _other(records: Mapping[str, Any]) -> list[str]:
    """Graphs that are not the same ones, and the time that measuring took."""
    wrong = [r["title"] for r in records.values() if "torch" in r and differs(r)]
    seconds = sum(r["torch"]["seconds"] for r in records.values() if "torch" in r)
    said = [f"PyTorch's figures took {seconds / 60:.1f} minutes."]
    return [*said, *([f"Not the same gradient, and left out: {'; '.join(wrong)}."] if wrong else [])]
