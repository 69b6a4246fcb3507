"""Lowering: rewrite a request into nodes that the scheduler knows; values are unchanged.

`lower_request` is the stage. It splits loops over time, rewrites node by node (`lower_nodes`: markers disappear;
products, draws, linear algebra and users' functions become steps of their own), fuses products and gives sums in
float32 programs float64 accumulators. `split_into_particle_windows` rewrites outputs that are sums over particles, so
that a call may take the particles in windows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from ppl.compiler.lower.long_events import run_as_rows
from ppl.compiler.lower.loops import lower_loop, split_loops
from ppl.compiler.lower.products import fuse_products, lower_contraction
from ppl.compiler.lower.request import ALL_PARTICLES, LINEAR_OPS, Request
from ppl.compiler.lower.target import NEVER, Rewrites
from ppl.compiler.lower.views import (
    as_contiguous,
    as_stored,
    copy_unresolved_views,
    resolve_view,
    row_axis,
)
from ppl.ir import ops
from ppl.ir.node import Node, make, rebuild, remake, topological
from ppl.ir.op_facts import DRAWS, ELEMENTWISE, FUNCTIONS, LANE_OPS, LINEAR_ARGUMENTS, PRODUCTS
from ppl.ir.types import PARTICLES, Kind, Type


def lower_nodes(outputs: Sequence[Node], rules: Rewrites) -> list[Node]:
    """Rewrite `outputs` into the ops that the scheduler knows, as a target's `rules` say; values are unchanged."""
    inside = replace(rules, table_width=NEVER)  # where steps of their own would be called once for every step of a loop

    def visit(node: Node, args: tuple[Node, ...]) -> Node:
        if node.op == "loop":
            return lower_loop(node, args, lambda outputs: lower_nodes(outputs, inside))
        return _lower_node(node, args, rules)

    return copy_unresolved_views(rebuild(outputs, visit))


def _lower_node(node: Node, args: tuple[Node, ...], rules: Rewrites) -> Node:
    if node.op in ("stop", "scale_grad", "kept", "stopped"):
        return args[0]
    if node.op == "cast" and args[0].type.dtype == node.attrs["dtype"]:
        return args[0]
    if node.op == "contract":
        return lower_contraction(node, args[0], args[1], rules)
    if node.op in MATRIX_RULES:
        return MATRIX_RULES[node.op](node, *args)
    if node.op in ("external", "cumsum"):
        return remake(node, tuple(as_contiguous(x) for x in args))
    if node.op == "take" and args[0].type.shape[0] == 1:  # the index is clamped to the only entry
        shape = (*(1 for _ in args[1].type.shape), *args[0].type.shape[1:])
        return ops.expand(ops.reshape(args[0], shape), (), node.type.shape)
    if node.op == "take" and _is_small_table_read(node, _table_before_broadcast(args[0]), rules):
        return _take_by_comparisons(node, _table_before_broadcast(args[0]), args[1])
    if node.op in LANE_OPS:
        return lower_draw(node, args, rules)
    return flatten_short_dimensions(node, args, rules) or remake(node, args)


def _table_before_broadcast(table: Node) -> Node:
    """`table` before broadcasts over axes."""
    while table.op == "expand" and table.args[0].type.shape == table.type.shape:
        table = table.args[0]
    return table


def _is_small_table_read(node: Node, table: Node, rules: Rewrites) -> bool:
    """Whether many entries are taken from a table of a few numbers that is the same in every row."""
    shape = table.type.shape
    rows = row_axis(node.type.axes) is not None and row_axis(table.type.axes) is None
    return rows and len(shape) == 1 and 1 < shape[0] <= rules.choices and table.type.dtype == "float"


