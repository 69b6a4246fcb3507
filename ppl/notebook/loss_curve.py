"""Draw the curve of a loss as SVG, for notebooks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ppl.notebook.html import element, escaped_text

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 460, 170, 62, 24, 10

MOST_POINTS = 400
"""Points of a curve at most: means of as many steps in a row as needed."""

COLORS = {"loss": "#3b6fb6", "validation": "#d1731f"}


def draw_loss_curve(lines: dict[str, tuple[np.ndarray, np.ndarray]]) -> str:
    """The picture of some lines (steps, values) by name; what is not finite is left out."""
    kept = {name: _average_points(*line) for name, line in lines.items()}
    kept = {name: line for name, line in kept.items() if len(line[0])}
    if not kept:
        return ""
    xs, ys = (np.concatenate([line[i] for line in kept.values()]) for i in (0, 1))
    low, high = _axis_range(ys)
    across, up = (xs.min(), max(xs.max(), xs.min() + 1)), (low, high)
    drawn = [_polyline(line, across, up, COLORS.get(name, "#777777")) for name, line in kept.items()]
    names = [element("text", escaped_text(name), x=WIDTH - 90, y=TOP + 12 + 14 * i, fill=COLORS.get(name, "#777777"))
             for i, name in enumerate(kept)]  # fmt: skip
    return element("svg", *_axes(across, up), *drawn, *names, xmlns="http://www.w3.org/2000/svg", width=WIDTH,
                   height=HEIGHT, viewBox=f"0 0 {WIDTH} {HEIGHT}", font_family="sans-serif", font_size=11)  # fmt: skip


def _average_points(steps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most `POINTS` points: means of values in a row."""
    good = np.isfinite(values)
    steps, values = np.asarray(steps, float)[good], np.asarray(values, float)[good]
    each = -(-len(values) // MOST_POINTS) if len(values) else 1
    starts = np.arange(0, len(values), each)
    if not len(starts):
        return steps, values
    counts = np.diff([*starts, len(values)])
    return np.add.reduceat(steps, starts) / counts, np.add.reduceat(values, starts) / counts


def _axis_range(values: np.ndarray) -> tuple[float, float]:
    """What the axis shows: outliers at the beginning may leave the picture."""
    low, high = float(values.min()), float(np.quantile(values, 0.98))
    pad = 0.05 * (high - low) or abs(high) * 0.05 or 1.0
    return low - pad, high + pad


def _to_pixels(x: float, y: float, across: Sequence[float], up: Sequence[float]) -> tuple[float, float]:
    along = (x - across[0]) / (across[1] - across[0])
    high = min((y - up[0]) / (up[1] - up[0]), 1.0)
    return LEFT + along * (WIDTH - LEFT - 10), HEIGHT - BOTTOM - high * (HEIGHT - BOTTOM - TOP)


def _polyline(line: tuple[np.ndarray, np.ndarray], across: Sequence[float], up: Sequence[float], color: str) -> str:
    points = [_to_pixels(x, y, across, up) for x, y in zip(*line, strict=True)]
    if len(points) == 1:
        return element("circle", cx=f"{points[0][0]:.1f}", cy=f"{points[0][1]:.1f}", r=3, fill=color)
    text = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return element("polyline", points=text, fill="none", stroke=color, stroke_width=1.5)


def _axes(across: Sequence[float], up: Sequence[float]) -> list[str]:
    found = []
    for value in np.linspace(up[0], up[1], 4)[:-1] + (up[1] - up[0]) / 6:
        y = _to_pixels(across[0], value, across, up)[1]
        grid = {"x1": LEFT, "x2": WIDTH - 10, "y1": f"{y:.1f}", "y2": f"{y:.1f}"}
        found.append(element("line", **grid, stroke="#8884"))
        found.append(
            element(
                "text", escaped_text(f"{value:.4g}"), x=LEFT - 6, y=f"{y + 4:.1f}", text_anchor="end", fill="#777777"
            )
        )
    for value, anchor in ((across[0], "start"), (across[1], "end")):
        x = _to_pixels(value, up[0], across, up)[0]
        text = "step " * (anchor == "end") + f"{value:.0f}"
        found.append(
            element("text", escaped_text(text), x=f"{x:.1f}", y=HEIGHT - 8, text_anchor=anchor, fill="#777777")
        )
    return found
