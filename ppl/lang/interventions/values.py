"""Values that are given to a site, in its rows and steps."""

from __future__ import annotations

import numpy as np

from ppl.errors import ModelError, ShapeError
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.lang.context import Context, Given
from ppl.lang.trace import Site, SiteKind


def given_to(context: Context, site: Site, given: Given) -> Node:
    """The value of a site in a row of its plates and a step of its loops."""
    assert site.dist is not None
    value, event = given.value, site.dist.event_shape
    plates, times = [a.size for a in context.plates], [loop.length for loop in context.loops]
    node = ops.const(value)
    if value.shape == event:
        return ops.expand(node, context.axes)
    if None in plates and value.ndim > len(event) + len(times):
        plate = next(a.name for a in context.plates if a.size is None)
        raise ModelError(
            f"{given.what}: '{site.name}' stands in plate '{plate}', whose rows are known at run time only, and its "
            f"value has shape {value.shape}: give one value of shape {event} for all rows, or observe a data argument "
            f"in the model\n  at {site.where}"
        )
    whole = (*plates, *times, *event)
    if value.shape == whole:
        for axis in context.plates:
            node = ops.distribute(node, axis)
    elif value.shape != (*times, *event):
        shapes = dict.fromkeys((event, (*times, *event), whole))
        raise ShapeError(
            f"{given.what}: the value of '{site.name}' has shape {value.shape}; it can have "
            f"{' or '.join(str(s).replace('None', 'rows') for s in shapes)}\n  at {site.where}"
        )
    for loop in context.loops:
        node = loop.slice(node)
    return ops.expand(node, context.axes)


def replaced(context: Context, site: Site, given: Given) -> Node:
    """The value that `ppl.do` gives to a site, which is no longer random."""
    assert site.dist is not None
    node, whole = given_to(context, site, given), site.dist.dtype == "int"
    if whole and not np.array_equal(given.value, np.floor(given.value)):
        raise ModelError(
            f"do: '{site.name}' is a {type(site.dist).__name__} of integers, its value {given.value}\n  at {site.where}"
        )
    site.node, site.kind, site.dist = ops.cast(node, site.dist.dtype), SiteKind.DETERMINISTIC, None
    context.trace.sites[site.name] = site
    return site.node
