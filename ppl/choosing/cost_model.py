"""Cost model: nanoseconds of a step of a program, from the operations and bytes of its schedule.

Nothing is timed, so that what is chosen by prices is the same on every machine. The prices are rough figures of one
core of a processor with vectors of eight numbers, fitted to the steps of `python -m benchmarks regret` (float32, Adam):
on 22 of 27 graphs the ratios of its candidates' times are within a factor of 1.4 (one standard deviation)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from ppl.compiler.lower.products import multiplication_count
from ppl.compiler.lower.request import Request
from ppl.compiler.lower.sizes import Poly, entry_count
from ppl.compiler.lower.target import Target
from ppl.compiler.pipeline import emit_request
from ppl.compiler.schedule.stages import Cluster, Op, Opaque, Stage, Value
from ppl.ir.node import Node, topological
from ppl.ir.op_facts import DRAWS, FUNCTIONS, LEAVES, VIEWS

OPERATION_KINDS = ("products", "functions", "draws", "arithmetic", "bytes", "steps", "looped")


class UnitPrices(NamedTuple):
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


OperationCounts = dict[str, Poly]


def count_operations(request: Request, dtype: str, target: Target) -> OperationCounts:
    """Return how many of each kind one step takes, as polynomials in the numbers of rows and particles."""
    emitted, _ = emit_request(request, dtype, target)
    found: OperationCounts = dict.fromkeys(OPERATION_KINDS, Poly())
    if not emitted.stages:
        groups = (request.scalars, request.grads, request.aux, request.arrays)
        _count_nodes(found, topological([n for group in groups for _, n in group]))
    for stage in emitted.stages:
        _count_stage(found, stage, np.dtype(dtype).itemsize, 1, False)
    return found


def step_nanoseconds(counts: OperationCounts, sizes: Mapping[str, int], price: UnitPrices | None = None) -> float:
    """Return what a step takes with so many rows and particles."""
    given, price = _SizesOrOne(sizes), price or UnitPrices()
    kinds = OPERATION_KINDS if given["n_particles"] > 1 else OPERATION_KINDS[:-1]
    return price.call + sum(getattr(price, kind) * counts[kind].evaluate(given) for kind in kinds)


def _count_stage(found: OperationCounts, stage: Stage, itemsize: int, times: int, looped: bool) -> None:
    """Count a stage; what a loop over time moves between its steps stays in the cache and is not counted."""
    for step in (*stage.steps, *stage.partitioned):
        found["steps"] += times
        if not looped:
            found["bytes"] += bytes_moved(step, itemsize) * times
        if isinstance(step, Cluster):
            for op in step.ops:
                found[_operation_kind(op.node)] += _iterations(op) * times
                if looped:
                    found["looped"] += _iterations(op) * times
        elif step.node.op == "gemm":
            found["products"] += multiplication_count(step.node) * (2 * times)
        elif step.inner:
            for inner in step.inner:
                _count_stage(found, inner, itemsize, times * int(step.node.attrs.get("length", 1)), True)
        else:
            found[_operation_kind(step.node)] += entry_count(step.node.type) * times


def _count_nodes(found: OperationCounts, nodes: Iterable[Node]) -> None:
    """Count straight-line code: every node once."""
    for node in nodes:
        if node.op not in VIEWS and node.op not in LEAVES:
            found[_operation_kind(node)] += entry_count(node.type)


def _operation_kind(node: Node) -> str:
    if node.op in DRAWS or node.op == "noise":
        return "draws"
    return "functions" if node.op in FUNCTIONS else "arithmetic"


def _iterations(op: Op) -> Poly:
    """Return how often an op of a loop runs."""
    size = Poly.of(1)
    for dim in op.domain:
        size = size * dim.size
    return size


class _SizesOrOne(dict[str, int]):
    """Sizes of a call; one that is not known is 1."""

    def __missing__(self, name: str) -> int:
        return 1


def bytes_moved(step: Cluster | Opaque, itemsize: int) -> Poly:
    """Return the bytes that a step over all rows reads and writes, each value once; scratch memory and tables aside."""
    if isinstance(step, Cluster):
        return sum((size * (itemsize if real else 8) for size, real in _cluster_values(step)), Poly())
    args = [] if step.node.op in ("noise", "rowid", "rowkey") else step.node.args
    if step.node.op in ("table_dot", "table_sum"):
        width = step.node.args[0].type.shape[-1]
        total = entry_count(step.node.args[1].type) * width + entry_count(step.node.args[2].type)
    else:
        total = sum((entry_count(a.type) for a in args), Poly())
    return (total + entry_count(step.node.type) * (2 if step.target.accumulates else 1)) * itemsize


def _cluster_values(cluster: Cluster) -> Iterator[tuple[Poly, bool]]:
    """(entries, whether they are of the program's float type) of every value that is read or written."""
    made = {op.target for op in cluster.ops}
    read: dict[Value, Poly] = {}
    for op in cluster.ops:
        for access in op.reads:
            if access.value not in made and access.value.buffer is not None:
                read[access.value] = _iterations(op) if access.gather else access.value.extent()
    for value, size in read.items():
        yield size, value.dtype != "int"
    for value in made:
        if value.buffer is not None and value not in cluster.scratch:
            yield value.extent() * (2 if value.accumulates else 1), value.dtype != "int"
