"""Draw the stochastic computation graph: SVG and Graphviz DOT without dependencies, other pictures by matplotlib."""

from __future__ import annotations

import os
from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ppl.arguments import file_path, shown
from ppl.errors import ModelError, OptionError
from ppl.notebook.html import element, escaped_text
from ppl.runtime.prepared import require_program

if TYPE_CHECKING:
    import networkx as nx
else:
    from ppl.lazy import networkx as nx

LETTER_WIDTH, LINE_HEIGHT, LABEL_PADDING = 6.2, 13.0, 9.0
"""Width of a letter, height of a line and space around a label, in pixels."""

NODE_GAP, LAYER_GAP, MARGIN = 22.0, 46.0, 14.0
"""Space between neighbours, between layers, and around the picture."""

ELLIPSE_KINDS, HEXAGON_KINDS = ("random", "observed"), ("cost",)

LINE_COLOR = "#333333"


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


def svg_picture(
    graph: nx.DiGraph, places: dict[str, tuple[float, float]], colors: dict[str, str], labels: dict[str, str]
) -> Picture:
    """The picture of a graph whose nodes stand at `places` in units of layers, with `labels` in lines."""
    boxes = _place_boxes(places, labels)
    kinds = [kind for kind in colors if any(d["kind"] == kind for _, d in graph.nodes(data=True))]
    right = max((b.x + b.width / 2 for b in boxes.values()), default=0.0) + MARGIN
    bottom = max((b.y + b.height / 2 for b in boxes.values()), default=0.0) + MARGIN
    legend = _legend_elements(kinds, colors, bottom)
    width = max(right, MARGIN + sum(_legend_width(kind) for kind in kinds))
    edges = [_edge_element(boxes[a], boxes[b]) for a, b in graph.edges]
    nodes = [_node_element(boxes[n], labels[n], d["kind"], colors[d["kind"]]) for n, d in graph.nodes(data=True)]
    arrow = element("path", d="M0,0 L7,3 L0,6 z", fill=LINE_COLOR)
    marker = element("marker", arrow, id="ppl-arrow", markerWidth=8, markerHeight=6, refX=7, refY=3, orient="auto")
    size = {"width": round(width), "height": round(bottom + LINE_HEIGHT + MARGIN)}
    view = f"0 0 {size['width']} {size['height']}"
    return Picture(element(
        "svg", element("defs", marker), *edges, *nodes, *legend, xmlns="http://www.w3.org/2000/svg", viewBox=view,
        font_family="sans-serif", font_size=11, **size,
    ))  # fmt: skip


def _place_boxes(places: dict[str, tuple[float, float]], labels: dict[str, str]) -> dict[str, Box]:
    """Places in pixels: every layer is centred, and as high as its highest node."""
    layers: dict[float, list[str]] = {}
    for name, (_, level) in sorted(places.items(), key=lambda item: (-item[1][1], item[1][0])):
        layers.setdefault(level, []).append(name)
    sizes = {name: _label_size(labels[name]) for name in places}
    widths = {y: sum(sizes[n][0] + NODE_GAP for n in names) - NODE_GAP for y, names in layers.items()}
    widest, top = max(widths.values(), default=0.0), MARGIN
    boxes: dict[str, Box] = {}
    for level, names in layers.items():
        height = max(sizes[n][1] for n in names)
        left = MARGIN + (widest - widths[level]) / 2
        for name in names:
            own = sizes[name]
            boxes[name] = Box(left + own[0] / 2, top + height / 2, *own)
            left += own[0] + NODE_GAP
        top += height + LAYER_GAP
    return boxes


def _label_size(label: str) -> tuple[float, float]:
    lines = label.split("\n")
    return max(len(x) for x in lines) * LETTER_WIDTH + 2.6 * LABEL_PADDING, len(lines) * LINE_HEIGHT + LABEL_PADDING


