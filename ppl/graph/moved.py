"""Which nodes move with parameters, and which with continuous noise: by id, with a name for messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ppl.distributions.base import Distribution
from ppl.graph.edges import is_flat
from ppl.graph.smoothness import ENDS
from ppl.ir.node import Node

WITHOUT_EFFECT = ("shift", "formula")
"""Tags of stops whose values cancel, or only choose between formulas of one value."""

if TYPE_CHECKING:
    from ppl.graph.stochastic import StochasticGraph


def by_parameters(graph: StochasticGraph) -> dict[int, str]:
    """Nodes that a parameter reaches without passing a random node or a jump, with the parameter's name."""
    found: dict[int, str] = {}
    for node in graph.order:
        if node.op == "param":
            found[id(node)] = node.attrs["name"]
        elif node.op != "sample" and not (node.op == "stop" and node.attrs["tag"] in ENDS):
            names = [found[id(a)] for i, a in enumerate(node.args) if id(a) in found and not is_flat(node, i)]
            if names:
                found[id(node)] = names[0]
    return found


def by_noise(graph: StochasticGraph) -> dict[int, str]:
    """Nodes that vary continuously with a continuous random node, with its name."""
    found: dict[int, str] = {}
    for node in graph.order:
        if node.op == "sample":
            site = node.attrs["site"]
            if not site.dist.discrete and site.name not in graph.enumerated:
                found[id(node)] = site.name
            continue
        if node.op == "stop" and node.attrs["tag"] in WITHOUT_EFFECT:
            continue
        names = [found[id(a)] for i, a in enumerate(node.args) if id(a) in found and not is_flat(node, i)]
        if names:
            found[id(node)] = names[0]
    return found


def moved_by(node: Node, dist: Distribution, learned: set[int]) -> str | None:
    """What moves a parameter of `dist`: "" a learnable parameter, or a random node's name; None where nothing can.

    A random node counts where its own parameters are `learned` and its sample may have a path, or be relaxed with what
    follows it. A discrete node above one that has neither path nor relaxation is never relaxed; no path passes a step.
    """
    follows = dist.reparameterized or dist.relaxable
    names, stack, seen = [], [(node, False)], set[tuple[int, bool]]()
    while stack:
        step, stepped = stack.pop()
        if (id(step), stepped) in seen or id(step) not in learned:
            continue
        seen.add((id(step), stepped))
        if step.op == "param":
            return ""
        if step.op == "sample":
            site = step.attrs["site"]
            if not stepped and (not site.dist.discrete or (site.dist.relaxable and follows)):
                names.append(site.name)
            continue
        flat = (step.op != "cast" and is_flat(step, i) for i in range(len(step.args)))
        stack.extend((a, stepped or steps) for a, steps in zip(step.args, flat, strict=True))
    return names[0] if names else None
