"""Steps that are not loop nests: noise, row ids, linear algebra, running sums, draws by rejection, users' functions.

`STEP_EMITTERS` has the function that writes each op. Products are in `products`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ppl.compiler.emit.addresses import RowAxis, buffer_start, entry_of, tile_start, view_from, view_of_entries
from ppl.compiler.emit.code import (
    Choice,
    Do,
    Expression,
    ExpressionLike,
    Literal,
    Name,
    Raise,
    Statement,
    Tuple,
    as_expression,
    assign,
    call,
    compare,
    do,
    loop,
    name_tuple,
    when,
)
from ppl.compiler.emit.scalar import kernel_call, literal, noise_key, to_int, to_word
from ppl.compiler.lower.lowering import MATRIX_KERNELS, matrix_kernel_sizes
from ppl.compiler.lower.sizes import Poly, axis_size, identifier
from ppl.compiler.lower.views import FixedIndex, View
from ppl.compiler.schedule.builder import ScheduleBuilder
from ppl.compiler.schedule.stages import Opaque, Value
from ppl.ir.external import call_status_messages, declared_results, is_packed
from ppl.ir.node import Node
from ppl.ir.types import PARTICLES, Axis, Kind


def _loop_times(node: Node, builder: ScheduleBuilder) -> list[Expression]:
    """The times of the loops around a node, outermost first."""
    return [_whole_number(builder, a) for a in node.args]


def _whole_number(builder: ScheduleBuilder, node: Node) -> Expression:
    """A whole number without rows."""
    read = builder.access(node)
    value, offset = read.value, read.view.offset
    if value.node.op == "const":
        return Literal(int(value.node.attrs["value"].value.ravel()[offset]))
    assert value.buffer is not None
    return Name(value.buffer.array).at(buffer_start(value) + offset if offset else buffer_start(value))


class NoiseRows:
    """Which rows of a run-time plate a noise-like value has: ids, from which on, the first number, how many.

    `base` is what comes before the entries of a row, `each` the number of those.
    """

    def __init__(self, value: Value, row: RowAxis):
        axes = value.axes
        self.ids: ExpressionLike = "no_ids"
        self.start: ExpressionLike = 0
        self.first: ExpressionLike = 0
        self.count: ExpressionLike = 1
        self.base: ExpressionLike | None = None
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

    def passed(self) -> tuple[ExpressionLike, ...]:
        """What kernels are passed of it."""
        return self.ids, self.start, self.first, self.count, 0 if self.base is None else self.base


def emit_noise(step: Opaque, builder: ScheduleBuilder, row: RowAxis, dtype: str) -> list[Statement]:
    """Fill a tile with the uniforms of its rows."""
    node, value, rows = step.node, step.target, NoiseRows(step.target, row)
    *around, time = _loop_times(node, builder) or [Literal(0)]
    key, bits = noise_key(node, around), "f32" if dtype == "float32" else "f64"
    fill, entries = f"fill_rows_{bits}", [as_expression(rows.each)]
    if builder.windowed and PARTICLES in value.axes:
        fill, entries = f"fill_windows_{bits}", _window_sizes(value, row, node.type.event_size)
    at, purpose = tile_start(value, row), node.attrs["purpose"]
    if "columns" in node.attrs and PARTICLES in value.axes:
        sizes: tuple[ExpressionLike, ...] = axis_size(PARTICLES), node.type.event_size, node.attrs["columns"]
        given = *sizes, "first_particle" if builder.windowed else 0, key, time, "step", purpose
        return [Do(kernel_call(f"fill_columns_{bits}", view_from(value, at, "noise"), "t0", "n", *given))]

    def filled(at: Expression) -> Do:
        return Do(
            kernel_call(fill, view_from(value, at, "noise"), *rows.passed(), *entries, key, time, "step", purpose)
        )

    return _for_each_repeat(rows, at, value, row, filled)


def _window_sizes(value: Value, row: RowAxis, event: int) -> list[Expression]:
    """Pieces a row, entries of each in the window, entries for all particles, and the window's first entry."""
    pieces = Poly.of(1)
    for axis in value.axes:
        pieces = pieces * (1 if axis in (row, PARTICLES) else axis_size(axis))
    total = Poly.of("n_particles_total") * event
    return [as_expression(x) for x in (pieces, axis_size(PARTICLES) * event, total, Poly.of("first_particle") * event)]


