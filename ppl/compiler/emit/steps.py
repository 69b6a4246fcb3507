"""Emission of the steps that are not loop nests: noise, row ids, triangular systems, rows of draws by rejection,
products with rows of tables, external functions. Other products: `emit_products`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ppl.compiler.emit.checks import one, piece, rest
from ppl.compiler.emit.scalar import arguments
from ppl.compiler.lower.layout import Entry, Poly, View, axis_size, identifier
from ppl.compiler.schedule.fusion import Value
from ppl.compiler.schedule.stages import Opaque
from ppl.compiler.schedule.values import Builder
from ppl.ir.node import Node
from ppl.ir.reference.externals import name_of, wrong_shape
from ppl.ir.reference.noise import node_hash
from ppl.ir.types import PARTICLES, Axis, Kind

Row = Axis | None


def start_of(value: Value, row: Row) -> str:
    """Where the first row of the tile lies in the array of `value`."""
    buffer = value.buffer
    assert buffer is not None
    step = value.steps.get(row) if row is not None else None
    if buffer.rows and step is not None:
        return f"{buffer.offset} + {buffer.before_tile(step)}"
    return buffer.offset


def operand(builder: Builder, node: Node, row: Row, more: str = "") -> str:
    """The array that `node` lies in, from the tile's first row on, `more` entries later."""
    read = builder.access(node)
    offset = Poly.of(read.view.offset)
    for axis, key in read.view.axes.items():
        if isinstance(key, Entry):
            offset = offset + read.value.steps[axis] * key.position
    if row is not None and row in read.view.coefs:
        offset = offset + Poly.of("t0") * read.view.coefs[row]
    extra = f" + {offset}" if offset.terms else ""
    assert read.value.buffer is not None
    at = f"{start_of(read.value, row)}{extra}{more}"
    return rest(read.value, at, "an operand", f"tail({read.value.buffer.array}, {at})")


def table_product(step: Opaque, builder: Builder, row: Row, name: str) -> list[str]:
    """The call of the function `name` for a product with rows of a table."""
    assert step.target.buffer is not None
    out = rest(step.target, start_of(step.target, row), name)
    return [f"{name}({out}, {', '.join(operand(builder, x, row) for x in step.node.args)}, n)"]


def _time(node: Node, builder: Builder) -> str:
    return _scalar(builder, node.args[0]) if node.args else "0"


def _scalar(builder: Builder, node: Node) -> str:
    value = builder.value(builder.base(node))
    if value.node.op == "const":
        return str(int(value.node.attrs["value"].value))
    assert value.buffer is not None
    return value.buffer.offset if value.buffer.array == "" else f"{value.buffer.array}[{value.buffer.offset}]"


def _rows(value: Value, row: Row) -> tuple[str, str, str, str, str, Poly]:
    """(ids, start, first, count, base, entries a row) of a noise-like value, for the run-time plate that has ids."""
    axes = value.axes
    plate = next((a for a in axes if a.kind is Kind.PLATE and a.size is None), None)
    if row is None or row not in axes:
        return "no_ids", "0", "0", "1", "0", value.extent()
    if row.kind is Kind.REPEATS:
        if plate is None:
            return "no_ids", "0", "t0", "n", "0", value.extent(skip=(row,))
        count, name = axis_size(plate), identifier(plate.name)
        return f"ids_{name}", "0", f"row0_{name}", str(count), f"(t0 + q) * total_{name}", value.extent((row, plate))
    name = identifier(row.name)
    if row.size is not None:
        return "no_ids", "0", "t0", "n", "0", value.extent(skip=(row,))
    return f"ids_{name}", "t0", f"row0_{name} + t0", "n", "0", value.extent(skip=(row,))


def noise(step: Opaque, builder: Builder, row: Row, dtype: str) -> list[str]:
    """Fill a tile with the uniforms of its rows."""
    node, value = step.node, step.target
    ids, start, first, count, base, per_row = _rows(value, row)
    key = f"U(mix(U(seed), U({node_hash(node.attrs['name']):#x})))"
    bits = "f32" if dtype == "float32" else "f64"
    fill, entries = f"fill_rows_{bits}", str(per_row)
    if builder.windowed and PARTICLES in value.axes:
        fill, entries = f"fill_windows_{bits}", _windows(value, row, node.type.event_size)
    at, time, purpose = start_of(value, row), _time(node, builder), node.attrs["purpose"]
    assert value.buffer is not None
    if "columns" in node.attrs and PARTICLES in value.axes:
        offset = "first_particle" if builder.windowed else "0"
        rows = (rest(value, at, "noise"), "t0", "n", axis_size(PARTICLES), node.type.event_size, node.attrs["columns"])
        return [f"fill_columns_{bits}({arguments(*rows, offset, key, time, 'step', purpose)})"]

    def call(at: str) -> str:
        rows = (rest(value, at, "noise"), ids, start, first, count, base)
        return f"{fill}({arguments(*rows, *entries.split(', '), key, time, 'step', purpose)})"

    return _repeated(base, at, value, row, call)