def _edge_element(a: Box, b: Box) -> str:
    """An arrow from below `a` to above `b`; sideways where they share a layer."""
    down = 1.0 if b.y > a.y else -1.0
    x0, y0, x1, y1 = a.x, a.y + down * a.height / 2, b.x, b.y - down * b.height / 2
    if abs(b.y - a.y) < LAYER_GAP / 2:
        side = 1.0 if b.x > a.x else -1.0
        x0, y0, x1, y1 = a.x + side * a.width / 2, a.y, b.x - side * b.width / 2, b.y
    bend = (y1 - y0) / 2
    path = f"M{x0:.1f},{y0:.1f} C{x0:.1f},{y0 + bend:.1f} {x1:.1f},{y1 - bend:.1f} {x1:.1f},{y1:.1f}"
    return element("path", d=path, fill="none", stroke=LINE_COLOR, stroke_opacity=0.6, marker_end="url(#ppl-arrow)")


def _node_element(box: Box, label: str, kind: str, color: str) -> str:
    lines = label.split("\n")
    first = box.y - (len(lines) - 1) * LINE_HEIGHT / 2 + 4
    look = {"x": f"{box.x:.1f}", "text_anchor": "middle", "fill": "#111111"}
    texts = [
        element("text", escaped_text(line), y=f"{first + i * LINE_HEIGHT:.1f}", **look) for i, line in enumerate(lines)
    ]
    return element("g", _shape_element(box, kind, color), *texts)


def _shape_element(box: Box, kind: str, color: str) -> str:
    """An ellipse for a random node, a hexagon for a cost, a rectangle for anything else."""
    look: dict[str, Any] = {"fill": color, "stroke": LINE_COLOR, "stroke_width": 2 if kind == "observed" else 1}
    x, y, w, h = box.x, box.y, box.width / 2, box.height / 2
    if kind in ELLIPSE_KINDS:
        return element("ellipse", cx=f"{x:.1f}", cy=f"{y:.1f}", rx=f"{w:.1f}", ry=f"{h + 2:.1f}", **look)
    if kind in HEXAGON_KINDS:
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
    return len(kind) * LETTER_WIDTH + 32


def _legend_elements(kinds: list[str], colors: dict[str, str], top: float) -> list[str]:
    found, x = [], MARGIN
    for kind in kinds:
        square = element("rect", x=round(x), y=round(top), width=11, height=11, fill=colors[kind], stroke=LINE_COLOR)
        found += [square, element("text", escaped_text(kind), x=round(x + 15), y=round(top + 10), fill="#777777")]
        x += _legend_width(kind)
    return found


NODE_STYLES: dict[str, tuple[str, str, str]] = {
    # kind: (fill, matplotlib marker, Graphviz shape)
    "parameter": ("#cfe8cf", "s", "box"),
    "input": ("#dddddd", "s", "box"),
    "hyper": ("#eeeeee", "s", "box"),
    "carried": ("#e3d3f0", "s", "box"),
    "deterministic": ("#ffffff", "D", "diamond"),
    "random": ("#fbe3a8", "o", "ellipse"),
    "observed": ("#bcd3f2", "o", "ellipse"),
    "cost": ("#f4b9b0", "h", "hexagon"),
}


class GraphedProgram(Protocol):
    """A compiled program, as far as pictures of it go."""

    @property
    def graph(self) -> nx.DiGraph:
        """The graph of its nodes and their estimators."""


def draw(program: GraphedProgram | nx.DiGraph, path: str | os.PathLike[str] | None = None, ax: Any = None) -> Any:
    """Draw the graph of a program: node kinds by colour and shape, the chosen estimator below each random node.

    Parameters
    ----------
    program : a Program, or a graph from `program.graph`.
    path : ends in ".svg": the picture is written; in ".dot" or ".gv": Graphviz source; any other ending: a picture file
        by matplotlib.
    ax : matplotlib axes to draw into.

    Returns
    -------
    The SVG picture, which notebooks show; the DOT text if `path` is a DOT file; the matplotlib axes where it draws.

    Raises
    ------
    ModelError : `program` has not been compiled, or matplotlib is needed and not installed.
    """
    if not isinstance(program, nx.DiGraph):
        require_program("ppl.draw", program)
    path = None if path is None else file_path("ppl.draw: path", path)
    if ax is not None and not hasattr(ax, "scatter"):
        raise ModelError(f"ppl.draw: ax must be matplotlib axes, not {shown(ax)}")
    graph = program if isinstance(program, nx.DiGraph) else program.graph
    ending = "" if path is None else os.path.splitext(path)[1]
    if ax is None and (path is None or ending in (".svg", ".dot", ".gv")):
        found = to_dot(graph) if ending in (".dot", ".gv") else to_svg(graph)
        if path is not None:
            with open(path, "w", encoding="utf-8") as file:
                file.write(str(found))
        return found
    try:
        import matplotlib.pyplot as plt  # slow to import, and optional
    except ImportError:
        raise ModelError("ppl.draw needs matplotlib (pip install matplotlib), or a path that ends in .dot") from None
    positions = layered_layout(graph)
    if ax is None:
        width = max(len([1 for p in positions.values() if p[1] == y]) for y in {p[1] for p in positions.values()})
        height = len({p[1] for p in positions.values()})
        _, ax = plt.subplots(figsize=(max(5.0, 2.2 * width), max(3.0, 1.4 * height)))
    _draw_by_matplotlib(graph, positions, ax)
    if path is not None:
        try:
            ax.figure.savefig(path, dpi=120, bbox_inches="tight")
        except ValueError as error:
            raise OptionError(f"ppl.draw: path={path!r}: {error}") from None
    return ax


