"""Emission of the steps that are not loop nests: noise, row ids, linear algebra, running sums, draws by rejection,
products with rows of tables. Other products: `products`; users' functions: `externals`."""

from __future__ import annotations

from collections.abc import Callable

from ppl.compiler.emit.address import start_of
from ppl.compiler.emit.checks import begin, one, piece, rest, tail
from ppl.compiler.emit.code import Do, Expression, Given, Literal, Name, Statement, call, loop, term
from ppl.compiler.emit.externals import each, external, first_of
from ppl.compiler.emit.scalar import kernel, noise_key, to_word
from ppl.compiler.lower.identifiers import identifier
from ppl.compiler.lower.matrices import KERNELS, sizes
from ppl.compiler.lower.views import Entry, Poly, axis_size
from ppl.compiler.schedule.fusion import Value
from ppl.compiler.schedule.stages import Opaque
from ppl.compiler.schedule.values import Builder
from ppl.ir.node import Node
from ppl.ir.types import PARTICLES, Axis, Kind

Row = Axis | None


def operand(builder: Builder, node: Node, row: Row, more: Expression | None = None) -> Expression:
    """The array that `node` lies in, from the tile's first row on, `more` entries later."""
    read = builder.access(node)
    offset = Poly.of(read.view.offset)
    for axis, key in read.view.axes.items():
        if isinstance(key, Entry):
            offset = offset + read.value.steps[axis] * key.position
    if row is not None and row in read.view.coefs:
        offset = offset + Poly.of("t0") * read.view.coefs[row]
    at = start_of(read.value, row)
    at = at + offset if offset.terms else at
    return tail(read.value, at if more is None else at + more, "an operand")


def table_product(step: Opaque, builder: Builder, row: Row, name: str) -> list[Statement]:
    """The call of the function `name` for a product with rows of a table."""
    out = rest(step.target, start_of(step.target, row), name)
    return [Do(call(name, out, *(operand(builder, x, row) for x in step.node.args), "n"))]


def _times(node: Node, builder: Builder) -> list[Expression]:
    """The times of the loops around a node, outermost first."""
    return [_scalar(builder, a) for a in node.args]


def _scalar(builder: Builder, node: Node) -> Expression:
    """A whole number without rows."""
    read = builder.access(node)
    value, offset = read.value, read.view.offset
    if value.node.op == "const":
        return Literal(int(value.node.attrs["value"].value.ravel()[offset]))
    assert value.buffer is not None
    return Name(value.buffer.array).at(begin(value) + offset if offset else begin(value))


class Rows:
    """Which rows of a run-time plate a noise-like value has: ids, from which on, the first number, how many.

    `base` is what comes before the entries of a row, `each` the number of those.
    """

    def __init__(self, value: Value, row: Row):
        axes = value.axes
        self.ids: Given = "no_ids"
        self.start: Given = 0
        self.first: Given = 0
        self.count: Given = 1
        self.base: Given | None = None
        self.each = value.extent(skip=() if row is None or row not in axes else (row,))
        plate = next((a for a in axes if a.kind is Kind.PLATE and a.size is None), None)
        if row is None and plate is not None and axes[0] == plate:
            name = identifier(plate.name)
            self.ids, self.first, self.count = f"ids_{name}", f"row0_{name}", axis_size(plate)
            self.each = value.extent((plate,))
        if row is None or row not in axes:
            return
        self.first, self.count = "t0", "n"
        if row.kind is Kind.REPEATS and plate is not None:
            name = identifier(plate.name)
            self.ids, self.first, self.count = f"ids_{name}", f"row0_{name}", axis_size(plate)
            self.base, self.each = (Name("t0") + "q") * f"total_{name}", value.extent((row, plate))
        elif row.kind is not Kind.REPEATS and row.size is None:
            name = identifier(row.name)
            self.ids, self.start, self.first = f"ids_{name}", "t0", Name(f"row0_{name}") + "t0"

    def passed(self) -> tuple[Given, ...]:
        """What kernels are passed of it."""
        return self.ids, self.start, self.first, self.count, 0 if self.base is None else self.base


def noise(step: Opaque, builder: Builder, row: Row, dtype: str) -> list[Statement]:
    """Fill a tile with the uniforms of its rows."""
    node, value, rows = step.node, step.target, Rows(step.target, row)
    *around, time = _times(node, builder) or [Literal(0)]
    key, bits = noise_key(node, around), "f32" if dtype == "float32" else "f64"
    fill, entries = f"fill_rows_{bits}", [term(rows.each)]
    if builder.windowed and PARTICLES in value.axes:
        fill, entries = f"fill_windows_{bits}", _windows(value, row, node.type.event_size)
    at, purpose = start_of(value, row), node.attrs["purpose"]
    if "columns" in node.attrs and PARTICLES in value.axes:
        sizes: tuple[Given, ...] = axis_size(PARTICLES), node.type.event_size, node.attrs["columns"]
        given = *sizes, "first_particle" if builder.windowed else 0, key, time, "step", purpose
        return [Do(kernel(f"fill_columns_{bits}", rest(value, at, "noise"), "t0", "n", *given))]

    def filled(at: Expression) -> Do:
        return Do(kernel(fill, rest(value, at, "noise"), *rows.passed(), *entries, key, time, "step", purpose))

    return _repeated(rows, at, value, row, filled)


def _windows(value: Value, row: Row, event: int) -> list[Expression]:
    """Pieces a row, entries of each in the window, entries for all particles, and the window's first entry."""
    pieces = Poly.of(1)
    for axis in value.axes:
        pieces = pieces * (1 if axis in (row, PARTICLES) else axis_size(axis))
    total = Poly.of("n_particles_total") * event
    return [term(x) for x in (pieces, axis_size(PARTICLES) * event, total, Poly.of("first_particle") * event)]


