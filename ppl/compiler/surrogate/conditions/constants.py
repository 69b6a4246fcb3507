"""Conditions on constants alone, in the program's precision.

Constants are folded in float64, where a guard of the loss (`range_guards`) would hold although draws, which are
computed in the program's precision, underflow. So these conditions are evaluated as they stand, before anything is
folded.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ppl.compiler.surrogate.conditions.range_guards import parameter_conditions
from ppl.compiler.surrogate.conditions.uses import allowed, use_conditions
from ppl.distributions.domain.conditions import Condition
from ppl.errors import ParameterError
from ppl.ir.node import Node, topological
from ppl.ir.reference.interpret import Env, evaluate
from ppl.lang.trace import Site, SiteKind, Trace


def check_constants(trace: Trace, dtype: np.dtype) -> None:
    """Raise a ParameterError for the first condition that constants fail in `dtype`; after `find_guards`."""
    for site, condition in _listed(trace):
        good = allowed(site, condition)
        if condition.proved or good.type.axes or not _constant(good):
            continue
        with np.errstate(all="ignore"):
            truth, value = evaluate([good, condition.value], Env(dtype=dtype.type))
        if not truth.all():
            at = tuple(int(i) for i in np.argwhere(~np.broadcast_to(truth, good.type.shape))[0])
            shown = np.broadcast_to(value, np.broadcast_shapes(value.shape, truth.shape))[at]
            owner = "" if site.dist is None else f" of {type(site.dist).__name__}"
            node = "" if site.kind is SiteKind.DETERMINISTIC else f"node '{site.name}': "
            text = f"{node}{condition.name}{owner} must be {condition.wanted}, not {shown} (in {dtype})"
            raise ParameterError(f"{text}\n  at {site.where}", site.name, condition.name)


def _listed(trace: Trace) -> Iterator[tuple[Site, Condition]]:
    for site, condition in parameter_conditions(trace):
        drawn = site.kind is SiteKind.RANDOM or site.mask is not None
        if drawn or not condition.draws:
            yield site, condition
    for use, site, condition in use_conditions(trace):
        if use.costs or use.sites:
            yield site, condition


def _constant(node: Node) -> bool:
    return all((n.args and n.op != "sample") or n.op == "const" for n in topological([node]))