def _for_each_repeat(rows: NoiseRows, at: Expression, value: Value, row: RowAxis, filled: Callable[[Expression], Do]
              ) -> list[Statement]:  # fmt: skip
    if rows.base is None:
        return [filled(at)]
    assert row is not None
    return [loop("q", "n", [filled(at + Name("q") * value.strides[row])])]


def emit_row_keys(step: Opaque, builder: ScheduleBuilder, row: RowAxis, dtype: str) -> list[Statement]:
    """Keys for external functions."""
    node, value, rows = step.node, step.target, NoiseRows(step.target, row)
    at, fill, entries = tile_start(value, row), "row_keys", [as_expression(rows.each)]
    if builder.windowed and PARTICLES in value.axes:
        fill, entries = "window_keys", _window_sizes(value, row, 1)

    def filled(at: Expression) -> Do:
        return Do(
            kernel_call(fill, view_from(value, at, "row keys"), *rows.passed(), *entries, noise_key(node), "step")
        )

    done = _for_each_repeat(rows, at, value, row, filled)
    size = value.extent(skip=() if row is None else (row,)) * ("n" if row in value.axes else 1)
    keys = view_of_entries(value, at, size, "row keys")
    return [*done, *(Do(call("mix_time", keys, time)) for time in _loop_times(node, builder))]


def emit_row_ids(step: Opaque, builder: ScheduleBuilder, row: RowAxis, dtype: str) -> list[Statement]:
    """Global ids of the rows."""
    value, axis = step.target, step.node.attrs["axis"]
    out, mine = view_from(value, tile_start(value, row), "row ids"), axis == row
    count: ExpressionLike = "n" if mine else axis_size(axis)
    if axis.size is not None or axis.kind is Kind.REPEATS:
        return [Do(call("row_ids", out, "no_ids", 0, "t0" if mine else 0, count))]
    ids, first = f"ids_{identifier(axis.name)}", Name(f"row0_{identifier(axis.name)}")
    start, first_here = ("t0", first + "t0") if mine else (0, first)
    return [Do(call("row_ids", out, ids, start, first_here, count))]


def emit_linear_algebra(step: Opaque, builder: ScheduleBuilder, row: RowAxis, dtype: str) -> list[Statement]:
    """Factor the matrices of every entry of the named axes, or solve their systems."""
    node = step.node
    reads = [builder.access(arg) for arg in node.args]
    where = [(r.value, event_start(r.value, r.view, row, node.type.axes)) for r in reads]
    where.append((step.target, event_start(step.target, None, row, node.type.axes)))
    arrays = [view_from(v, at, "linear algebra") for v, at in where]
    name = f"{MATRIX_KERNELS[node.op]}_{'f32' if dtype == 'float32' else 'f64'}"
    return for_each_entry(node.type.axes, row, [Do(kernel_call(name, *arrays, *matrix_kernel_sizes(node)))])