def _repeated(rows: Rows, at: Expression, value: Value, row: Row, filled: Callable[[Expression], Do]
              ) -> list[Statement]:  # fmt: skip
    if rows.base is None:
        return [filled(at)]
    assert row is not None
    return [loop("q", "n", [filled(at + Name("q") * value.steps[row])])]


def rowkey(step: Opaque, builder: Builder, row: Row, dtype: str) -> list[Statement]:
    """Keys for external functions."""
    node, value, rows = step.node, step.target, Rows(step.target, row)
    at, fill, entries = start_of(value, row), "row_keys", [term(rows.each)]
    if builder.windowed and PARTICLES in value.axes:
        fill, entries = "window_keys", _windows(value, row, 1)

    def filled(at: Expression) -> Do:
        return Do(kernel(fill, rest(value, at, "row keys"), *rows.passed(), *entries, noise_key(node), "step"))

    done = _repeated(rows, at, value, row, filled)
    size = value.extent(skip=() if row is None else (row,)) * ("n" if row in value.axes else 1)
    keys = piece(value, at, size, "row keys")
    return [*done, *(Do(call("mix_time", keys, time)) for time in _times(node, builder))]


def rowid(step: Opaque, builder: Builder, row: Row, dtype: str) -> list[Statement]:
    """Global ids of the rows."""
    value, axis = step.target, step.node.attrs["axis"]
    out, mine = rest(value, start_of(value, row), "row ids"), axis == row
    count: Given = "n" if mine else axis_size(axis)
    if axis.size is not None or axis.kind is Kind.REPEATS:
        return [Do(call("row_ids", out, "no_ids", 0, "t0" if mine else 0, count))]
    ids, first = f"ids_{identifier(axis.name)}", Name(f"row0_{identifier(axis.name)}")
    start, first_here = ("t0", first + "t0") if mine else (0, first)
    return [Do(call("row_ids", out, ids, start, first_here, count))]


def matrices(step: Opaque, builder: Builder, row: Row, dtype: str) -> list[Statement]:
    """Factor the matrices of every entry of the named axes, or solve their systems."""
    node = step.node
    reads = [builder.access(arg) for arg in node.args]
    where = [(r.value, first_of(r.value, r.view, row, node.type.axes)) for r in reads]
    where.append((step.target, first_of(step.target, None, row, node.type.axes)))
    arrays = [rest(v, at, "linear algebra") for v, at in where]
    name = f"{KERNELS[node.op]}_{'f32' if dtype == 'float32' else 'f64'}"
    return each(node.type.axes, row, [Do(kernel(name, *arrays, *sizes(node)))])


def cumsum(step: Opaque, builder: Builder, row: Row, dtype: str) -> list[Statement]:
    """Running sums in the event of every entry of the named axes."""
    node, user = step.node, "a running sum"
    read, d = builder.access(node.args[0]), node.type.shape[-1]
    x = rest(read.value, first_of(read.value, read.view, row, node.type.axes), user)
    out = rest(step.target, first_of(step.target, None, row, node.type.axes), user)
    return each(node.type.axes, row, [Do(kernel("cumulate", x, out, node.type.event_size // d, d))])


def draw_rows(step: Opaque, builder: Builder, row: Row, dtype: str) -> list[Statement]:
    """Draw the event of every entry of the named axes by rejection."""
    node, axes = step.node, step.node.type.axes
    *parameters, key = (builder.access(arg) for arg in node.args)
    arrays = [rest(step.target, first_of(step.target, None, row, axes), "draws")]
    arrays += [rest(x.value, first_of(x.value, x.view, row, axes), "draws") for x in parameters]
    word = to_word(one(key.value, first_of(key.value, key.view, row, axes), "draws"))
    drawn = kernel(_blocks(node, "row", dtype), *arrays, word, 0, node.attrs["stream"], node.type.event_size)
    return each(axes, row, [Do(drawn)])


def lanes(step: Opaque, builder: Builder, row: Row, dtype: str) -> list[Statement]:
    """Draws or slopes of all entries of a value in the tile."""
    node = step.node
    by_row = node.attrs.get("by_row", False)
    given: list[Given] = []
    for i, arg in enumerate(node.args):
        value = builder.access(arg).value
        at, is_key = start_of(value, row), by_row and i == len(node.args) - 1
        given.append(to_word(one(value, at, "draws")) if is_key else rest(value, at, "draws"))
    out = rest(step.target, start_of(step.target, row), "draws")
    given += ["t0"] if by_row else []
    given += [node.attrs["stream"]] if "stream" in node.attrs else []
    count = step.target.extent(skip=() if row is None else (row,)) * ("n" if row is not None else 1)
    form = "lanes" if not by_row else "block" if builder.target.threads > 1 else "row"
    return [Do(kernel(_blocks(node, form, dtype), out, *given, count))]


def _blocks(node: Node, form: str, dtype: str) -> str:
    return f"{node.attrs['draw'].removesuffix('_draw')}_{form}_{'f32' if dtype == 'float32' else 'f64'}"


EMIT: dict[str, Callable[[Opaque, Builder, Row, str], list[Statement]]] = {
    "noise": noise,
    "rowkey": rowkey,
    "rowid": rowid,
    "external": external,
    **dict.fromkeys(KERNELS, matrices),
    "cumsum": cumsum,
    "draw_rows": draw_rows,
    "lanes": lanes,
}
