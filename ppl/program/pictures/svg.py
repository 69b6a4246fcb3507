"""The stochastic computation graph as an SVG picture, without a plotting library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ppl.html import element, said

if TYPE_CHECKING:
    import networkx as nx

LETTER, LINE, PAD = 6.2, 13.0, 9.0
"""Width of a letter, height of a line and space around a label, in pixels."""

GAP, LAYER, MARGIN = 22.0, 46.0, 14.0
"""Space between neighbours, between layers, and around the picture."""

ROUND, SIDES = ("random", "observed"), ("cost",)
INK = "#333333"


class Box(NamedTuple):
    """A node's place: its centre and its size."""

    x: float
    y: float
    width: float
    height: float


class Picture:
    """A picture that notebooks show; `str` is its SVG source."""

    def __init__(self, source: str):
        self.source = source

    def __str__(self) -> str:
        return self.source

    def __repr__(self) -> str:
        return f"Picture({len(self.source)} characters of SVG)"

    def _repr_svg_(self) -> str:
        return self.source


def picture(
    graph: nx.DiGraph, places: dict[str, tuple[float, float]], colors: dict[str, str], labels: dict[str, str]
) -> Picture:
    """The picture of a graph whose nodes stand at `places` in units of layers, with `labels` in lines."""
    boxes = _boxes(places, labels)
    kinds = [kind for kind in colors if any(d["kind"] == kind for _, d in graph.nodes(data=True))]
    right = max((b.x + b.width / 2 for b in boxes.values()), default=0.0) + MARGIN
    bottom = max((b.y + b.height / 2 for b in boxes.values()), default=0.0) + MARGIN
    legend = _legend(kinds, colors, bottom)
    width = max(right, MARGIN + sum(_legend_width(kind) for kind in kinds))
    edges = [_edge(boxes[a], boxes[b]) for a, b in graph.edges]
    nodes = [_node(boxes[n], labels[n], d["kind"], colors[d["kind"]]) for n, d in graph.nodes(data=True)]
    arrow = element("path", d="M0,0 L7,3 L0,6 z", fill=INK)
    marker = element("marker", arrow, id="ppl-arrow", markerWidth=8, markerHeight=6, refX=7, refY=3, orient="auto")
    size = {"width": round(width), "height": round(bottom + LINE + MARGIN)}
    view = f"0 0 {size['width']} {size['height']}"
    return Picture(element(
        "svg", element("defs", marker), *edges, *nodes, *legend, xmlns="http://www.w3.org/2000/svg", viewBox=view,
        font_family="sans-serif", font_size=11, **size,
    ))  # fmt: skip


def _boxes(places: dict[str, tuple[float, float]], labels: dict[str, str]) -> dict[str, Box]:
    """Places in pixels: every layer is centred, and as high as its highest node."""
    layers: dict[float, list[str]] = {}
    for name, (_, level) in sorted(places.items(), key=lambda item: (-item[1][1], item[1][0])):
        layers.setdefault(level, []).append(name)
    sizes = {name: _size(labels[name]) for name in places}
    widths = {y: sum(sizes[n][0] + GAP for n in names) - GAP for y, names in layers.items()}
    widest, top = max(widths.values(), default=0.0), MARGIN
    boxes: dict[str, Box] = {}
    for level, names in layers.items():
        height = max(sizes[n][1] for n in names)
        left = MARGIN + (widest - widths[level]) / 2
        for name in names:
            own = sizes[name]
            boxes[name] = Box(left + own[0] / 2, top + height / 2, *own)
            left += own[0] + GAP
        top += height + LAYER
    return boxes


def _size(label: str) -> tuple[float, float]:
    lines = label.split("\n")
    return max(len(x) for x in lines) * LETTER + 2.6 * PAD, len(lines) * LINE + PAD


def _edge(a: Box, b: Box) -> str:
    """An arrow from below `a` to above `b`; sideways where they share a layer."""
    down = 1.0 if b.y > a.y else -1.0
    x0, y0, x1, y1 = a.x, a.y + down * a.height / 2, b.x, b.y - down * b.height / 2
    if abs(b.y - a.y) < LAYER / 2:
        side = 1.0 if b.x > a.x else -1.0
        x0, y0, x1, y1 = a.x + side * a.width / 2, a.y, b.x - side * b.width / 2, b.y
    bend = (y1 - y0) / 2
    path = f"M{x0:.1f},{y0:.1f} C{x0:.1f},{y0 + bend:.1f} {x1:.1f},{y1 - bend:.1f} {x1:.1f},{y1:.1f}"
    return element("path", d=path, fill="none", stroke=INK, stroke_opacity=0.6, marker_end="url(#ppl-arrow)")


def _node(box: Box, label: str, kind: str, color: str) -> str:
    lines = label.split("\n")
    first = box.y - (len(lines) - 1) * LINE / 2 + 4
    look = {"x": f"{box.x:.1f}", "text_anchor": "middle", "fill": "#111111"}
    texts = [element("text", said(line), y=f"{first + i * LINE:.1f}", **look) for i, line in enumerate(lines)]
    return element("g", _shape(box, kind, color), *texts)


def _shape(box: Box, kind: str, color: str) -> str:
    """An ellipse for a random node, a hexagon for a cost, a rectangle for anything else."""
    look: dict[str, Any] = {"fill": color, "stroke": INK, "stroke_width": 2 if kind == "observed" else 1}
    x, y, w, h = box.x, box.y, box.width / 2, box.height / 2
    if kind in ROUND:
        return element("ellipse", cx=f"{x:.1f}", cy=f"{y:.1f}", rx=f"{w:.1f}", ry=f"{h + 2:.1f}", **look)
    if kind in SIDES:
        corners = [
            (x - w, y),
            (x - w + 9, y - h),
            (x + w - 9, y - h),
            (x + w, y),
            (x + w - 9, y + h),
            (x - w + 9, y + h),
        ]
        return element("polygon", points=" ".join(f"{a:.1f},{b:.1f}" for a, b in corners), **look)
    return element(
        "rect", x=f"{x - w:.1f}", y=f"{y - h:.1f}", width=f"{2 * w:.1f}", height=f"{2 * h:.1f}", rx=3, **look
    )


def _legend_width(kind: str) -> float:
    return len(kind) * LETTER + 32


def _legend(kinds: list[str], colors: dict[str, str], top: float) -> list[str]:
    found, x = [], MARGIN
    for kind in kinds:
        square = element("rect", x=round(x), y=round(top), width=11, height=11, fill=colors[kind], stroke=INK)
        found += [square, element("text", said(kind), x=round(x + 15), y=round(top + 10), fill="#777777")]
        x += _legend_width(kind)
    return found