def emit_running_sum(step: Opaque, builder: ScheduleBuilder, row: RowAxis, dtype: str) -> list[Statement]:
    """Running sums in the event of every entry of the named axes."""
    node, user = step.node, "a running sum"
    read, d = builder.access(node.args[0]), node.type.shape[-1]
    x = view_from(read.value, event_start(read.value, read.view, row, node.type.axes), user)
    out = view_from(step.target, event_start(step.target, None, row, node.type.axes), user)
    return for_each_entry(node.type.axes, row, [Do(kernel_call("cumulate", x, out, node.type.event_size // d, d))])


def emit_row_draws(step: Opaque, builder: ScheduleBuilder, row: RowAxis, dtype: str) -> list[Statement]:
    """Draw the event of every entry of the named axes by rejection."""
    node, axes = step.node, step.node.type.axes
    *parameters, key = (builder.access(arg) for arg in node.args)
    arrays = [view_from(step.target, event_start(step.target, None, row, axes), "draws")]
    arrays += [view_from(x.value, event_start(x.value, x.view, row, axes), "draws") for x in parameters]
    word = to_word(entry_of(key.value, event_start(key.value, key.view, row, axes), "draws"))
    drawn = kernel_call(_draw_kernel(node, "row", dtype), *arrays, word, 0, node.attrs["stream"], node.type.event_size)
    return for_each_entry(axes, row, [Do(drawn)])


def emit_vector_draws(step: Opaque, builder: ScheduleBuilder, row: RowAxis, dtype: str) -> list[Statement]:
    """Draws or slopes of all entries of a value in the tile."""
    node = step.node
    by_row = node.attrs.get("by_row", False)
    given: list[ExpressionLike] = []
    for i, arg in enumerate(node.args):
        value = builder.access(arg).value
        at, is_key = tile_start(value, row), by_row and i == len(node.args) - 1
        given.append(to_word(entry_of(value, at, "draws")) if is_key else view_from(value, at, "draws"))
    out = view_from(step.target, tile_start(step.target, row), "draws")
    given += ["t0"] if by_row else []
    given += [node.attrs["stream"]] if "stream" in node.attrs else []
    count = step.target.extent(skip=() if row is None else (row,)) * ("n" if row is not None else 1)
    form = "lanes" if not by_row else "block" if builder.target.threads > 1 else "row"
    return [Do(kernel_call(_draw_kernel(node, form, dtype), out, *given, count))]


def _draw_kernel(node: Node, form: str, dtype: str) -> str:
    return f"{node.attrs['draw'].removesuffix('_draw')}_{form}_{'f32' if dtype == 'float32' else 'f64'}"


USER_FUNCTION = "an external function"

FAILED, FAILED_AT = "failed", "failed_at"
"""What the header of a workspace says of users' functions on a device, where nothing can be raised, and its place."""


def for_each_entry(axes: Sequence[Axis], row: Axis | None, body: Sequence[Statement]) -> list[Statement]:
    """`body` for all entries of named axes, whose indices are i0, i1, …."""
    for depth, axis in reversed(list(enumerate(axes))):
        body = [loop(f"i{depth}", "n" if axis == row else axis_size(axis), body)]
    return list(body)


def event_start(value: Value, view: View | None, row: Axis | None, axes: Sequence[Axis]) -> Expression:
    """Where the event of one entry of `axes` begins, in the array of `value`, seen through `view`."""
    at, offset = tile_start(value, row), Poly.of(0 if view is None else view.offset)
    for axis, step in value.strides.items():
        key = axis if view is None else view.axes[axis]
        if isinstance(key, FixedIndex):
            offset = offset + step * key.position
        else:
            assert isinstance(key, Axis)
            at = at + Name(f"i{axes.index(key)}") * step
    return at + offset if offset.terms else at


def emit_external_call(step: Opaque, builder: ScheduleBuilder, row: Axis | None, dtype: str) -> list[Statement]:
    """Call a user's function once for every entry of the named axes."""
    node, axes = step.node, step.node.attrs["axes"]
    fn, results = node.attrs["fn"], declared_results(node)
    given: list[Expression] = []
    for i, arg in enumerate(node.args):
        read = builder.access(arg)
        passed = _external_argument(read.value, event_start(read.value, read.view, row, axes), arg)
        given.append(to_word(passed) if i == 0 and fn.key else passed)
    shapes = Literal((node.type.shape,) if fn.python else tuple(r.shape if r.dtype else None for r in results))
    function = builder.function(node)
    called = call(function, "given") if fn.python else call("attempt", function, "given")
    failed = compare("state", "!=", 0)
    body: list[Statement] = [
        assign("given", Tuple(tuple(given))),
        assign(name_tuple("raised", "result"), called),
        assign("state", call("judged", "raised", "result", shapes, "given")),
    ]
    at = event_start(step.target, None, row, axes)
    keep = [assign("found", call("listed", "result", shapes)), *_store_results(step.target, at, node)]
    instead = _store_failure(step.target, at, node)
    if builder.target.resident:
        told = [] if fn.on_error == "nan" else [assign(Name("v").at(FAILED_AT), to_int(1))]
        body += [when(failed, [*told, *instead], keep)]
    elif fn.on_error == "nan":
        body += [when(failed, [do("propagate", "raised"), *instead], keep)]
    else:
        body += [when(failed, _raise_simulator_error(node, row)), *keep]
    return for_each_entry(axes, row, body)


def _raise_simulator_error(node: Node, row: Axis | None) -> list[Statement]:
    """The statements that raise a SimulatorError."""
    axes = node.attrs["axes"]
    plate = next((a for a in axes if a.kind is Kind.PLATE), None)
    meaning = Literal("\n{}" if node.attrs["fn"].python else "\n".join(call_status_messages(node)))
    label, where = Literal(node.attrs["fn"].label), Literal("" if plate is None else plate.name)
    given = "state", label, _row_number(axes, plate, row), call("kept", "given"), meaning, where, "raised"
    return [do("propagate", "raised"), Raise(call("SimulatorError", *given))]


def _row_number(axes: Sequence[Axis], plate: Axis | None, row: Axis | None) -> Expression:
    """The number of the present row in the data set; -1 without rows."""
    if plate is None:
        return to_int(-1)
    entry = Name(f"i{list(axes).index(plate)}")
    at: Expression = Name("t0") + entry if plate == row else entry
    if plate.size is not None:
        return call("I", at)
    name = identifier(plate.name)
    return call("row_at", f"ids_{name}", at, f"row0_{name}")


def _store_failure(value: Value, at: Expression, node: Node) -> list[Statement]:
    """The statements that keep NaN, or 0 among whole numbers, in place of what failed."""
    nothing = Name("NAN") if value.dtype == "float" else to_int(0)
    blank = assign(entry_of(value, at + "e", node.attrs["fn"].label), nothing)
    return [loop("e", node.type.event_size, [blank])]


def _store_results(value: Value, at: Expression, node: Node) -> list[Statement]:
    """The statements that keep the results, `found`."""
    label, size, offset = node.attrs["fn"].label, node.type.event_size, 0
    if not is_packed(node) and not node.type.shape:
        only = Name("found").at(0)
        stored = {"bool": Choice(only, Literal(1), Literal(0)), "int": call("whole", only)}
        return [assign(entry_of(value, at, label), stored.get(node.type.dtype, only))]
    if node.attrs["fn"].python:
        return [do("put", view_of_entries(value, at, size, label), to_int(0), Name("found").at(0))]
    kept: list[Statement] = []
    for i, result in enumerate(declared_results(node)):
        put = "put_whole" if result.dtype == "int" and is_packed(node) else "put"
        if result.dtype:
            kept.append(do(put, view_of_entries(value, at, size, label), to_int(offset), Name("found").at(i)))
        offset += result.entries
    return kept


def _external_argument(value: Value, at: Expression, arg: Node) -> Expression:
    node = value.node
    if node.op == "const" and node.attrs["value"].value.size == 1 and not arg.type.shape:
        return literal(node.attrs["value"].value.ravel()[0], value.dtype)
    if not arg.type.shape:
        entry = entry_of(value, at, USER_FUNCTION)
        return compare(entry, "!=", 0) if value.dtype == "bool" else entry
    found = view_of_entries(value, at, arg.type.event_size, USER_FUNCTION)
    return found if len(arg.type.shape) == 1 else call(found.dot("reshape"), as_expression(arg.type.shape))


STEP_EMITTERS: dict[str, Callable[[Opaque, ScheduleBuilder, RowAxis, str], list[Statement]]] = {
    "noise": emit_noise,
    "rowkey": emit_row_keys,
    "rowid": emit_row_ids,
    "external": emit_external_call,
    **dict.fromkeys(MATRIX_KERNELS, emit_linear_algebra),
    "cumsum": emit_running_sum,
    "draw_rows": emit_row_draws,
    "lanes": emit_vector_draws,
}
