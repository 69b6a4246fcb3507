"""Parameters of guides: of a latent in its plates, as an array, a table with a row per row of data, or encoded."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ppl.arguments import called, integer, mapping
from ppl.errors import ModelError, ShapeError
from ppl.inference.guides.latents import Latent
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.ir.types import Axis
from ppl.lang.context import require_context
from ppl.lang.params import param
from ppl.lang.plate import reopen_plates, row_index
from ppl.lang.trace import Trace
from ppl.lang.value import Value, as_value

GUIDE_PREFIX = "guide"

START_SCALE = 0.1
"""The standard deviation of the reals that a guide starts with."""


def param_name(latent: Latent, what: str) -> str:
    """Return the name of a parameter or node of the guide of a latent."""
    return f"{GUIDE_PREFIX}/{latent.name}/{what}"


def spread_over_plates(latent: Latent, node: Node) -> Node:
    """Return an array with leading dimensions for plates of fixed size, as a value in these plates."""
    for axis in latent.fixed:
        node = ops.distribute(node, axis)
    return node


class GuideParameters:
    """The parameters of a guide's latents in one trace: `rows` of the tables by plate, or an encoder of rows.

    `trace` is that of the model, `arguments` are its data arguments by name.
    """

    def __init__(self, rows: Mapping[str, int], encoder: Callable[..., Any] | None, trace: Trace):
        self.rows, self.encoder, self.trace = rows, encoder, trace
        self.arguments: dict[str, Any] = {}
        self.encoded: dict[tuple[Axis, ...], Mapping[str, Any]] = {}

    def loc(self, latent: Latent) -> Node:
        """Return where the reals of a latent are centred."""
        if latent.in_data_plate and self.encoder is not None:
            return self._encoded(latent, 0)
        return self._array(latent, "loc", latent.start())

    def scale(self, latent: Latent) -> Node:
        """Return how far they spread."""
        if latent.in_data_plate:
            start = np.full(latent.shape, np.log(START_SCALE))
            logs = self._encoded(latent, 1) if self.encoder is not None else self._array(latent, "log_scale", start)
            return ops.exp(logs)
        return self._array(latent, "scale", np.full(latent.shape, START_SCALE), "positive")

    def _array(self, latent: Latent, what: str, start: np.ndarray, constraint: str | None = None) -> Node:
        shape = latent.shape_with_plates
        if not latent.in_data_plate:
            return spread_over_plates(latent, param(param_name(latent, what), start, shape, constraint).node)
        axis = self._data_plate(latent)
        table = param(param_name(latent, what), start, (self.rows[axis.name], *shape))
        return spread_over_plates(latent, table[row_index(axis.name)].node)

    def _data_plate(self, latent: Latent) -> Axis:
        """Return the plate that a table has rows for."""
        found = [a for a in latent.plates if a.size is None]
        at = f"autoguide: latent '{latent.name}' ({latent.site.where}) stands in"
        if len(found) > 1:
            names = " and ".join(repr(a.name) for a in found)
            raise ModelError(f"{at} plates {names}, whose rows are known at run time only: give an encoder")
        if found[0].name not in self.rows:
            raise ModelError(
                f"{at} plate '{found[0].name}', whose rows are known at run time only: give their number in the whole "
                f"data set, rows={{'{found[0].name}': N}}, or an encoder"
            )
        return found[0]

    def _encoded(self, latent: Latent, which: int) -> Node:
        """Return what the encoder says of a latent: its locations (0) or the logarithms of its scales (1)."""
        last = max(i for i, a in enumerate(latent.plates) if a.size is None)
        outer = latent.plates[: last + 1]
        if outer not in self.encoded:
            context = require_context("ppl.autoguide")
            inner, context.plates = context.plates, []
            try:
                with reopen_plates(outer):
                    self.encoded[outer] = self._encode(latent, outer)
            finally:
                context.plates = inner
        found = self.encoded[outer]
        if latent.name not in found:
            raise ModelError(f"autoguide: the encoder says nothing of latent '{latent.name}', only of {list(found)}")
        inside = [a for a in latent.fixed if a not in outer]
        shape = (*(a.size or 0 for a in inside), *latent.shape)
        node = as_value(found[latent.name][which]).node
        if node.type.shape != shape:
            raise ShapeError(
                f"autoguide: the encoder gives latent '{latent.name}' {('locations', 'log-scales')[which]} of event "
                f"shape {node.type.shape}, not {shape}"
            )
        for axis in inside:
            node = ops.distribute(node, axis)
        return node

    def _encode(self, latent: Latent, outer: tuple[Axis, ...]) -> Mapping[str, Any]:
        """Return the encoder's answer in the plates of a row: pairs by the names of latents."""
        assert self.encoder is not None
        given = []
        for name in inspect.signature(self.encoder).parameters:
            if name not in self.arguments:
                known = ", ".join(self.arguments) or "none"
                raise ModelError(f"autoguide: the encoder takes '{name}', the model has the data arguments {known}")
            found, argument = self.trace.inputs.get(name), self.arguments[name]
            opened = found is not None and found.plate in outer
            given.append(Value(argument.open(found.plate)) if found is not None and opened else argument)
        answer = self.encoder(*given)
        if isinstance(answer, Mapping):
            pairs = dict(answer)
        else:
            pairs = {latent.name: answer}
        for name, pair in pairs.items():
            if not isinstance(pair, (tuple, list)) or len(pair) != 2:
                raise ModelError(f"autoguide: the encoder returns (loc, log_scale) for latent '{name}', not {pair!r}")
        return pairs


def check_rows(rows: Any) -> dict[str, int]:
    """Check numbers of rows by plate, and return them."""
    given = {} if rows is None else mapping("autoguide: rows", rows, "numbers of rows by plate", ModelError)
    return {str(k): integer(f"autoguide: rows of plate '{k}'", n, 1, error=ModelError) for k, n in given.items()}


def check_encoder(encoder: Any) -> Callable[..., Any] | None:
    """Check that an encoder is a function, or None, and return it."""
    return None if encoder is None else called("autoguide: encoder", encoder, ModelError)
