"""Plans as HTML: a table of choices, and pictures of variance against time with their Pareto frontier.

Notebooks show a plan or a choice by this module; the compiler does not know it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ppl.compiler.plan.plan import pareto_frontier
from ppl.notebook.html import element, escaped_text, table, titled_block

if TYPE_CHECKING:
    from ppl.compiler.plan.plan import Choice, JointChoice, MeasuredCandidate, Plan
    from ppl.estimators.base import Estimator

WIDTH, HEIGHT, LEFT, RIGHT, BOTTOM, TOP = 700, 280, 60, 290, 56, 12

LINE_COLOR, TAKEN_COLOR, OTHER_COLOR = "#3b6fb6", "#d1731f", "#777777"

LONGEST_LABEL = 50
"""Characters of a label beside its point; all of it is shown under the mouse."""

CAPTION = "particles × estimator; filled: timed, hollow: not; dashed: variance × time of the choice"


class PlanPoint(NamedTuple):
    """A choice: seconds of a step and variance of the gradient (mean squared error of a biased one)."""

    label: str
    seconds: float
    variance: float
    taken: bool = False
    timed: bool = True


def plan_points(plan: Plan, name: str) -> list[PlanPoint]:
    """What `ppl.tune` or `particles="auto"` knows of a node's estimators, beside those of the other nodes.

    Of one estimator with one number of particles the best is kept, if some were timed the best of these. Seconds of
    the interpreter stand beside no others: only their ratios mean something.
    """
    rows: list[tuple[MeasuredCandidate | JointChoice, Estimator, bool]]
    rows = [(m, m.estimator, False) for m in plan.measured.get(name, ()) if not m.rejected]
    joint = plan.tuning.joint if plan.tuning else plan.weighed
    rows += [(j, dict(j.estimators)[name], j.taken) for j in joint if name in dict(j.estimators)]
    comparable = [row for row in rows if row[0].clock != "interpreter"] or rows
    found = [_plan_point(*row) for row in comparable if row[0].seconds > 0 and math.isfinite(row[0].variance)]
    best: dict[str, PlanPoint] = {}
    for point in sorted(found, key=lambda p: (not p.taken, not p.timed, p.variance * p.seconds)):
        best.setdefault(point.label, point)
    return list(best.values())


def _plan_point(row: MeasuredCandidate | JointChoice, estimator: Estimator, taken: bool) -> PlanPoint:
    label = f"{row.particles} × {estimator.label.replace('baseline=', '')}"
    return PlanPoint(label, row.seconds, row.variance + row.squared_bias, taken, row.clock == "compiled")


def variance_time_svg(points: Sequence[PlanPoint]) -> str:
    """Variance against seconds on logarithmic axes; "" where fewer than two points could be compared.

    Points that were timed are filled. A line joins those that no other beats in both; the dashed line has the product
    of the one that was taken. What has no variance lies on the axis.
    """
    if len(points) < 2:
        return ""
    across, up = _log_scale([p.seconds for p in points]), _log_scale([p.variance for p in points])
    best = pareto_frontier([(p.seconds, p.variance) for p in points])
    at = [(_pixel_x(across(p.seconds)), _pixel_y(up(p.variance))) for p in points]
    lines = [
        element("polyline", points=_staircase([at[i] for i in best]), fill="none", stroke=LINE_COLOR, stroke_width=1.5)
    ]
    taken = next((p for p in points if p.taken and p.variance), None)
    if taken is not None:
        lines.append(_draw_equal_product(taken, points, across, up))
    dots = [_draw_point(p, *place) for p, place in zip(points, at, strict=True)]
    named = [i for i, p in enumerate(points) if i in best or p.taken]
    size = {"width": WIDTH, "height": HEIGHT, "viewBox": f"0 0 {WIDTH} {HEIGHT}"}
    return element(
        "svg",
        *_draw_axes(points),
        *lines,
        *dots,
        *_draw_labels(points, at, named),
        font_family="sans-serif",
        xmlns="http://www.w3.org/2000/svg",
        font_size=11,
        **size,
    )


def _log_scale(values: Sequence[float]) -> Callable[[float], float]:
    """From a value to its place between 0 and 1: its logarithm between the least and the largest, 0 of what is 0."""
    logs = [math.log(v) for v in values if v > 0] or [0.0]
    low, high = min(logs), max(logs)
    wide = max(high - low, 0.1)
    return lambda v: 0.06 + 0.88 * (math.log(v) - low) / wide if v > 0 else 0.0


def _pixel_x(along: float) -> float:
    return LEFT + along * (WIDTH - LEFT - RIGHT)


def _pixel_y(high: float) -> float:
    return HEIGHT - BOTTOM - high * (HEIGHT - BOTTOM - TOP)


def _staircase(places: Sequence[tuple[float, float]]) -> str:
    corners = [(b[0], a[1]) for a, b in itertools.pairwise(places)]
    both = [p for pair in zip(places, corners, strict=False) for p in pair] + list(places[len(corners) :])
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in both)


def _draw_equal_product(
    taken: PlanPoint, points: Sequence[PlanPoint], across: Callable[[float], float], up: Callable[[float], float]
) -> str:
    """Where variance × seconds is that of the choice, within the picture."""
    product = taken.variance * taken.seconds
    least, most = min(p.variance for p in points if p.variance), max(p.variance for p in points)
    ends = [min(max(p, product / most), product / least) for p in (f(q.seconds for q in points) for f in (min, max))]
    (x1, y1), (x2, y2) = ((f"{_pixel_x(across(s)):.1f}", f"{_pixel_y(up(product / s)):.1f}") for s in ends)
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke=TAKEN_COLOR, stroke_dasharray="4 3")


def _draw_point(point: PlanPoint, x: float, y: float) -> str:
    color = TAKEN_COLOR if point.taken else OTHER_COLOR
    figures = f"variance {point.variance:.3g}, {point.seconds * 1e6:.3g} µs a step, product "
    words = element("title", escaped_text(f"{point.label}: {figures}{point.variance * point.seconds:.3g}"))
    look = {"fill": color if point.timed else "#ffffff", "stroke": color, "r": 5 if point.taken else 3.5}
    return element("circle", words, cx=f"{x:.1f}", cy=f"{y:.1f}", **look)


def _draw_labels(points: Sequence[PlanPoint], at: Sequence[tuple[float, float]], named: Sequence[int]) -> list[str]:
    """Labels in a column to the right, in the order of heights, each with a line to its point."""
    order = sorted(named, key=lambda i: at[i][1])
    step = min(15.0, (HEIGHT - TOP - 6) / max(len(order), 1))
    found, last = [], TOP - step
    for rank, i in enumerate(order):
        below = step * (len(order) - 1 - rank)
        last = max(min(at[i][1], HEIGHT - 8 - below), last + step)
        x, color = WIDTH - RIGHT + 14, TAKEN_COLOR if points[i].taken else OTHER_COLOR
        text = points[i].label if len(points[i].label) <= LONGEST_LABEL else points[i].label[: LONGEST_LABEL - 1] + "…"
        ends = {"x1": f"{at[i][0] + 5:.1f}", "y1": f"{at[i][1]:.1f}", "x2": x - 3, "y2": f"{last:.1f}"}
        found.append(element("line", **ends, stroke="#8884"))
        found.append(element("text", escaped_text(text), x=x, y=f"{last + 4:.1f}", fill=color))
    return found


def _draw_axes(points: Sequence[PlanPoint]) -> list[str]:
    """Both axes, their names, and the ends of both scales in numbers."""
    seconds, variances = [p.seconds for p in points], [p.variance for p in points if p.variance > 0] or [0.0]
    left, right, low, high = LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM, TOP
    texts = [
        ("variance", left - 6, (low + high) / 2, "end"), (f"{max(variances):.2g}", left - 6, high + 14, "end"),
        (f"{min(variances):.2g}", left - 6, low - 6, "end"),
        ("time of a step", (left + right) / 2, low + 15, "middle"), (CAPTION, left + 4, HEIGHT - 8, "start"),
        (f"{min(seconds) * 1e6:.2g} µs", left + 4, low + 15, "start"),
        (f"{max(seconds) * 1e6:.3g} µs", right, low + 15, "end"),
    ]  # fmt: skip
    frame = element("path", d=f"M{left},{high} L{left},{low} L{right},{low}", fill="none", stroke="#8888")
    return [frame, *(element("text", escaped_text(t), x=f"{x:.0f}", y=f"{y:.0f}", text_anchor=a, fill=OTHER_COLOR)
                     for t, x, y, a in texts)]  # fmt: skip


PLAN_COLUMNS = ("node", "distribution", "plates", "estimator", "bias", "copies", "why")

CANDIDATE_COLUMNS = ("candidate", "bias", "copies", "variance", "verdict")


def plan_html(plan: Plan) -> str:
    """A table of the choices, under it variance against time of the node under the mouse, and all candidates.

    The picture is there where `ppl.tune` has measured or `particles="auto"` has weighed; with no node under the mouse,
    it is that of the first.
    """
    if not plan.choices:
        return titled_block("Plan", element("p", "no random nodes: the gradient is exact"))
    rows = [(c.name, c.distribution, ", ".join(c.plates), c.estimator.label, "biased" if c.biased else "unbiased",
             c.copies, c.reason) for c in plan.choices.values()]  # fmt: skip
    pictures = [variance_time_svg(plan_points(plan, name)) for name in plan.choices]
    shown = _table_with_pictures(rows, pictures) if any(pictures) else table(PLAN_COLUMNS, rows)
    return titled_block("Plan", shown, *map(_candidate_table, plan.choices.values()))


def _table_with_pictures(rows: Sequence[Sequence[object]], pictures: Sequence[str]) -> str:
    """A table whose last row shows the picture of the row under the mouse, else the first that there is."""
    first = next(i for i, p in enumerate(pictures) if p)
    shown = [element("div", p or escaped_text("not measured"), **({"class_": "ppl-first"} if i == first else {}))
             for i, p in enumerate(pictures)]  # fmt: skip
    last = element("tr", element("td", *shown, colspan=len(PLAN_COLUMNS)), class_="ppl-pictures")
    return element("style", _hover_css(len(rows))) + table(PLAN_COLUMNS, rows, last, class_="ppl-plan")


def _hover_css(count: int) -> str:
    """The style by which the last row's pictures follow the mouse; the same for all plans of a page."""
    place, under = ".ppl-pictures>td>div", ".ppl-plan tbody tr"
    follow = (f"{under}:nth-child({i}):hover~{place}:nth-child({i}){{display:block}}" for i in range(1, count + 1))
    return "".join([
        f"{place}{{display:none}}", f"{place}.ppl-first{{display:block}}",
        f"{under}:not(.ppl-pictures):hover~{place}{{display:none}}", *follow,
    ])  # fmt: skip


def choice_html(choice: Choice) -> str:
    """All candidates of a node."""
    return titled_block(
        f"{choice.name}: {choice.distribution}, {choice.estimator.label}", _candidate_table(choice, open_=True)
    )


def _candidate_table(choice: Choice, open_: bool = False) -> str:
    rows = [(c.estimator.label, "biased" if c.estimator.biased else "unbiased", c.copies or "-", c.variance,
             "taken" if c.taken else c.verdict) for c in choice.candidates]  # fmt: skip
    inside = table(CANDIDATE_COLUMNS, rows)
    if open_:
        return inside
    return element("details", element("summary", escaped_text(f"candidates for {choice.name}")), inside)
