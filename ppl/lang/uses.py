"""Formulas of distributions in a model (`Normal(0, a).cdf(x)`): values whose use the trace takes note of."""

from __future__ import annotations

from collections.abc import Sequence

from ppl.distributions.base import Distribution
from ppl.distributions.parts.eager import own_node, show_in_models
from ppl.ir.node import Node
from ppl.lang.context import current
from ppl.lang.source import user_line
from ppl.lang.trace import Use
from ppl.lang.value import Value


def used(dists: Sequence[Distribution], found: Node) -> Value:
    """A formula's result in a model, whose trace takes note of what the distributions are used for."""
    context = current()
    if context is not None and dists:
        line, found = user_line(), own_node(dists, found)
        context.trace.uses += [Use(dist, found, line) for dist in dists]
    return Value(found)


show_in_models(used)