def _take_by_comparisons(node: Node, table: Node, index: Node) -> Node:
    """`take` by comparisons: they vectorise, and clamp the index; reading memory lane by lane is slower."""
    axes, shape = node.type.axes, node.type.shape
    size = table.type.shape[0]
    entries = [ops.reshape(ops.window(table, ((k, 1, 1),)), ()) for k in range(size)]
    found = ops.expand(entries[-1], axes, shape)
    for k in reversed(range(size - 1)):
        found = ops.where(ops.less_equal(index, k), ops.expand(entries[k], axes, shape), found)
    return found


def accumulate_in_float64(outputs: Sequence[Node], scalars: int) -> tuple[list[Node], set[Node]]:
    """Give the sums over rows below the first `scalars` outputs accumulators in float64.

    Such a sum is split, so that what it adds up within a row stays in the program's float type.
    """
    found: set[Node] = set()
    stack, seen = list(outputs[:scalars]), set(outputs[:scalars])
    while stack:
        node = stack.pop()
        row = row_axis(node.args[0].type.axes) if node.op == "sum" else None
        if row is not None and row in node.attrs["axes"] and not node.type.axes and node.type.event_size == 1:
            found.add(node)
        else:
            stack += [a for a in node.args if not a.type.axes and a not in seen and node.op != "get"]
            seen.update(node.args)
    in_double: set[Node] = set()

    def visit(node: Node, args: tuple[Node, ...]) -> Node:
        if node not in found:
            return remake(node, args)
        row = row_axis(args[0].type.axes)
        rest, dims = tuple(a for a in node.attrs["axes"] if a != row), node.attrs["dims"]
        inner = make("sum", args[0], axes=rest, dims=dims) if rest or dims else args[0]
        outer = make("sum", inner, axes=(row,), dims=())
        in_double.add(outer)
        return outer

    return (rebuild(outputs, visit), in_double) if found else (list(outputs), in_double)


def lower_draw(node: Node, args: tuple[Node, ...], rules: Rewrites) -> Node:
    """The draws or slopes of `node` from lowered arguments, as a step of their own where they are many."""
    least = rules.lanes
    if node.op not in DRAWS:
        many = _count_entries(node, least) >= least
        return make("lanes", *map(as_stored, args), draw=node.op) if many else remake(node, args)
    *parameters, key, column = args
    own, place = _before_broadcast(key), _before_broadcast(column)
    count = node.type.event_size
    ordered = place.op == "const" and np.array_equal(place.attrs["value"].value.ravel(), np.arange(count))
    attrs = {"draw": node.op, "stream": node.attrs["stream"]}
    if count >= least and not own.type.shape and ordered:
        return make("draw_rows", *map(as_contiguous, parameters), ops.expand(own, node.type.axes), **attrs)
    if _count_entries(node, least) < least:
        return remake(node, args)
    if _numbers_each_row(place, node.type) and not own.type.axes and not own.type.shape:
        return make("lanes", *map(as_stored, parameters), own, **attrs, by_row=True)
    return make("lanes", *map(as_stored, (*parameters, key, column)), **attrs, by_row=False)


def _numbers_each_row(place: Node, t: Type) -> bool:
    """Whether `place` is the number of each entry of a value of type `t`, a row of one entry."""
    if place.op != "rowid" or t.axes != (place.attrs["axis"],) or t.event_size != 1:
        return False
    return place.attrs["axis"].size is not None and place.attrs["axis"].kind is Kind.PLATE


def _count_entries(node: Node, least: int) -> int:
    """Entries of a value, as many as `least` where they run over rows or a number known only at run time."""
    total = node.type.event_size
    for axis in node.type.axes:
        total *= least if axis.size is None else axis.size
    return least if row_axis(node.type.axes) is not None else total


def _before_broadcast(x: Node) -> Node:
    """`x` before broadcasts and reshapes."""
    while x.op == "expand" or (x.op == "reshape" and x.args[0].type.event_size == x.type.event_size):
        x = x.args[0]
    return x


def _lu(x: Node) -> Node:
    return make("lu", as_contiguous(x))


def _lower_linsolve(node: Node, a: Node, b: Node) -> Node:
    return make("lu_solve", _lu(a), as_contiguous(b), transposed=node.attrs["transposed"])


