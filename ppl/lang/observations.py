"""What is observed: in the distribution's dtype, inside its support, and which units of it count.

Where a mask drops entries: what an observation holds in costs, how it is redrawn, and who may read it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ppl.arguments import shown
from ppl.distributions.base import KEY, Distribution
from ppl.distributions.domain.conditions import unexpanded
from ppl.distributions.domain.observable import observable
from ppl.distributions.domain.support import Support
from ppl.errors import DataError, ModelError, ShapeError
from ppl.ir import ops
from ppl.ir.node import Node, topological
from ppl.ir.seen import seen
from ppl.lang.context import check_plates
from ppl.lang.trace import Site, SiteKind, Trace, sample_node
from ppl.lang.value import lift

# What fills masked-out entries of an observation: inside the support, and finite under every log-density.
FILLERS = {Support.POSITIVE: 1.0, Support.UNIT_INTERVAL: 0.5}


def fill(site: Site, observed: Node) -> None:
    """Give a masked site its value: entries that do not count are a filler in costs, and draws in samples."""
    dist, mask = site.dist, site.mask
    assert dist is not None and mask is not None
    unit = ops.reshape(mask, (*dist.batch_of_units, *(1,) * dist.unit_rank))
    site.node = ops.mark(ops.where(unit, observed, _filler(dist)), _label(site))
    site.redrawn = ops.where(unit, observed, sample_node(site, site.axes))


def returned(site: Site) -> Node:
    """What `ppl.sample` returns for an observed site: its value, marked so that a draw can be put in its place."""
    assert site.node is not None
    site.fresh = sample_node(site, site.axes)
    site.returned = ops.mark(site.node, f"{site.name} observed") if site.mask is None else site.node
    return site.returned


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
    masked = {_label(s): s for s in trace.sites.values() if s.mask is not None and s.kind is SiteKind.OBSERVED}
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


def check_constant(site: Site) -> None:
    """Raise if a constant observation lies outside the support; entries that are masked out may."""
    dist, found = site.dist, seen(site.observed, "const") if site.observed is not None else None
    if found is None or dist is None or dist.event_mask is not None:
        return
    mask = None if site.mask is None else seen(site.mask, "const")
    if site.mask is not None and (mask is None or dist.unit_rank):
        return
    allowed, value = observable(dist), found.of(found.leaf.attrs["value"].value)
    wrong = allowed.wrong(value)
    if mask is not None:
        wrong = wrong & np.asarray(mask.of(mask.leaf.attrs["value"].value), bool)
    if wrong.any():
        wrong, value = np.broadcast_arrays(wrong, value)
        at = tuple(int(i) for i in np.argwhere(wrong)[0])
        hint = "; mask it with obs_mask" if np.isnan(value[at]) else ""
        place = f" at {at}" if at else ""
        raise DataError(
            f"node {site.name!r}: obs is {value[at]}{place}; what a {type(dist).__name__} observes must be "
            f"{allowed.wanted}{hint}\n  at {site.where}"
        )
    site.checked = True


def cast_obs(site: Site, node: Node) -> Node:
    """`node` in the distribution's dtype. Floats count as integers only where they are constant and whole."""
    assert site.dist is not None
    if site.dist.dtype == "int" and node.type.dtype == "float":
        value = node.attrs["value"].value if node.op == "const" else None
        if value is None or not (np.abs(value) < 2.0**63).all() or np.any(value != np.floor(value)):
            raise ModelError(
                f"node {site.name!r}: {type(site.dist).__name__} observes integers, obs is float; pass "
                f"integer data or use .astype(int)\n  at {site.where}"
            )
        return ops.const(value, "int")
    return ops.cast(node, site.dist.dtype)


def unit_mask(site: Site, obs_mask: Any) -> Node:
    """Which units of an observation count, over the plates of its site."""
    assert site.dist is not None
    units = site.dist.batch_of_units
    node = lift(f"node {site.name!r}: obs_mask", ops.as_node, obs_mask).node
    check_plates(node, f"node {site.name!r}: obs_mask")
    if node.type.shape not in ((), units):
        raise ShapeError(
            f"node {site.name!r}: obs_mask has shape {node.type.shape}, the units {units}{_vectors(site.dist)}\n"
            f"  at {site.where}"
        )
    constant = seen(node, "const")
    if constant is not None and not np.isin(constant.leaf.attrs["value"].value, (0, 1)).all():
        raise ModelError(
            f"node {site.name!r}: obs_mask holds truth values, True or False (1 or 0), not "
            f"{shown(constant.leaf.attrs['value'].value)}\n  at {site.where}"
        )
    return ops.expand(ops.cast(node, "bool"), site.axes, units)


def _vectors(dist: Distribution) -> str:
    """Words for messages about a distribution whose units are vectors."""
    return f" (a unit of {type(dist).__name__} is seen or missing as a whole)" if dist.unit_rank else ""
