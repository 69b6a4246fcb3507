"""Variance against time of what was weighed or measured for a node, as an SVG picture with its frontier."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ppl.html import element, said

if TYPE_CHECKING:
    from ppl.compiler.plan.measured import Joint, Measured
    from ppl.compiler.plan.plan import Plan
    from ppl.estimators.base import Estimator

WIDTH, HEIGHT, LEFT, RIGHT, BOTTOM, TOP = 700, 280, 60, 290, 56, 12
LINE, TAKEN, OTHER = "#3b6fb6", "#d1731f", "#777777"
LABEL = 50
"""Characters of a label beside its point; all of it is shown under the mouse."""
CAPTION = "particles × estimator; filled: timed, hollow: not; dashed: variance × time of the choice"


class Point(NamedTuple):
    """A choice: seconds of a step and variance of the gradient (mean squared error of a biased one)."""

    label: str
    seconds: float
    variance: float
    taken: bool = False
    timed: bool = True


def frontier(points: Iterable[tuple[float, float]]) -> list[int]:
    """Indices of the points (seconds, variance) that no other beats in both, the fastest first."""
    found: list[int] = []
    least = math.inf
    for i, (_, variance) in sorted(enumerate(points), key=lambda item: item[1]):
        if variance < least:
            found.append(i)
            least = variance
    return found


def points_of(plan: Plan, name: str) -> list[Point]:
    """What `ppl.tune` or `particles="auto"` knows of a node's estimators, beside those of the other nodes.

    Of one estimator with one number of particles the best is kept, if some were timed the best of these. Seconds of
    the interpreter stand beside no others: only their ratios mean something.
    """
    rows: list[tuple[Measured | Joint, Estimator, bool]]
    rows = [(m, m.estimator, False) for m in plan.measured.get(name, ()) if not m.rejected]
    joint = plan.tuning.joint if plan.tuning else plan.weighed
    rows += [(j, dict(j.estimators)[name], j.taken) for j in joint if name in dict(j.estimators)]
    comparable = [row for row in rows if row[0].clock != "interpreter"] or rows
    found = [_point(*row) for row in comparable if row[0].seconds > 0 and math.isfinite(row[0].variance)]
    best: dict[str, Point] = {}
    for point in sorted(found, key=lambda p: (not p.taken, not p.timed, p.variance * p.seconds)):
        best.setdefault(point.label, point)
    return list(best.values())


def _point(row: Measured | Joint, estimator: Estimator, taken: bool) -> Point:
    label = f"{row.particles} × {estimator.label.replace('baseline=', '')}"
    return Point(label, row.seconds, row.variance + row.squared_bias, taken, row.clock == "compiled")


def picture(points: Sequence[Point]) -> str:
    """Variance against seconds on logarithmic axes; "" where fewer than two points could be compared.

    Points that were timed are filled. A line joins those that no other beats in both; the dashed line has the product
    of the one that was taken. What has no variance lies on the axis.
    """
    if len(points) < 2:
        return ""
    across, up = _scale([p.seconds for p in points]), _scale([p.variance for p in points])
    best = frontier([(p.seconds, p.variance) for p in points])
    at = [(_x(across(p.seconds)), _y(up(p.variance))) for p in points]
    lines = [element("polyline", points=_stairs([at[i] for i in best]), fill="none", stroke=LINE, stroke_width=1.5)]
    taken = next((p for p in points if p.taken and p.variance), None)
    if taken is not None:
        lines.append(_equal(taken, points, across, up))
    dots = [_dot(p, *place) for p, place in zip(points, at, strict=True)]
    named = [i for i, p in enumerate(points) if i in best or p.taken]
    size = {"width": WIDTH, "height": HEIGHT, "viewBox": f"0 0 {WIDTH} {HEIGHT}"}
    return element("svg", *_axes(points), *lines, *dots, *_names(points, at, named), font_family="sans-serif",
                   xmlns="http://www.w3.org/2000/svg", font_size=11, **size)  # fmt: skip


def _scale(values: Sequence[float]) -> Callable[[float], float]:
    """From a value to its place between 0 and 1: its logarithm between the least and the largest, 0 of what is 0."""
    logs = [math.log(v) for v in values if v > 0] or [0.0]
    low, high = min(logs), max(logs)
    wide = max(high - low, 0.1)
    return lambda v: 0.06 + 0.88 * (math.log(v) - low) / wide if v > 0 else 0.0


def _x(along: float) -> float:
    return LEFT + along * (WIDTH - LEFT - RIGHT)


def _y(high: float) -> float:
    return HEIGHT - BOTTOM - high * (HEIGHT - BOTTOM - TOP)


def _stairs(places: Sequence[tuple[float, float]]) -> str:
    corners = [(b[0], a[1]) for a, b in itertools.pairwise(places)]
    both = [p for pair in zip(places, corners, strict=False) for p in pair] + list(places[len(corners) :])
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in both)


def _equal(
    taken: Point, points: Sequence[Point], across: Callable[[float], float], up: Callable[[float], float]
) -> str:
    """Where variance × seconds is that of the choice, within the picture."""
    product = taken.variance * taken.seconds
    least, most = min(p.variance for p in points if p.variance), max(p.variance for p in points)
    ends = [min(max(p, product / most), product / least) for p in (f(q.seconds for q in points) for f in (min, max))]
    (x1, y1), (x2, y2) = ((f"{_x(across(s)):.1f}", f"{_y(up(product / s)):.1f}") for s in ends)
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke=TAKEN, stroke_dasharray="4 3")


def _dot(point: Point, x: float, y: float) -> str:
    color = TAKEN if point.taken else OTHER
    figures = f"variance {point.variance:.3g}, {point.seconds * 1e6:.3g} µs a step, product "
    words = element("title", said(f"{point.label}: {figures}{point.variance * point.seconds:.3g}"))
    look = {"fill": color if point.timed else "#ffffff", "stroke": color, "r": 5 if point.taken else 3.5}
    return element("circle", words, cx=f"{x:.1f}", cy=f"{y:.1f}", **look)


def _names(points: Sequence[Point], at: Sequence[tuple[float, float]], named: Sequence[int]) -> list[str]:
    """Labels in a column to the right, in the order of heights, each with a line to its point."""
    order = sorted(named, key=lambda i: at[i][1])
    step = min(15.0, (HEIGHT - TOP - 6) / max(len(order), 1))
    found, last = [], TOP - step
    for rank, i in enumerate(order):
        below = step * (len(order) - 1 - rank)
        last = max(min(at[i][1], HEIGHT - 8 - below), last + step)
        x, color = WIDTH - RIGHT + 14, TAKEN if points[i].taken else OTHER
        text = points[i].label if len(points[i].label) <= LABEL else points[i].label[: LABEL - 1] + "…"
        ends = {"x1": f"{at[i][0] + 5:.1f}", "y1": f"{at[i][1]:.1f}", "x2": x - 3, "y2": f"{last:.1f}"}
        found.append(element("line", **ends, stroke="#8884"))
        found.append(element("text", said(text), x=x, y=f"{last + 4:.1f}", fill=color))
    return found


def _axes(points: Sequence[Point]) -> list[str]:
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
    return [frame, *(element("text", said(t), x=f"{x:.0f}", y=f"{y:.0f}", text_anchor=a, fill=OTHER)
                     for t, x, y, a in texts)]  # fmt: skip