def _lower_inverse(node: Node, x: Node) -> Node:
    """Row i is A^-T e_i."""
    unit = ops.expand(ops.const(np.eye(x.type.shape[-1])), x.type.axes, x.type.shape)
    return make("lu_solve", _lu(x), as_contiguous(unit), transposed=True)


def _lu_entries(lu: Node, first: int, count: int, step: int) -> Node:
    lead = [(0, n, 1) for n in lu.type.shape[:-1]]
    return ops.window(lu, (*lead, (first, count, step)))


def _lu_entry_from_end(places: int) -> Callable[[Node, Node], Node]:
    def rule(node: Node, x: Node) -> Node:
        lu = _lu(x)
        return ops.reshape(_lu_entries(lu, lu.type.shape[-1] - places, 1, 1), node.type.shape)

    return rule


def _lower_log_det(node: Node, x: Node) -> Node:
    d = x.type.shape[-1]
    return ops.reduce_sum(ops.log(ops.absolute(_lu_entries(_lu(x), 0, d, d + 1))), -1)


def _with_contiguous_operands(node: Node, *args: Node) -> Node:
    return remake(node, tuple(as_contiguous(x) for x in args))


MATRIX_KERNELS = {"solve": "solve_lower", "cholesky": "cholesky", "lu": "lu", "lu_solve": "lu_solve"}
"""The kernels of the steps, less the program's dtype."""


def matrix_size(node: Node) -> int:
    """Rows of each of the matrices of a step."""
    return node.type.shape[-1] if node.op != "lu" else node.args[0].type.shape[-1]


