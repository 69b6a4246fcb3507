"""`ppl.condition` and `ppl.do`: a model some of whose sites are given values."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ppl.arguments import array, mapping, shown
from ppl.errors import ModelError, ShapeError
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.lang.context import Context, GivenValue, require_context
from ppl.lang.loops import base_name
from ppl.lang.model import Model
from ppl.lang.trace import Site, SiteKind


class Intervened(Model):
    """A model that runs another one with values given to some of its sites."""

    def __init__(self, base: Model, what: str, values: Mapping[str, np.ndarray]):
        super().__init__(_with_given_values(base, what, values), base.static)
        self.base, self.what, self.values = base, what, dict(values)

    def bind(self, **static: Any) -> Intervened:
        """The model with keyword-only arguments set."""
        return Intervened(self.base.bind(**static), self.what, self.values)

    def __repr__(self) -> str:
        return f"{self.what}({self.base!r}, {', '.join(self.values)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Intervened, (self.base, self.what, self.values)


def condition(model: Model, values: Mapping[str, Any]) -> Model:
    """The model with latents observed: their densities stay, at these values.

    Parameters
    ----------
    values : by name of a site (scopes included), a number or array of the site's event shape, the same in all rows of
        plates and steps of loops; or of shape (*plates, *times, *event), where no plate has a run-time number of rows.

    Returns
    -------
    Model
        It is used as any other. A guide of it does not sample these sites. `program.predict` redraws them as it redraws
        all observations; `ppl.do` holds a site at its value there, too.

    Raises
    ------
    ModelError
        No site has such a name, it is observed already, or the value is of the wrong kind; when it is traced.
    ShapeError
        A value has another shape.
    DataError
        A value lies outside the support.
    """
    return _intervene("condition", model, values)


def do(model: Model, values: Mapping[str, Any]) -> Model:
    """The model with sites replaced by values and cut from what they depend on: no density of theirs counts.

    Parameters
    ----------
    values : as for `ppl.condition`. Observed sites can be replaced, too; nothing is observed there then.

    Raises
    ------
    ModelError
        No site has such a name, or the value is of the wrong kind; when it is traced.
    ShapeError
        A value has another shape.

    References
    ----------
    Pearl, Causality, 2009.
    """
    return _intervene("do", model, values)


def _intervene(what: str, model: Any, values: Any) -> Model:
    if not isinstance(model, Model):
        raise ModelError(f"{what}: the model is a function decorated with @ppl.model, not {shown(model)}")
    given = mapping(f"{what}: values", values, "numbers or arrays by the name of a site", ModelError)
    found = {str(name): array(f"{what}: the value of '{name}'", value, ModelError) for name, value in given.items()}
    return Intervened(model, what, found)


def _with_given_values(base: Model, what: str, values: Mapping[str, np.ndarray]) -> Callable[..., Any]:
    """The function of a model, run with `values` given to its sites."""

    @functools.wraps(base.function)
    def function(*args: Any, **static: Any) -> Any:
        context = require_context(f"ppl.{what}")
        full = {"/".join((*context.scopes, name)): GivenValue(what, value) for name, value in values.items()}
        before = context.given
        twice = next((name for name in full if name in before), None)
        if twice is not None:
            raise ModelError(
                f"{before[twice].what}: '{twice}' of model '{base.name}' is given a value already by {what}"
            )
        context.given = {**before, **full}
        try:
            made = base.function(*args, **static)
        finally:
            context.given = before
        _require_known_sites(context, base, what, full)
        return made

    return function


def _require_known_sites(context: Context, base: Model, what: str, given: Mapping[str, GivenValue]) -> None:
    sites = context.trace.sites
    known = {base_name(name): None for name in (*sites, *context.trace.scored)}
    unknown = [name for name in given if name not in known]
    if unknown:
        listed = ", ".join(known) or "none"
        raise ModelError(f"{what}: model '{base.name}' has no site named {unknown}; it has: {listed}")


def value_given_to_site(context: Context, site: Site, given: GivenValue) -> Node:
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


def replace_site(context: Context, site: Site, given: GivenValue) -> Node:
    """The value that `ppl.do` gives to a site, which is no longer random."""
    assert site.dist is not None
    node, whole = value_given_to_site(context, site, given), site.dist.dtype == "int"
    if whole and not np.array_equal(given.value, np.floor(given.value)):
        raise ModelError(
            f"do: '{site.name}' is a {type(site.dist).__name__} of integers, its value {given.value}\n  at {site.where}"
        )
    site.node, site.kind, site.dist = ops.cast(node, site.dist.dtype), SiteKind.DETERMINISTIC, None
    context.trace.sites[site.name] = site
    return site.node
