"""Named nodes of a model: `ppl.sample` (random or observed), `ppl.cost`, `ppl.factor`, `ppl.deterministic`; and
`ppl.stop_gradient`.

An observation is in its distribution's dtype and inside its support; a mask says which of its units count. Masked
entries hold a filler value in costs and are drawn in samples, and no other node may read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ppl.arguments import shown
from ppl.distributions.base import KEY, Distribution
from ppl.distributions.constraints import without_expand
from ppl.distributions.observable import observable_set
from ppl.distributions.support import Support
from ppl.errors import DataError, ModelError, ShapeError
from ppl.ir import ops
from ppl.ir.node import Node, topological
from ppl.ir.traversal import view_of_leaf
from ppl.lang.context import Context, require_context, require_in_scope, require_open_plates
from ppl.lang.interventions import replace_site, value_given_to_site
from ppl.lang.loops import base_name, move_to_loop
from ppl.lang.source import user_line
from ppl.lang.trace import Factor, Site, SiteKind, Trace, cost_per_step, sample_node
from ppl.lang.value import Value, lift
from ppl.names import keywords

# What fills masked-out entries of an observation: inside the support, and finite under every log-density.
FILLERS = {Support.POSITIVE: 1.0, Support.UNIT_INTERVAL: 0.5}


def fill_masked(site: Site, observed: Node) -> None:
    """Give a masked site its value: entries that do not count are a filler in costs, and draws in samples."""
    dist, mask = site.dist, site.mask
    assert dist is not None and mask is not None
    unit = ops.reshape(mask, (*dist.batch_of_units, *(1,) * dist.unit_rank))
    site.node = ops.mark(ops.where(unit, observed, _filler_value(dist)), _masked_label(site))
    site.redrawn = ops.where(unit, observed, sample_node(site, site.axes))


def mark_returned_value(site: Site) -> Node:
    """What `ppl.sample` returns for an observed site: its value, marked so that a draw can be put in its place."""
    assert site.node is not None
    site.fresh = sample_node(site, site.axes)
    site.returned = ops.mark(site.node, f"{site.name} observed") if site.mask is None else site.node
    return site.returned


def _masked_label(site: Site) -> str:
    """The name by which the value of a masked site is known in the graph."""
    return f"{site.name} where observed"


def _filler_value(dist: Distribution) -> Node:
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
    masked = {_masked_label(s): s for s in trace.sites.values() if s.mask is not None and s.kind is SiteKind.OBSERVED}
    if not masked:
        return
    for node in topological(list(nodes)):
        site = masked.get(node.attrs["name"]) if node.op == "mark" and isinstance(node.attrs["name"], str) else None
        if site is not None and not _is_same_row_mask(site.mask, mask):
            raise ModelError(
                f"{what} depends on the observation {site.name!r}, of which obs_mask drops entries: a missing entry "
                f"has no value to compute with. Make it a latent node, or give {what} the same mask of whole rows\n"
                f"  observed at {site.where}\n  at {line}"
            )


def _is_same_row_mask(first: Node | None, second: Node | None) -> bool:
    """Whether two masks are one truth value per row, and the same."""
    if first is None or second is None:
        return False
    a, b = without_expand(first), without_expand(second)
    return a is b and a.type.shape == ()


def check_constant_observation(site: Site) -> None:
    """Raise if a constant observation lies outside the support; entries that are masked out may."""
    dist, found = site.dist, view_of_leaf(site.observed, "const") if site.observed is not None else None
    if found is None or dist is None or dist.event_mask is not None:
        return
    mask = None if site.mask is None else view_of_leaf(site.mask, "const")
    if site.mask is not None and (mask is None or dist.unit_rank):
        return
    allowed, value = observable_set(dist), found.of(found.leaf.attrs["value"].value)
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


def cast_observation(site: Site, node: Node) -> Node:
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
    require_in_scope(node, f"node {site.name!r}: obs_mask")
    if node.type.shape not in ((), units):
        raise ShapeError(
            f"node {site.name!r}: obs_mask has shape {node.type.shape}, the units "
            f"{units}{_vector_unit_hint(site.dist)}\n"
            f"  at {site.where}"
        )
    constant = view_of_leaf(node, "const")
    if constant is not None and not np.isin(constant.leaf.attrs["value"].value, (0, 1)).all():
        raise ModelError(
            f"node {site.name!r}: obs_mask holds truth values, True or False (1 or 0), not "
            f"{shown(constant.leaf.attrs['value'].value)}\n  at {site.where}"
        )
    return ops.expand(ops.cast(node, "bool"), site.axes, units)


def _vector_unit_hint(dist: Distribution) -> str:
    """Words for messages about a distribution whose units are vectors."""
    return f" (a unit of {type(dist).__name__} is seen or missing as a whole)" if dist.unit_rank else ""


@keywords
def sample(
    name: str,
    dist: Distribution,
    obs: Any = None,
    obs_mask: Any = None,
    estimator: Any = None,
    aux: bool = False,
) -> Value:
    """Declare a random node, or an observed one.

    Parameters
    ----------
    name : unique among nodes; scopes go before it.
    dist : its distribution; its parameters may vary over open plates only.
    obs : observed value of exactly the distribution's event shape.
    obs_mask : truth values over the distribution's units (one for a whole vector of a multivariate law); entries that
        are False do not count, may be NaN, and are drawn from `dist` by `program.sample`. No other node or cost may
        depend on them.
    estimator : pins the gradient estimator.
    aux : a guide's node that its model does not have.

    Returns
    -------
    Value of the node (of `obs`, where it is given).

    Raises
    ------
    ModelError
        Duplicate name, a plate used outside, or an observation of the wrong kind.
    DataError
        A constant observation has NaN and no mask.
    ShapeError
        `obs` or `obs_mask` does not have the event shape, the event shape has a 0, or a guide's node differs from the
        model's.
    """
    return declare_random(name, dist, obs, obs_mask, estimator, aux)


def declare_random(
    name: str,
    dist: Distribution,
    obs: Any = None,
    obs_mask: Any = None,
    estimator: Any = None,
    aux: bool = False,
    unit_noise: str = "logistic",
) -> Value:
    """`sample`, with the noise that a layer of binary units stands for."""
    context = require_context("ppl.sample")
    full, line = context.node_name(name), user_line()
    if not isinstance(dist, Distribution):
        raise ModelError(f"node {full!r}: the second argument is a distribution, not {shown(dist)}\n  at {line}")
    if 0 in dist.event_shape:
        raise ShapeError(
            f"node {full!r} has no units: its distribution has the event shape {dist.event_shape}\n  at {line}"
        )
    if dist.event_mask is not None:
        require_open_plates(dist.event_mask.type.axes, f"node {full!r}: the mask")
    for parameter, node in dist.params.items():
        require_in_scope(node, f"node {full!r}: parameter {parameter!r}")
    site = Site(full, SiteKind.RANDOM, context.axes, line, dist, None, None, estimator, aux, unit_noise)
    site.scan, site.times, site.active = context.scan, context.times, context.active
    given = context.given.get(base_name(full))
    if given is not None and given.what == "do":
        require_free_name(context, full, line)
        return Value(replace_site(context, site, given))
    if given is not None and obs is not None:
        raise ModelError(f"condition: node {full!r} is observed already\n  at {line}")
    if given is not None:
        return _declare_observed(context, site, Value(value_given_to_site(context, site, given)), None)
    if obs is not None:
        return _declare_observed(context, site, obs, obs_mask)
    if obs_mask is not None:
        raise ModelError(f"node {full!r}: obs_mask without obs\n  at {line}")
    refuse_missing(context.trace, tuple(dist.params.values()), f"node {full!r}", line)
    guide = context.substitute.get(full) or context.substitute.get(base_name(full))
    if guide is not None and guide.kind is SiteKind.RANDOM:
        return _take_guide_value(context, site, guide)
    require_free_name(context, full, line)
    site.node = sample_node(site, context.axes)
    context.trace.sites[full] = site
    return Value(site.node)


def require_free_name(context: Context, name: str, line: str) -> None:
    """Raise if a node called `name` exists."""
    trace = context.trace
    groups = (trace.sites, trace.scored, trace.costs, trace.factors, trace.carried)
    known = next((g[name] for g in groups if name in g), None)
    where = known.where if known is not None else trace.rowkeys.get(name)
    if where is not None:
        raise ModelError(f"two nodes are called {name!r}\n  first at {where}\n  again at {line}")


def _take_guide_value(context: Context, site: Site, guide: Site) -> Value:
    """The model's latent takes the guide's value."""
    assert site.dist is not None and guide.dist is not None and guide.node is not None
    lines = f"\n  guide at {guide.where}\n  model at {site.where}"
    if site.name in context.trace.scored:
        raise ModelError(
            f"two nodes are called {site.name!r}\n  first at {context.trace.scored[site.name].where}\n"
            f"  again at {site.where}"
        )
    if set(guide.axes) != set(site.axes):
        plates = [", ".join(a.name for a in axes) or "none" for axes in (guide.axes, site.axes)]
        raise ShapeError(f"node {site.name!r} lies in plates {plates[0]} in the guide, {plates[1]} in the model{lines}")
    node = _guide_value_in_step(context, site, guide)
    if node.type.shape != site.dist.event_shape or guide.dist.dtype != site.dist.dtype:
        raise ShapeError(
            f"node {site.name!r} is {guide.dist.dtype} of event shape {guide.dist.event_shape} in the guide, "
            f"{site.dist.dtype} of {site.dist.event_shape} in the model{lines}"
        )
    site.kind, site.node = SiteKind.SCORED, node
    context.trace.scored[site.name] = site
    return Value(node)


def _guide_value_in_step(context: Context, site: Site, guide: Site) -> Node:
    """The guide's value in the step of the model's loops: of its own loops, or of leading axes of its event."""
    assert guide.node is not None
    theirs = [s.length for s in guide.scan.chain] if guide.scan is not None else []
    ours = [s.length for s in site.scan.chain] if site.scan is not None else []
    if theirs and theirs != ours:
        raise ShapeError(
            f"node {site.name!r} lies in loops of {theirs} steps in the guide, of {ours or 'none'} in the model"
            f"\n  guide at {guide.where}\n  model at {site.where}"
        )
    if guide.scan is not None or guide.name != base_name(guide.name) or not context.loops:
        return move_to_loop(guide.node, guide.scan, site.scan)
    node = guide.node
    for loop in context.loops:
        if node.type.shape[:1] != (loop.length,):
            raise ShapeError(
                f"node {site.name!r} lies in a loop of {loop.length} steps in the model and has one value of shape "
                f"{guide.node.type.shape} in the guide: draw it in such a loop, or all steps at once, with a leading "
                f"axis of length {loop.length}\n  guide at {guide.where}\n  model at {site.where}"
            )
        node = loop.slice(node)
    return node


def _declare_observed(context: Context, site: Site, obs: Any, obs_mask: Any) -> Value:
    assert site.dist is not None
    name, line, dist = site.name, site.where, site.dist
    if not context.allow_obs:
        raise ModelError(f"node {name!r} is observed, but a guide has no observations\n  at {line}")
    if name in context.substitute and context.substitute[name].kind is SiteKind.RANDOM:
        raise ModelError(
            f"node {name!r} is observed in the model and sampled in the guide\n  guide at "
            f"{context.substitute[name].where}\n  model at {line}"
        )
    require_free_name(context, name, line)
    node = require_in_scope(
        cast_observation(site, lift(f"node {name!r}: obs", ops.as_node, obs).node), f"node {name!r}: obs"
    )
    if node.type.shape != dist.event_shape:
        whole = getattr(obs, "name", None) in context.trace.arguments and not node.type.axes
        hint = f"; open a plate over the rows of {obs.name!r} to observe them one by one" if whole else ""
        raise ShapeError(
            f"node {name!r}: obs has event shape {node.type.shape}, the distribution {dist.event_shape}{hint}\n"
            f"  at {line}"
        )
    node = ops.expand(node, context.axes)
    site.kind, site.node, site.observed = SiteKind.OBSERVED, node, node
    if obs_mask is not None:
        site.mask = unit_mask(site, obs_mask)
        fill_masked(site, node)
    check_constant_observation(site)
    refuse_missing(context.trace, tuple(dist.params.values()), f"node {name!r}", line, site.mask)
    context.trace.sites[name] = site
    return Value(mark_returned_value(site))


@keywords
def cost(name: str, value: Any) -> None:
    """Declare a cost node: a scalar per row of the open plates. The objective is the expectation of the sum
    of costs.

    Raises
    ------
    ModelError
        Duplicate name, or a value of a plate that is not open.
    ShapeError
        `value` has event axes.
    """
    context = require_context("ppl.cost")
    full, line = context.node_name(name), user_line()
    node = _scalar_per_row(context, "cost", full, value, line)
    context.trace.costs[full] = cost_per_step(full, node, line, context.axes, context.scan, context.active)


@keywords
def factor(name: str, log_weight: Any) -> None:
    """Multiply the model's density by exp(log_weight): a scalar per row of the open plates.

    A model with factors may be unnormalised. `ppl.nce` fits such a model; in `ppl.elbo` and `ppl.likelihood` the
    factor is one more term of the log-density, taken as it is.

    Raises
    ------
    ModelError
        Duplicate name, a value of a plate that is not open, or a factor in a guide or in a noise distribution.
    ShapeError
        `log_weight` has event axes.
    """
    context = require_context("ppl.factor")
    full, line = context.node_name(name), user_line()
    if not context.allow_obs:
        raise ModelError(f"factor {full!r}: a guide or a noise distribution has no factors, only nodes\n  at {line}")
    node = _scalar_per_row(context, "factor", full, log_weight, line)
    context.trace.factors[full] = Factor(full, node, line, context.axes, context.scan, context.active)


def _scalar_per_row(context: Context, what: str, name: str, value: Any, line: str) -> Node:
    """The value of cost or factor `name`: one number per row of the open plates."""
    require_free_name(context, name, line)
    node = require_in_scope(lift(f"{what} {name!r}", ops.as_node, value).node, f"{what} {name!r}: the value")
    refuse_missing(context.trace, [node], f"{what} {name!r}", line)
    if node.type.shape != ():
        raise ShapeError(
            f"{what} {name!r} must be a scalar per row, its event shape is {node.type.shape}; use np.sum or "
            f"open a plate\n  at {line}"
        )
    return ops.expand(ops.cast(node, "float"), context.axes)


@keywords
def deterministic(name: str, value: Any) -> Value:
    """Name a value, so that `program.sample` returns it.

    Raises
    ------
    ModelError
        Duplicate name, or a value of a plate that is not open.
    """
    context = require_context("ppl.deterministic")
    full, line = context.node_name(name), user_line()
    require_free_name(context, full, line)
    node = require_in_scope(lift(f"node {full!r}", ops.as_node, value).node, f"node {full!r}: the value")
    node = ops.expand(node, context.axes)
    site = Site(full, SiteKind.DETERMINISTIC, context.axes, line, node=node)
    site.scan, site.times, site.active = context.scan, context.times, context.active
    context.trace.sites[full] = site
    return Value(node)


def stop_gradient(value: Any) -> Value:
    """`value` as a constant: no derivative passes, and no cost counts as downstream through it.

    If a cost contains a random node both directly and stopped, the gradient is that of the direct occurrences alone.
    ppl then splits the cost into terms that contain the node in one way each. If that is impossible, as in z *
    stop_gradient(z), only `Pathwise` and `Implicit` are admitted for the node.
    """
    return lift("stop_gradient", ops.stop, value, tag="user")