def layered_layout(graph: nx.DiGraph) -> dict[str, tuple[float, float]]:
    """Positions by longest path from the sources (top to bottom), ordered within a layer by the mean of the parents."""
    depth: dict[str, int] = {}
    for name in nx.topological_sort(graph):
        parents = [depth[p] for p in graph.predecessors(name)]
        depth[name] = 1 + max(parents) if parents else 0
    for name in reversed(list(nx.topological_sort(graph))):
        children = [depth[c] for c in graph.successors(name)]
        if children and graph.in_degree(name) == 0:
            depth[name] = min(children) - 1
    layers: dict[int, list[str]] = defaultdict(list)
    for name, level in depth.items():
        layers[level].append(name)
    positions: dict[str, tuple[float, float]] = {}
    for level in sorted(layers):
        centre = {n: _mean([positions[p][0] for p in graph.predecessors(n) if p in positions]) for n in layers[level]}
        names = sorted(layers[level], key=lambda n: centre[n])
        for i, name in enumerate(names):
            positions[name] = (i - (len(names) - 1) / 2, -float(level))
    return positions


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _node_label(name: str, data: dict[str, Any]) -> str:
    axes = f"\n[{', '.join(data['axes'])}]" if data.get("axes") else ""
    estimator = "\n" + data["estimator"].replace("(", "\n(", 1).replace("\n()", "()") if data.get("estimator") else ""
    return f"{name}{axes}{estimator}"


def _draw_by_matplotlib(graph: nx.DiGraph, positions: dict[str, tuple[float, float]], ax: Any) -> None:
    for kind, (color, marker, _) in NODE_STYLES.items():
        names = [n for n, d in graph.nodes(data=True) if d["kind"] == kind]
        if names:
            nx.draw_networkx_nodes(
                graph, positions, names, node_color=color, node_shape=marker, node_size=1500, edgecolors="#444444",
                label=kind, ax=ax,
            )  # fmt: skip
    nx.draw_networkx_edges(graph, positions, ax=ax, node_size=1500, arrowsize=14, edge_color="#666666")
    labels = {n: _node_label(n, d) for n, d in graph.nodes(data=True)}
    nx.draw_networkx_labels(graph, positions, labels, font_size=7, ax=ax)
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8, frameon=False, markerscale=0.4)
    ax.margins(0.2)
    ax.set_axis_off()


def to_svg(graph: nx.DiGraph) -> Picture:
    """The graph as an SVG picture."""
    labels = {n: _node_label(n, d).replace("\n(", "(") for n, d in graph.nodes(data=True)}
    return svg_picture(graph, layered_layout(graph), {kind: look[0] for kind, look in NODE_STYLES.items()}, labels)


def to_dot(graph: nx.DiGraph) -> str:
    """The graph as Graphviz DOT source."""
    lines = ["digraph ppl {", "  rankdir=TB;", '  node [style=filled, fontname="Helvetica", fontsize=10];']
    for name, data in graph.nodes(data=True):
        color, _, shape = NODE_STYLES[data["kind"]]
        label = _dot_string(_node_label(name, data))
        lines.append(f"  {_dot_string(name)} [label={label}, shape={shape}, fillcolor={_dot_string(color)}];")
    lines += [f"  {_dot_string(a)} -> {_dot_string(b)};" for a, b in graph.edges]
    return "\n".join([*lines, "}"]) + "\n"


def _dot_string(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
