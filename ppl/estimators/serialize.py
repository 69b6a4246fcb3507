"""Estimators as plain JSON, so that a checkpoint keeps the choice that a state was trained with.

An estimator is `{"class": name, "options": {option: value}}` with every option, so that a later change of a default
does not change what was chosen; an option set at run time is `{"hyper": [name, default]}`, a tuple of estimators
`{"estimators": [...]}`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from ppl.errors import DataError, EstimatorError
from ppl.estimators.base import Estimator, Hyper


def to_json(estimators: Mapping[str, Estimator]) -> dict[str, Any]:
    """Node name → estimator as plain JSON.

    Raises
    ------
    DataError : an option is neither a number, a string, None nor a `Hyper`.
    """
    return {node: _pack_estimator(node, e) for node, e in estimators.items()}


def from_json(packed: Mapping[str, Any]) -> dict[str, Estimator]:
    """The inverse of `to_json`.

    Raises
    ------
    DataError : a class is not defined in this process, or does not have the options it had.
    """
    return {node: _unpack_estimator(node, given["class"], given["options"]) for node, given in packed.items()}


def _pack_estimator(node: str, e: Estimator) -> dict[str, Any]:
    options = {f.name: _pack_option(node, getattr(e, f.name), f"node '{node}', {e.label}: {f.name}") for f in fields(e)}
    return {"class": type(e).__name__, "options": options}


def _pack_option(node: str, value: Any, where: str) -> Any:
    if isinstance(value, Hyper):
        return {"hyper": list(value)}
    if isinstance(value, tuple) and all(isinstance(e, Estimator) for e in value):
        return {"estimators": [_pack_estimator(node, e) for e in value]}
    value = value.item() if hasattr(value, "item") else value
    if value is not None and not isinstance(value, (bool, int, float, str)):
        raise DataError(f"{where} is a {type(value).__name__}, which a checkpoint cannot store")
    return value


def _unpack_estimator(node: str, name: str, options: Mapping[str, Any]) -> Estimator:
    defined = sorted(_subclasses(Estimator), key=lambda kind: kind.__module__.startswith("ppl."))
    known = {kind.__name__: kind for kind in defined}  # of equal names, the package's
    if name not in known:
        raise DataError(
            f"node '{node}' was trained with the estimator '{name}', which is not defined here: import the module that "
            f"defines it first; known: {', '.join(sorted(known))}"
        )
    given = {k: _unpack_option(node, v) for k, v in options.items()}
    try:
        return known[name].from_options(**given)
    except (TypeError, EstimatorError) as error:
        raise DataError(f"node '{node}' was trained with {name} and options {given}: {error}") from error


def _unpack_option(node: str, option: Any) -> Any:
    if not isinstance(option, Mapping):
        return option
    if "hyper" in option:
        return Hyper(*option["hyper"])
    return tuple(_unpack_estimator(node, e["class"], e["options"]) for e in option["estimators"])


def _subclasses(kind: type[Estimator]) -> Iterator[type[Estimator]]:
    for sub in kind.__subclasses__():
        yield sub
        yield from _subclasses(sub)