def _windows(value: Value, row: Row, event: int) -> str:
    """Pieces a row, entries of each in the window, entries for all particles, and the window's first entry."""
    pieces = Poly.of(1)
    for axis in value.axes:
        pieces = pieces * (1 if axis in (row, PARTICLES) else axis_size(axis))
    total = Poly.of("n_particles_total") * event
    return f"{pieces}, {axis_size(PARTICLES) * event}, {total}, {Poly.of('first_particle') * event}"


def _repeated(base: str, at: str, value: Value, row: Row, call: Callable[[str], str]) -> list[str]:
    if base == "0":
        return [call(at)]
    assert row is not None
    return ["for q in range(n):", "    " + call(f"{at} + q * {value.steps[row]}")]


def rowkey(step: Opaque, builder: Builder, row: Row, dtype: str) -> list[str]:
    """Keys for external functions."""
    node, value = step.node, step.target
    ids, start, first, count, base, per_row = _rows(value, row)
    key = f"U(mix(U(seed), U({node_hash(node.attrs['name']):#x})))"
    at = start_of(value, row)
    fill, entries = "row_keys", str(per_row)
    if builder.windowed and PARTICLES in value.axes:
        fill, entries = "window_keys", _windows(value, row, 1)

    def call(at: str) -> str:
        rows = (rest(value, at, "row keys"), ids, start, first, count, base)
        return f"{fill}({arguments(*rows, *entries.split(', '), key, 'step')})"

    lines = _repeated(base, at, value, row, call)
    if node.args:
        size = value.extent(skip=() if row is None else (row,)) * ("n" if row in value.axes else 1)
        lines.append(f"mix_time({piece(value, at, size, 'row keys')}, {_time(node, builder)})")
    return lines


def rowid(step: Opaque, builder: Builder, row: Row, dtype: str) -> list[str]:
    """Global ids of the rows."""
    value, axis = step.target, step.node.attrs["axis"]
    out = rest(value, start_of(value, row), "row ids")
    if axis.size is not None or axis.kind is Kind.REPEATS:
        first = "t0" if axis == row else "0"
        count = "n" if axis == row else str(axis_size(axis))
        return [f"row_ids({out}, no_ids, 0, {first}, {count})"]
    name = identifier(axis.name)
    if axis == row:
        return [f"row_ids({out}, ids_{name}, t0, row0_{name} + t0, n)"]
    return [f"row_ids({out}, ids_{name}, 0, row0_{name}, {axis_size(axis)})"]


def _each(axes: Sequence[Axis], row: Row) -> tuple[list[str], dict[Axis, str]]:
    """Nested loops over all entries of named axes, and the name of each one's index."""
    lines, names = [], {}
    for depth, axis in enumerate(axes):
        names[axis] = f"i{depth}"
        lines.append("    " * depth + f"for i{depth} in range({'n' if axis == row else axis_size(axis)}):")
    return lines, names


def _address(value: Value, view: View | None, row: Row, names: Mapping[Any, str]) -> str:
    """Where the event of one entry of named axes begins, in the array of `value`, seen through `view`."""
    text, offset = start_of(value, row), Poly.of(0 if view is None else view.offset)
    for axis, step in value.steps.items():
        key = axis if view is None else view.axes[axis]
        if isinstance(key, Entry):
            offset = offset + step * key.position
        else:
            text += f" + {names[key]} * {step}"
    return f"{text} + {offset}" if offset.terms else text


def external(step: Opaque, builder: Builder, row: Row, dtype: str) -> list[str]:
    """Call a user's function once for every entry of the named axes."""
    node, value = step.node, step.target
    fn, which, called = node.attrs["fn"], node.attrs["output"], name_of(node.attrs["fn"])
    lines, names = _each(node.attrs["axes"], row)
    args = []
    for i, arg in enumerate(node.args):
        read = builder.access(arg)
        assert read.value.buffer is not None
        text = _argument(read.value, _address(read.value, read.view, row, names), arg)
        args.append(f"U({text})" if i == 0 and fn.key else text)
    pad = "    " * len(lines)
    call = f"{builder.function(fn, which)}({', '.join(args)})"
    inputs = len(node.args) - 1 - bool(fn.key)
    if which is not None:
        call = f"{call}[{which}]" if inputs > 1 else f"only({call})"
    lines.append(f"{pad}result = {call}")
    assert value.buffer is not None
    at = _address(value, None, row, names)
    if node.type.shape:
        refusal = f"SimulatorError({wrong_shape(called, which, node.type.shape)!r}, {called!r})"
        lines += [f"{pad}if not is_shaped(result, {node.type.shape}):", f"{pad}    raise {refusal}",
                  f"{pad}put({piece(value, at, node.type.event_size, called)}, I(0), result)"]  # fmt: skip
    else:
        stored = {"bool": "1 if result else 0", "int": "whole(result)"}.get(node.type.dtype, "result")
        lines.append(f"{pad}{one(value, at, called)} = {stored}")
    return lines