def matrix_kernel_sizes(node: Node) -> list[int]:
    """How many matrices a kernel takes, right sides of each if it solves systems, rows of a matrix, and which way."""
    d = matrix_size(node)
    if node.op in ("cholesky", "lu"):
        return [math.prod(node.args[0].type.shape[:-2]), d]
    matrix, b = (arg.type.shape for arg in node.args)
    count = math.prod(matrix[:-1] if node.op == "lu_solve" else matrix[:-2])
    return [count, math.prod(b) // (count * d), d, int(node.attrs["transposed"])]


MATRIX_RULES: dict[str, Callable[..., Node]] = {
    "solve": _with_contiguous_operands,
    "cholesky": _with_contiguous_operands,
    "linsolve": _lower_linsolve,
    "inverse": _lower_inverse,
    "det": _lu_entry_from_end(1),
    "sign_det": _lu_entry_from_end(2),
    "log_det": _lower_log_det,
}


def flatten_short_dimensions(node: Node, args: tuple[Node, ...], rules: Rewrites) -> Node | None:
    """`node` with `args`, computed over its event as one dimension; None where that is not worth it."""
    shape, size = node.type.shape, node.type.event_size
    if node.op not in ELEMENTWISE or len(shape) < 2 or size < rules.flat or not 1 < shape[-1] < rules.short:
        return None
    if shape[-1] % rules.vector == 0:
        return None
    if node.op not in FUNCTIONS and not (
        any(map(_is_flattened, args)) and all(_flattens_without_copy(a, size) for a in args)
    ):
        return None
    return ops.reshape(make(node.op, *(_flatten(a, size) for a in args), **node.attrs), shape)


def _is_flattened(x: Node) -> bool:
    """Whether `x` is the result of a loop over a whole event."""
    return x.op == "reshape" and x.args[0].op in ELEMENTWISE and len(x.args[0].type.shape) == 1


def _flattens_without_copy(x: Node, size: int) -> bool:
    """Whether the entries of `x` can be read one after another without a copy."""
    return resolve_view(_flatten(x, size), {}) is not None


def _flatten(x: Node, size: int) -> Node:
    """`x` with one event dimension."""
    if x.op == "expand" and not x.args[0].type.shape:
        return ops.expand(x.args[0], x.type.axes, (size,)) if not x.type.branch else ops.reshape(x, (size,))
    if x.op == "reshape" and x.args[0].type.shape == (size,):
        return x.args[0]
    return ops.reshape(x, (size,))


MULTILINEAR_ARGUMENTS = {**dict.fromkeys(PRODUCTS, (0, 1)), **LINEAR_ARGUMENTS}
"""Ops that are linear in each of these arguments, and the arguments."""


def split_into_particle_windows(nodes: Sequence[Node]) -> list[Node] | None:
    """Rewrite outputs so that their sums over windows of particles are the outputs for all particles.

    That needs outputs that are linear in sums over particles, and no sum over particles that is used again per
    particle; otherwise, or if there is nothing to sum, the result is None. Summands that do not depend on particles
    get the window's share of all particles as a factor.
    """
    share = ops.div(ops.size(PARTICLES), ops.size(ALL_PARTICLES))
    order = topological(nodes)
    made: dict[Node, Node] = {}
    summed: dict[Node, bool] = {}
    for node in order:
        state = _linear_in_particle_sums(node, summed)
        if state is None:
            return None
        args = [made[a] for a in node.args]
        if state and node.op in ("add", "sub", "concat", "route", "where"):
            first = 1 if node.op == "where" else 0
            parts = [a if i < first or summed[old] else ops.mul(a, share)
                     for i, (a, old) in enumerate(zip(args, node.args, strict=True))]  # fmt: skip
            args = [ops.expand(a, old.type.axes, old.type.shape) for a, old in zip(parts, node.args, strict=True)]
        summed[node] = state
        total = node.op == "size" and node.attrs["axis"] == PARTICLES
        made[node] = ops.size(ALL_PARTICLES) if total else remake(node, tuple(args))
    if not any(summed[n] for n in nodes) or any(PARTICLES in n.type.axes for n in nodes):
        return None
    return [made[n] if summed[n] else ops.mul(made[n], share) for n in nodes]


def _linear_in_particle_sums(node: Node, known: dict[Node, bool]) -> bool | None:
    """Whether `node` is a linear function of sums over particles; None if it is another function of them."""
    sums = [i for i, a in enumerate(node.args) if known[a]]
    inner = [a for a in node.args if PARTICLES in a.type.axes]
    if any(a.kind is Kind.REPEATS for a in node.type.axes) or (
        node.op == "loop" and (sums or _reduces_particles_inside(node))
    ):
        return None
    if PARTICLES in node.type.axes or node.op == "loop":
        return None if sums else False
    if inner:
        return True if node.op in ("sum", "contract", "put") and not sums and node.type.dtype == "float" else None
    if not sums:
        return False
    linear = node.op in LINEAR_OPS or (
        set(sums) <= set(MULTILINEAR_ARGUMENTS.get(node.op, ())) and (len(sums) == 1 or node.op == "where")
    )
    return True if linear and node.type.dtype == "float" else None


def _reduces_particles_inside(loop: Node) -> bool:
    """Whether the body of `loop` reduces over particles, or counts them."""
    return any(
        n.op in ("loop", "size") or (PARTICLES not in n.type.axes and any(PARTICLES in a.type.axes for a in n.args))
        for n in topological(loop.attrs["body"].outputs)
    )


def lower_request(request: Request, nodes: Sequence[Node], rules: Rewrites, dtype: str) -> tuple[list[Node], set[Node]]:
    """The nodes of a request as the target can run them, and those that add up to float64."""
    kept = len(nodes) - len(request.arrays)
    cast = [n if n.type.dtype == "int" and i >= kept else ops.cast(n, "float") for i, n in enumerate(nodes)]
    cast = (None if request.arrays else run_as_rows(cast, rules.long_event)) or cast
    made = lower_nodes(split_loops(cast), rules)
    made = fuse_products(made) if rules.joined else made
    return accumulate_in_float64(made, len(request.scalars) if dtype == "float32" and rules.double_sums else 0)
