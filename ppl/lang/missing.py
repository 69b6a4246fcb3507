"""Observations of which a mask drops entries: what they hold in costs, how they are redrawn, and who may read them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ppl.distributions.base import KEY, Distribution
from ppl.distributions.domain.conditions import unexpanded
from ppl.distributions.domain.support import Support
from ppl.errors import ModelError
from ppl.ir import ops
from ppl.ir.node import Node, topological
from ppl.lang.trace import Site, SiteKind, Trace, sample_node

# What fills masked-out entries of an observation: inside the support, and finite under every log-density.
FILLERS = {Support.POSITIVE: 1.0, Support.UNIT_INTERVAL: 0.5}


def fill(site: Site, observed: Node) -> None:
    """Give a masked site its value: entries that do not count are a filler in costs, and draws in samples."""
    dist, mask = site.dist, site.mask
    assert dist is not None and mask is not None
    unit = ops.reshape(mask, (*dist.batch_of_units, *(1,) * dist.unit_rank))
    site.node = ops.mark(ops.where(unit, observed, _filler(dist)), _label(site))
    site.redrawn = ops.where(unit, observed, sample_node(site, site.axes))


def _label(site: Site) -> str:
    """The name by which the value of a masked site is known in the graph."""
    return f"{site.name} where observed"


def _filler(dist: Distribution) -> Node:
    """A value of the support for entries that do not count."""
    if dist.support is Support.INTERVAL:
        if KEY in dist.uniforms():
            raise ModelError(f"{dist!r}: obs_mask needs a value of the support, which is not known here")
        middle = [ops.const(np.full(shape, 0.5)) for shape in dist.uniforms() if shape is not KEY]
        return ops.stop(dist.draw(*middle), "formula")  # counts in no cost: neither slope nor dependence
    if dist.support in (Support.SIMPLEX, Support.ONE_HOT):
        size = dist.event_shape[-1]
        return ops.const(np.full(size, 1.0 / size) if dist.support is Support.SIMPLEX else np.eye(size)[0])
    return ops.const(FILLERS.get(dist.support, 0.0), dist.dtype)


def refuse_missing(trace: Trace, nodes: Sequence[Node], what: str, line: str, mask: Node | None = None) -> None:
    """Raise a ModelError where `nodes` are computed from an observation that may be missing.

    Its filler would count as data there. Who drops the same rows (`mask`) may read it.
    """
    masked = {_label(s): s for s in trace.sites.values() if s.kind is SiteKind.OBSERVED and s.mask is not None}
    if not masked:
        return
    for node in topological(list(nodes)):
        site = masked.get(node.attrs["name"]) if node.op == "mark" and isinstance(node.attrs["name"], str) else None
        if site is not None and not _same_rows(site.mask, mask):
            raise ModelError(
                f"{what} depends on the observation {site.name!r}, of which obs_mask drops entries: a missing entry "
                f"has no value to compute with. Make it a latent node, or give {what} the same mask of whole rows\n"
                f"  observed at {site.where}\n  at {line}"
            )


def _same_rows(first: Node | None, second: Node | None) -> bool:
    """Whether two masks are one truth value per row, and the same."""
    if first is None or second is None:
        return False
    a, b = unexpanded(first), unexpanded(second)
    return a is b and a.type.shape == ()
