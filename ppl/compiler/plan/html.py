"""The plan as HTML, for notebooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ppl.html import block, element, said, table

if TYPE_CHECKING:
    from ppl.compiler.plan.plan import Choice, Plan

COLUMNS = ("node", "distribution", "plates", "estimator", "bias", "copies", "why")
CANDIDATES = ("candidate", "bias", "copies", "variance", "verdict")


def plan_html(plan: Plan) -> str:
    """A table of the choices, and under each node's name all its candidates."""
    if not plan.choices:
        return block("Plan", element("p", "no random nodes: the gradient is exact"))
    rows = [(c.name, c.distribution, ", ".join(c.plates), c.estimator.label, "biased" if c.biased else "unbiased",
             c.copies, c.reason) for c in plan.choices.values()]  # fmt: skip
    return block("Plan", table(COLUMNS, rows), *map(_candidates, plan.choices.values()))


def choice_html(choice: Choice) -> str:
    """All candidates of a node."""
    return block(f"{choice.name}: {choice.distribution}, {choice.estimator.label}", _candidates(choice, open_=True))


def _candidates(choice: Choice, open_: bool = False) -> str:
    rows = [(c.estimator.label, "biased" if c.estimator.biased else "unbiased", c.copies or "-", c.variance,
             "taken" if c.taken else c.verdict) for c in choice.candidates]  # fmt: skip
    inside = table(CANDIDATES, rows)
    if open_:
        return inside
    return element("details", element("summary", said(f"candidates for {choice.name}")), inside)
