"""Batches that have been read ahead and are taken in one call of compiled code: those of the same sizes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from ppl.training.batches import Batch
from ppl.training.live import Steps


def alike(first: Batch, ahead: Sequence[Any]) -> list[Batch]:
    """The batches at the beginning of `ahead`, up to the end of a pass, whose sizes and scales are those of `first`."""
    found = []
    for batch in itertools.takewhile(lambda batch: batch is not None, ahead):
        if not _same(first, batch):
            break
        found.append(batch)
        if batch.last:
            break
    return found


def _same(a: Batch, b: Batch) -> bool:
    if a.bound is None or b.bound is None or a.size != b.size or (a.rows is None) != (b.rows is None):
        return False
    shapes = [x.shape for x in a.bound.arrays] == [x.shape for x in b.bound.arrays]
    return shapes and (a.bound.rows, a.bound.scales, a.bound.totals) == (b.bound.rows, b.bound.scales, b.bound.totals)


def together(group: Sequence[Batch], plate: str | None) -> Steps:
    """The steps on batches of the same sizes, whose rows `plate` opens."""
    bounds = [b.bound for b in group if b.bound is not None]
    first, others = bounds[0], tuple(bounds[1:])
    if plate is None:
        return Steps(first, None, 0, first.total, others=others)
    size = first.rows[plate]
    given = [np.arange(size) if b.rows is None else b.rows for b in group]
    return Steps(first, np.concatenate(given), size, first.total, True, others)
