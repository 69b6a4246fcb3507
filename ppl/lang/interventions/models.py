"""`ppl.condition` and `ppl.do`: a model some of whose sites are given values."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ppl.arguments import array, mapping, shown
from ppl.errors import ModelError
from ppl.lang.context import Context, Given, require
from ppl.lang.model import Model
from ppl.lang.time.record import base_name


class Intervened(Model):
    """A model that runs another one with values given to some of its sites."""

    def __init__(self, base: Model, what: str, values: Mapping[str, np.ndarray]):
        super().__init__(_giving(base, what, values), base.static)
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
    return _intervened("condition", model, values)


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
    return _intervened("do", model, values)


def _intervened(what: str, model: Any, values: Any) -> Model:
    if not isinstance(model, Model):
        raise ModelError(f"{what}: the model is a function decorated with @ppl.model, not {shown(model)}")
    given = mapping(f"{what}: values", values, "numbers or arrays by the name of a site", ModelError)
    found = {str(name): array(f"{what}: the value of '{name}'", value, ModelError) for name, value in given.items()}
    return Intervened(model, what, found)


def _giving(base: Model, what: str, values: Mapping[str, np.ndarray]) -> Callable[..., Any]:
    """The function of a model, run with `values` given to its sites."""

    @functools.wraps(base.function)
    def function(*args: Any, **static: Any) -> Any:
        context = require(f"ppl.{what}")
        full = {"/".join((*context.scopes, name)): Given(what, value) for name, value in values.items()}
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
        _require_known(context, base, what, full)
        return made

    return function


def _require_known(context: Context, base: Model, what: str, given: Mapping[str, Given]) -> None:
    sites = context.trace.sites
    known = {base_name(name): None for name in (*sites, *context.trace.scored)}
    unknown = [name for name in given if name not in known]
    if unknown:
        listed = ", ".join(known) or "none"
        raise ModelError(f"{what}: model '{base.name}' has no site named {unknown}; it has: {listed}")
