"""Drawing the stochastic computation graph: SVG and Graphviz DOT without dependencies, other pictures by matplotlib."""

from __future__ import annotations

import os
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from ppl.arguments import file_path, shown
from ppl.errors import ModelError, OptionError
from ppl.program.pictures.svg import Picture, picture
from ppl.runtime.prepared import require_program

if TYPE_CHECKING:
    import networkx as nx

    from ppl.program.program import Program
else:
    from ppl.lazy import networkx as nx

STYLE: dict[str, tuple[str, str, str]] = {
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


def draw(program: Program | nx.DiGraph, path: str | os.PathLike[str] | None = None, ax: Any = None) -> Any:
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
    _paint(graph, positions, ax)
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


def _label(name: str, data: dict[str, Any]) -> str:
    axes = f"\n[{', '.join(data['axes'])}]" if data.get("axes") else ""
    estimator = "\n" + data["estimator"].replace("(", "\n(", 1).replace("\n()", "()") if data.get("estimator") else ""
    return f"{name}{axes}{estimator}"


def _paint(graph: nx.DiGraph, positions: dict[str, tuple[float, float]], ax: Any) -> None:
    for kind, (color, marker, _) in STYLE.items():
        names = [n for n, d in graph.nodes(data=True) if d["kind"] == kind]
        if names:
            nx.draw_networkx_nodes(
                graph, positions, names, node_color=color, node_shape=marker, node_size=1500, edgecolors="#444444",
                label=kind, ax=ax,
            )  # fmt: skip
    nx.draw_networkx_edges(graph, positions, ax=ax, node_size=1500, arrowsize=14, edge_color="#666666")
    labels = {n: _label(n, d) for n, d in graph.nodes(data=True)}
    nx.draw_networkx_labels(graph, positions, labels, font_size=7, ax=ax)
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8, frameon=False, markerscale=0.4)
    ax.margins(0.2)
    ax.set_axis_off()


def to_svg(graph: nx.DiGraph) -> Picture:
    """The graph as an SVG picture."""
    labels = {n: _label(n, d).replace("\n(", "(") for n, d in graph.nodes(data=True)}
    return picture(graph, layered_layout(graph), {kind: look[0] for kind, look in STYLE.items()}, labels)


def to_dot(graph: nx.DiGraph) -> str:
    """The graph as Graphviz DOT source."""
    lines = ["digraph ppl {", "  rankdir=TB;", '  node [style=filled, fontname="Helvetica", fontsize=10];']
    for name, data in graph.nodes(data=True):
        color, _, shape = STYLE[data["kind"]]
        label = _quote(_label(name, data))
        lines.append(f"  {_quote(name)} [label={label}, shape={shape}, fillcolor={_quote(color)}];")
    lines += [f"  {_quote(a)} -> {_quote(b)};" for a, b in graph.edges]
    return "\n".join([*lines, "}"]) + "\n"


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