def solve(step: Opaque, builder: Builder, row: Row, dtype: str) -> list[str]:
    """Solve the triangular systems of every entry of the named axes."""
    node = step.node
    lines, names = _each(node.type.axes, row)
    reads = [builder.access(arg) for arg in node.args]
    where = [(r.value, _address(r.value, r.view, row, names)) for r in reads]
    where.append((step.target, _address(step.target, None, row, names)))
    arrays = [rest(v, at, "a solve") for v, at in where]
    d = node.type.shape[-1]
    call = arguments(*arrays, node.type.event_size // d, d, int(node.attrs["transposed"]))
    return [*lines, f"{'    ' * len(lines)}solve_lower({call})"]


def cumsum(step: Opaque, builder: Builder, row: Row, dtype: str) -> list[str]:
    """Running sums in the event of every entry of the named axes."""
    node = step.node
    lines, names = _each(node.type.axes, row)
    read = builder.access(node.args[0])
    x = rest(read.value, _address(read.value, read.view, row, names), "a running sum")
    out = rest(step.target, _address(step.target, None, row, names), "a running sum")
    call = arguments(x, out, node.type.event_size // node.type.shape[-1], node.type.shape[-1])
    return [*lines, f"{'    ' * len(lines)}cumulate({call})"]


def draw_rows(step: Opaque, builder: Builder, row: Row, dtype: str) -> list[str]:
    """Draw the event of every entry of the named axes by rejection."""
    node = step.node
    lines, names = _each(node.type.axes, row)
    *parameters, key = (builder.access(arg) for arg in node.args)
    arrays = [rest(step.target, _address(step.target, None, row, names), "draws")]
    arrays += [rest(x.value, _address(x.value, x.view, row, names), "draws") for x in parameters]
    word = f"U({one(key.value, _address(key.value, key.view, row, names), 'draws')})"
    call = arguments(*arrays, word, 0, node.attrs["stream"], node.type.event_size)
    return [*lines, f"{'    ' * len(lines)}{_blocks(node, 'row', dtype)}({call})"]


def lanes(step: Opaque, builder: Builder, row: Row, dtype: str) -> list[str]:
    """Draws or slopes of all entries of a value in the tile."""
    node, given = step.node, []
    by_row = node.attrs.get("by_row", False)
    for i, arg in enumerate(node.args):
        value = builder.access(arg).value
        at, is_key = start_of(value, row), by_row and i == len(node.args) - 1
        given.append(f"U({one(value, at, 'draws')})" if is_key else rest(value, at, "draws"))
    out = rest(step.target, start_of(step.target, row), "draws")
    given += ["t0"] if by_row else []
    given += [str(node.attrs["stream"])] if "stream" in node.attrs else []
    count = step.target.extent(skip=() if row is None else (row,)) * ("n" if row is not None else 1)
    return [f"{_blocks(node, 'row' if by_row else 'lanes', dtype)}({arguments(out, *given, count)})"]


def _blocks(node: Node, form: str, dtype: str) -> str:
    return f"{node.attrs['draw'].removesuffix('_draw')}_{form}_{'f32' if dtype == 'float32' else 'f64'}"


def _argument(value: Value, at: str, arg: Node) -> str:
    node = value.node
    if node.op == "const" and node.attrs["value"].value.size == 1 and not arg.type.shape:
        from ppl.compiler.emit.scalar import literal

        return literal(node.attrs["value"].value.ravel()[0], value.dtype)
    assert value.buffer is not None
    if not arg.type.shape:
        return one(value, at, "an external function") + (" != 0" if value.dtype == "bool" else "")
    return f"{piece(value, at, arg.type.event_size, 'an external function')}.reshape({arg.type.shape})"


EMIT: dict[str, Callable[[Opaque, Builder, Row, str], list[str]]] = {
    "noise": noise,
    "rowkey": rowkey,
    "rowid": rowid,
    "external": external,
    "solve": solve,
    "cumsum": cumsum,
    "draw_rows": draw_rows,
    "lanes": lanes,
}
