"""Named nodes of a model: `ppl.sample`, `ppl.cost`, `ppl.factor`, `ppl.deterministic`, and `ppl.stop_gradient`."""

from __future__ import annotations

from typing import Any

from ppl.arguments import shown
from ppl.distributions.base import Distribution
from ppl.errors import ModelError, ShapeError
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.lang.context import Context, check_open, check_plates, require
from ppl.lang.interventions.values import given_to, replaced
from ppl.lang.observations import cast_obs, check_constant, fill, refuse_missing, returned, unit_mask
from ppl.lang.source import user_line
from ppl.lang.time.costs import step_cost
from ppl.lang.time.record import base_name, brought
from ppl.lang.trace import Factor, Site, SiteKind, sample_node
from ppl.lang.value import Value, lift
from ppl.names import keywords


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
    return declare(name, dist, obs, obs_mask, estimator, aux)


def declare(
    name: str,
    dist: Distribution,
    obs: Any = None,
    obs_mask: Any = None,
    estimator: Any = None,
    aux: bool = False,
    unit_noise: str = "logistic",
) -> Value:
    """`sample`, with the noise that a layer of binary units stands for."""
    context = require("ppl.sample")
    full, line = context.node_name(name), user_line()
    if not isinstance(dist, Distribution):
        raise ModelError(f"node {full!r}: the second argument is a distribution, not {shown(dist)}\n  at {line}")
    if 0 in dist.event_shape:
        raise ShapeError(
            f"node {full!r} has no units: its distribution has the event shape {dist.event_shape}\n  at {line}"
        )
    if dist.event_mask is not None:
        check_open(dist.event_mask.type.axes, f"node {full!r}: the mask")
    for parameter, node in dist.params.items():
        check_plates(node, f"node {full!r}: parameter {parameter!r}")
    site = Site(full, SiteKind.RANDOM, context.axes, line, dist, None, None, estimator, aux, unit_noise)
    site.scan, site.times, site.active = context.scan, context.times, context.active
    given = context.given.get(base_name(full))
    if given is not None and given.what == "do":
        claim(context, full, line)
        return Value(replaced(context, site, given))
    if given is not None and obs is not None:
        raise ModelError(f"condition: node {full!r} is observed already\n  at {line}")
    if given is not None:
        return _observed(context, site, Value(given_to(context, site, given)), None)
    if obs is not None:
        return _observed(context, site, obs, obs_mask)
    if obs_mask is not None:
        raise ModelError(f"node {full!r}: obs_mask without obs\n  at {line}")
    refuse_missing(context.trace, tuple(dist.params.values()), f"node {full!r}", line)
    guide = context.substitute.get(full) or context.substitute.get(base_name(full))
    if guide is not None and guide.kind is SiteKind.RANDOM:
        return _scored(context, site, guide)
    claim(context, full, line)
    site.node = sample_node(site, context.axes)
    context.trace.sites[full] = site
    return Value(site.node)


def claim(context: Context, name: str, line: str) -> None:
    """Raise if a node called `name` exists."""
    trace = context.trace
    groups = (trace.sites, trace.scored, trace.costs, trace.factors, trace.carried)
    known = next((g[name] for g in groups if name in g), None)
    where = known.where if known is not None else trace.rowkeys.get(name)
    if where is not None:
        raise ModelError(f"two nodes are called {name!r}\n  first at {where}\n  again at {line}")


def _scored(context: Context, site: Site, guide: Site) -> Value:
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
    node = _in_step(context, site, guide)
    if node.type.shape != site.dist.event_shape or guide.dist.dtype != site.dist.dtype:
        raise ShapeError(
            f"node {site.name!r} is {guide.dist.dtype} of event shape {guide.dist.event_shape} in the guide, "
            f"{site.dist.dtype} of {site.dist.event_shape} in the model{lines}"
        )
    site.kind, site.node = SiteKind.SCORED, node
    context.trace.scored[site.name] = site
    return Value(node)


def _in_step(context: Context, site: Site, guide: Site) -> Node:
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
        return brought(guide.node, guide.scan, site.scan)
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


def _observed(context: Context, site: Site, obs: Any, obs_mask: Any) -> Value:
    assert site.dist is not None
    name, line, dist = site.name, site.where, site.dist
    if not context.allow_obs:
        raise ModelError(f"node {name!r} is observed, but a guide has no observations\n  at {line}")
    if name in context.substitute and context.substitute[name].kind is SiteKind.RANDOM:
        raise ModelError(
            f"node {name!r} is observed in the model and sampled in the guide\n  guide at "
            f"{context.substitute[name].where}\n  model at {line}"
        )
    claim(context, name, line)
    node = check_plates(cast_obs(site, lift(f"node {name!r}: obs", ops.as_node, obs).node), f"node {name!r}: obs")
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
        fill(site, node)
    check_constant(site)
    refuse_missing(context.trace, tuple(dist.params.values()), f"node {name!r}", line, site.mask)
    context.trace.sites[name] = site
    return Value(returned(site))


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
    context = require("ppl.cost")
    full, line = context.node_name(name), user_line()
    node = _scalar(context, "cost", full, value, line)
    context.trace.costs[full] = step_cost(full, node, line, context.axes, context.scan, context.active)


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
    context = require("ppl.factor")
    full, line = context.node_name(name), user_line()
    if not context.allow_obs:
        raise ModelError(f"factor {full!r}: a guide or a noise distribution has no factors, only nodes\n  at {line}")
    node = _scalar(context, "factor", full, log_weight, line)
    context.trace.factors[full] = Factor(full, node, line, context.axes, context.scan, context.active)


def _scalar(context: Context, what: str, name: str, value: Any, line: str) -> Node:
    """The value of cost or factor `name`: one number per row of the open plates."""
    claim(context, name, line)
    node = check_plates(lift(f"{what} {name!r}", ops.as_node, value).node, f"{what} {name!r}: the value")
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
    context = require("ppl.deterministic")
    full, line = context.node_name(name), user_line()
    claim(context, full, line)
    node = check_plates(lift(f"node {full!r}", ops.as_node, value).node, f"node {full!r}: the value")
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
