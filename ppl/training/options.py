"""Checks of the options of `ppl.fit`, before anything is compiled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ppl.arguments import MANY, called, file_path, flag, integer, mapping, noise_seed, number, shown
from ppl.errors import OptionError
from ppl.runtime.compiled import require_state
from ppl.training.history.policy import Checkpoints
from ppl.training.tuned.choices import Choices


def check_options(given: Mapping[str, Any]) -> None:
    """Raise an OptionError that names the first option that is malformed; None is a default of all but the seed."""
    noise_seed("seed=", given["seed"])
    flag("progress=", given["progress"])
    for name, low in (("steps", 0), ("epochs", 0), ("batch_size", 1)):
        if given[name] is not None:
            integer(f"{name}=", given[name], low, MANY)
    if given["state"] is not None:
        require_state(given["state"], "state=")
    if given["callback"] is not None:
        called("callback=", given["callback"])
    if given["checkpoint"] is not None:
        _check_checkpoint(given["checkpoint"])
    _check_batches(given["batches"])
    if not (isinstance(given["tune"], (bool, np.bool_, Choices)) or given["tune"] is None):
        raise OptionError(
            f"tune= is True, False, None, or the choices of a run (fit.choices), not {shown(given['tune'])}"
        )
    integer("accumulate=", given["accumulate"], 1, MANY)
    if given["prefetch"] is not None:
        integer("prefetch=", given["prefetch"], 0, 1000)
    check_total(given["total_rows"])


def check_total(total: Any) -> None:
    """Raise unless a number of rows is positive and whole, or None, or a dict of such numbers by plate."""
    if total is None:
        return
    if isinstance(total, Mapping):
        for plate, rows in mapping("total_rows=", total).items():
            integer(f"total_rows={{{plate!r}: …}}", rows, 1, MANY)
        return
    integer("total_rows=", total, 1, MANY)


def check_hyper(hyper: Any, known: Mapping[str, float]) -> None:
    """Raise unless names are the program's and values are numbers or schedules."""
    if hyper is None:
        return
    unknown = sorted(set(mapping("hyper=", hyper, "numbers or schedules")) - set(known))
    if unknown:
        raise OptionError(f"hyper=: no hyper parameter named {unknown}; the program has {sorted(known)}")
    for name, value in hyper.items():
        if not callable(value):
            number(f"hyper {name!r}", value)


def _check_checkpoint(option: Any) -> None:
    if isinstance(option, Checkpoints):
        return
    pair = isinstance(option, (tuple, list))
    if pair and len(option) != 2:
        raise OptionError(f"checkpoint= must be a path, or (path, every), not {shown(option)}")
    file_path("checkpoint=: the path", option[0] if pair else option)
    if pair:
        integer("checkpoint=(path, every): every", option[1], 1, MANY)


def _check_batches(batches: Any) -> None:
    plain = isinstance(batches, (str, bytes, Mapping, np.ndarray))
    if batches is not None and (plain or not (callable(batches) or isinstance(batches, Iterable))):
        wanted = "an iterable of tuples of arrays, or a function that returns one"
        raise OptionError(f"batches= must be {wanted}, not {shown(batches)}")
