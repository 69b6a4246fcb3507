"""The plan as HTML, for notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ppl.compiler.plan.frontier import picture, points_of
from ppl.html import block, element, said, table

if TYPE_CHECKING:
    from ppl.compiler.plan.plan import Choice, Plan

COLUMNS = ("node", "distribution", "plates", "estimator", "bias", "copies", "why")
CANDIDATES = ("candidate", "bias", "copies", "variance", "verdict")


def plan_html(plan: Plan) -> str:
    """A table of the choices, under it variance against time of the node under the mouse, and all candidates.

    The picture is there where `ppl.tune` has measured or `particles="auto"` has weighed; with no node under the mouse,
    it is that of the first.
    """
    if not plan.choices:
        return block("Plan", element("p", "no random nodes: the gradient is exact"))
    rows = [(c.name, c.distribution, ", ".join(c.plates), c.estimator.label, "biased" if c.biased else "unbiased",
             c.copies, c.reason) for c in plan.choices.values()]  # fmt: skip
    pictures = [picture(points_of(plan, name)) for name in plan.choices]
    shown = _followed(rows, pictures) if any(pictures) else table(COLUMNS, rows)
    return block("Plan", shown, *map(_candidates, plan.choices.values()))


def _followed(rows: Sequence[Sequence[object]], pictures: Sequence[str]) -> str:
    """A table whose last row shows the picture of the row under the mouse, else the first that there is."""
    first = next(i for i, p in enumerate(pictures) if p)
    shown = [element("div", p or said("not measured"), **({"class_": "ppl-first"} if i == first else {}))
             for i, p in enumerate(pictures)]  # fmt: skip
    last = element("tr", element("td", *shown, colspan=len(COLUMNS)), class_="ppl-pictures")
    return element("style", _rules(len(rows))) + table(COLUMNS, rows, last, class_="ppl-plan")


def _rules(count: int) -> str:
    """The style by which the last row's pictures follow the mouse; the same for all plans of a page."""
    place, under = ".ppl-pictures>td>div", ".ppl-plan tbody tr"
    follow = (f"{under}:nth-child({i}):hover~{place}:nth-child({i}){{display:block}}" for i in range(1, count + 1))
    return "".join([
        f"{place}{{display:none}}", f"{place}.ppl-first{{display:block}}",
        f"{under}:not(.ppl-pictures):hover~{place}{{display:none}}", *follow,
    ])  # fmt: skip


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
