"""What a step of a program takes, read off its schedule: operations by kind and bytes, times what each takes.

Nothing is timed, so that what is chosen by prices is the same on every machine. The prices are rough figures of one
core of a processor with vectors of eight numbers, fitted to the steps of `python -m benchmarks regret` (float32, Adam):
on 22 of 27 graphs the ratios of its candidates' times are within a factor of 1.4 (one standard deviation).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from ppl.compiler.emit.assemble import assemble
from ppl.compiler.lower.joined import multiplications
from ppl.compiler.lower.request import Request
from ppl.compiler.lower.target import Target
from ppl.compiler.lower.views import Poly, entries
from ppl.compiler.schedule.fusion import Op
from ppl.compiler.schedule.stages import Cluster, Stage
from ppl.ir.node import Node, topological
from ppl.ir.op_facts import DRAWS, FUNCTIONS, LEAVES, VIEWS
from ppl.program.traffic import moved

KINDS = ("products", "functions", "draws", "arithmetic", "bytes", "steps", "looped")


class Price(NamedTuple):
    """Nanoseconds of one of each kind: flops of products, functions (exp, log, ...), random numbers, other arithmetic,
    bytes moved between steps, and steps of the schedule begun; `looped` is what operations in a loop over time take on
    top where there is more than one particle; `call` is that of a step in the loop of `ppl.fit`.
    """

    products: float = 0.01
    functions: float = 1.0
    draws: float = 0.3
    arithmetic: float = 0.12
    bytes: float = 0.025
    steps: float = 80.0
    looped: float = 0.1
    call: float = 130.0


Counts = dict[str, Poly]


def counted(request: Request, dtype: str, target: Target) -> Counts:
    """How many of each kind one step takes, as polynomials in the numbers of rows and particles."""
    fields, _ = assemble(request, dtype, target)
    found: Counts = dict.fromkeys(KINDS, Poly())
    if not fields["stages"]:
        groups = (request.scalars, request.grads, request.aux, request.arrays)
        _add_nodes(found, topological([n for group in groups for _, n in group]))
    for stage in fields["stages"]:
        _add(found, stage, np.dtype(dtype).itemsize, 1, False)
    return found


def nanoseconds(counts: Counts, sizes: Mapping[str, int], price: Price | None = None) -> float:
    """What a step takes with so many rows and particles."""
    given, price = _Sizes(sizes), price or Price()
    kinds = KINDS if given["n_particles"] > 1 else KINDS[:-1]
    return price.call + sum(getattr(price, kind) * counts[kind].evaluate(given) for kind in kinds)


def _add(found: Counts, stage: Stage, itemsize: int, times: int, looped: bool) -> None:
    """Count a stage; what a loop over time moves between its steps stays in the cache and is not counted."""
    for step in (*stage.steps, *stage.owned):
        found["steps"] += times
        if not looped:
            found["bytes"] += moved(step, itemsize) * times
        if isinstance(step, Cluster):
            for op in step.ops:
                found[_kind(op.node)] += _turns(op) * times
                if looped:
                    found["looped"] += _turns(op) * times
        elif step.node.op == "gemm":
            found["products"] += multiplications(step.node) * (2 * times)
        elif step.inner:
            for inner in step.inner:
                _add(found, inner, itemsize, times * int(step.node.attrs.get("length", 1)), True)
        else:
            found[_kind(step.node)] += entries(step.node.type) * times


def _add_nodes(found: Counts, nodes: Iterable[Node]) -> None:
    """Straight-line code: every node once."""
    for node in nodes:
        if node.op not in VIEWS and node.op not in LEAVES:
            found[_kind(node)] += entries(node.type)


def _kind(node: Node) -> str:
    if node.op in DRAWS or node.op == "noise":
        return "draws"
    return "functions" if node.op in FUNCTIONS else "arithmetic"


def _turns(op: Op) -> Poly:
    size = Poly.of(1)
    for dim in op.domain:
        size = size * dim.size
    return size


class _Sizes(dict[str, int]):
    """Sizes of a call; one that is not known is 1."""

    def __missing__(self, name: str) -> int:
        return 1
