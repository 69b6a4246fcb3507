"""Emission of one cluster: a loop tree as the Python source of one kernel function.

Arrays are flat. Before an innermost loop, every array is cut to the contiguous part that the loop walks through
(`h_1_ = w[...]`), so that indices start at zero and the loop vectorises; values that do not move are loaded to locals.
"""

from __future__ import annotations

from collections.abc import Sequence

from ppl.compiler.emit_scalar import expression, literal
from ppl.compiler.fuse import Access, Buffer, Loop, Op, Value, near
from ppl.compiler.layout import Entry, Poly, axis_size, dims_of
from ppl.compiler.stages import Cluster
from ppl.ir.types import Axis, Kind

SMALL = 4
"""Innermost loops up to this length index directly, because cutting slices costs more than it saves."""

VARS = {Kind.REPEATS: "q", Kind.PLATE: "r", Kind.PARTICLES: "k", Kind.ENUM: "e", Kind.BRANCH: "c"}


class KernelWriter:
    """Writes the source of one cluster; `arguments` then lists its parameters with the expressions to pass."""

    def __init__(self, cluster: Cluster, row: Axis | None):
        self.cluster, self.row = cluster, row
        self.arguments: dict[str, str] = {}
        self.makers: dict[Value, list[Op]] = {}
        for op in cluster.ops:
            self.makers.setdefault(op.target, []).append(op)
        self.read: set[Value] = set()
        for op in cluster.ops:
            self.read |= {r.value for r in op.reads if near(self.makers.get(r.value, ()), op)}
        self.count = 0
        self.hoisted: list[str] = []
        self.memo: dict[str, str] = {}

    def source(self, name: str) -> str:
        """The function definition."""
        body = self._block(self.cluster.items, None, ())
        made = sorted({op.node.op for op in self.cluster.ops})
        head = f"@jit\ndef {name}({', '.join(self.arguments)}):"
        doc = f'    """{len(self.cluster.ops)} fused operations: {", ".join(made)}."""'
        return "\n".join([head, doc, *("    " + line for line in body)])

    def call(self, name: str) -> str:
        """The statement that calls it."""
        return f"{name}({', '.join(self.arguments.values())})"

    # sizes and addresses

    def _text(self, poly: Poly) -> str:
        for name in sorted(poly.names):
            self.arguments.setdefault(name, name)
        return str(poly)

    def _size(self, loop: Loop) -> str:
        if self.row is not None and loop.token == self.row:
            self.arguments.setdefault("n", "n")
            return "n"
        return self._text(loop.size)

    def _base(self, value: Value, buffer: Buffer) -> str:
        if buffer.array in ("w", "v") and value in self.cluster.scratch:
            self.arguments.setdefault(buffer.symbol, buffer.symbol)
            return buffer.symbol
        if buffer.literal:
            return buffer.offset
        passed, step = buffer.offset, value.steps.get(self.row) if self.row is not None else None
        if buffer.rows and step is not None:
            passed = f"{passed} + t0 * {step}" if passed != "0" else f"t0 * {step}"
        self.arguments.setdefault(buffer.symbol, passed)
        return buffer.symbol

    def _array(self, buffer: Buffer) -> str:
        self.arguments.setdefault(buffer.array, buffer.array)
        return buffer.array

    def _terms(self, op: Op, value: Value, axes: object, coefs: object, offset: int) -> tuple[Poly, dict[Loop, Poly]]:
        start = Poly.of(offset)
        terms: dict[Loop, Poly] = {}
        steps = value.steps
        for axis, key in axes.items():  # type: ignore[attr-defined]
            if isinstance(key, Entry):
                start = start + steps[axis] * key.position
            elif (loop := op.loop_of(key)) is not None and loop not in value.prefix:
                terms[loop] = terms.get(loop, Poly()) + steps[axis]
        for key, coef in coefs.items():  # type: ignore[attr-defined]
            if (loop := op.loop_of(key)) is not None and loop not in value.prefix:
                terms[loop] = terms.get(loop, Poly()) + coef
        return start, terms

    def _address(self, base: str, start: Poly, terms: dict[Loop, Poly], skip: Loop | None, extra: str) -> str:
        parts = [] if base == "0" else [base]
        for loop, step in terms.items():
            if loop is not skip:
                parts.append(loop.var if step.constant == 1 else f"{loop.var} * {self._text(step)}")
        if start.terms:
            parts.append(self._text(start))
        if extra:
            parts.append(extra)
        return " + ".join(parts) or "0"

    def _hoist(self, key: str, text: str, stem: str) -> str:
        """A local, set before the current innermost loop."""
        if key not in self.memo:
            self.count += 1
            self.memo[key] = f"{stem}_{self.count}h"
            self.hoisted.append(f"{self.memo[key]} = {text}")
        return self.memo[key]

    def _element(self, value: Value, op: Op, where: tuple[Poly, dict[Loop, Poly]], inner: Loop | None,
                 gather: str, moving: bool) -> str:  # fmt: skip
        """The indexed expression of one entry, sliced before the loop where that pays."""
        buffer = value.buffer
        assert buffer is not None, f"{value.name} has no memory"
        array, base = self._array(buffer), self._base(value, buffer)
        start, terms = where
        step = terms.get(inner) if inner is not None else None
        short = inner is not None and (size := inner.size.constant) is not None and size <= SMALL
        if inner is None or moving or (short and step is not None) or (step is not None and step.constant is None):
            return f"{array}[{self._address(base, start, terms, None, gather)}]"
        if step is None:
            return f"{array}[{self._address(base, start, terms, None, gather)}]"
        address, stride = self._address(base, start, terms, inner, gather), step.constant
        length = self._size(inner)
        if stride == 1:
            key = f"{array}[{address} : {address} + {length}]"
            return f"{self._hoist(key, key, value.name)}[{inner.var}]"
        if stride is None or stride < 0:
            return f"{array}[{self._address(base, start, terms, None, gather)}]"
        key = f"{array}[{address} : {address} + ({length} - 1) * {stride} + 1]"
        return f"{self._hoist(key, key, value.name)}[{inner.var} * {stride}]"

    # reads and writes

    def _gather(self, op: Op, gather: tuple[Access, int | Axis] | None, limit: int, value: Value,
                inner: Loop | None) -> tuple[str, bool]:  # fmt: skip
        if gather is None:
            return "", False
        index, target = gather
        text = self._load(op, index, inner)
        step = Poly.of(target) if isinstance(target, int) else value.steps[target]
        moving = inner is None or not (text.isidentifier() and text in self.memo.values())
        return f"min(max({text}, 0), {limit - 1}) * {self._text(step)}", moving

    def _load(self, op: Op, access: Access, inner: Loop | None) -> str:
        value = access.value
        if value in self.makers and access.gather is None and near(self.makers[value], op):
            return value.name
        scalar = self._scalar(value)
        if scalar is not None:
            return scalar
        gather, moving = self._gather(op, access.gather, access.limit, value, inner)
        where = self._terms(op, value, access.view.axes, access.view.coefs, access.view.offset)
        text = self._element(value, op, where, inner, gather, moving)
        text = self._converted(value, text)
        if inner is not None and inner not in where[1] and not moving:
            return self._hoist(text, text, value.name)
        return text

    def _converted(self, value: Value, text: str) -> str:
        if value.dtype == "bool":
            return f"({text} != 0)"
        if value.buffer is not None and value.buffer.array == "sums":
            return f"F({text})"
        if value.node.op == "input":
            return f"{'F' if value.dtype == 'float' else 'I'}({text})"
        return text

    def _scalar(self, value: Value) -> str | None:
        """Values that are no memory: literal constants, sizes, scales."""
        node = value.node
        if node.op == "const" and node.attrs["value"].value.size == 1:
            return literal(node.attrs["value"].value.ravel()[0], value.dtype)
        if node.op == "size":
            return f"F({self._text(axis_size(node.attrs['axis']))})"
        if node.op == "scale":
            name = scale_name(node)
            self.arguments.setdefault(name, name)
            return name
        return None

    def _stored(self, op: Op, inner: Loop | None) -> str | None:
        value = op.target
        if value.buffer is None:
            return None
        gather, moving = self._gather(op, op.gather, op.limit, value, inner)
        return self._element(value, op, self._terms(op, value, op.axes, op.coefs, op.offset), inner, gather, moving)

    # statements

    def _block(self, items: Sequence[Loop | Op], inner: Loop | None, path: tuple[Loop, ...]) -> list[str]:
        lines: list[str] = []
        for item in items:
            if isinstance(item, Op):
                lines += self._start(item, inner) if item.outermost >= len(item.domain) else []
                lines += self._statement(item, inner)
            else:
                lines += self._loop(item, path)
        return lines

    def _loop(self, loop: Loop, path: tuple[Loop, ...]) -> list[str]:
        loop.var = VARS[loop.token.kind] if isinstance(loop.token, Axis) else "i"
        if any(outer.var == loop.var for outer in path):
            loop.var += str(len(path))
        first = [o for o in loop.ops() if o.outermost < len(o.loops) and o.loops[o.outermost] is loop]
        lines = [line for op in first for line in self._start(op, None)]
        inner = loop if loop.innermost else None
        saved = self.hoisted, self.memo
        self.hoisted, self.memo = [], {}
        body = self._block(loop.items, inner, (*path, loop))
        lines += self.hoisted
        self.hoisted, self.memo = saved
        lines.append(f"for {loop.var} in range({self._size(loop)}):")
        lines += ["    " + line for line in body]
        return lines + [line for op in first for line in self._finish(op)]

    def _start(self, op: Op, inner: Loop | None) -> list[str]:
        """Initialise what `op` accumulates."""
        if op.kind in ("map", "output", "piece"):
            return []
        value, kind = op.target, "int" if op.target.dtype == "int" else "float"
        if op.in_register:
            if op.outermost >= len(op.domain):
                return []
            if op.kind == "argmax":
                return [f"{value.name} = I(0)", f"best_{value.name} = {self._lowest(op.args[0].value.dtype)}"]
            wide = value.buffer is not None and value.buffer.array == "sums"
            zero = "np.float64(0)" if wide else literal(0, kind)
            return [f"{value.name} = {self._lowest(kind) if op.node.op == 'amax' else zero}"]
        if value.accumulates or self.makers[value][0] is not op:
            return []
        depth = op.outermost
        start, terms = self._terms(op, value, op.axes, op.coefs, 0)
        terms = {k: s for k, s in terms.items() if k in op.loops[:depth]}
        assert value.buffer is not None
        address = self._address(self._base(value, value.buffer), start, terms, None, "")
        size = Poly.of(1)
        for dim in dims_of(value.axes, value.shape)[depth:]:
            size = size * (Poly.of("n") if dim.key == self.row else dim.size)
        zero = self._lowest(kind) if op.node.op == "amax" else literal(0, kind)
        if "n" in size.names:
            self.arguments.setdefault("n", "n")
        return [f"{self._array(value.buffer)}[{address} : {address} + {self._text(size)}] = {zero}"]

    @staticmethod
    def _lowest(dtype: str) -> str:
        return "-INF" if dtype == "float" else "I(-9223372036854775807)"

    def _statement(self, op: Op, inner: Loop | None) -> list[str]:
        args = [self._load(op, a, inner) for a in op.args]
        if op.kind == "argmax":
            return self._argmax(op, args[0])
        if op.kind in ("map", "output"):
            return self._assign(op, expression(op.node, args) if op.kind == "map" else args[0], inner)
        if op.kind == "piece":
            text = " + ".join(args) or literal(0, op.target.dtype)
            return [f"{self._stored(op, inner)} = {self._as_stored(op.target, text)}"]
        (text,) = args
        if op.in_register:
            if op.outermost >= len(op.domain):
                return self._assign(op, text, inner)
            name = op.target.name
            return [f"{name} = {self._merge(op, name, text)}"]
        place = self._stored(op, inner)
        assert place is not None
        return [f"{place} = {self._merge(op, place, text)}" if op.kind != "pad" else f"{place} = {text}"]

    def _argmax(self, op: Op, text: str) -> list[str]:
        name = op.target.name
        if op.outermost >= len(op.domain):
            return [f"{name} = I(0)", *self._finish(op)]
        var = op.loops[-1].var
        return [f"if {text} > best_{name}:", f"    best_{name} = {text}", f"    {name} = I({var})"]

    def _merge(self, op: Op, old: str, new: str) -> str:
        if op.node.op == "amax":
            return f"m.maximum({old}, {new})" if op.target.dtype == "float" else f"max({old}, {new})"
        return f"{old} + {new}"

    def _as_stored(self, value: Value, text: str) -> str:
        if value.buffer is not None and value.buffer.array not in ("v", "iout") and value.dtype != "float":
            return f"(F(1.0) if {text} else F(0.0))" if value.dtype == "bool" else f"F({text})"
        return text

    def _assign(self, op: Op, text: str, inner: Loop | None) -> list[str]:
        value, place = op.target, self._stored(op, inner)
        if place is None:
            return [f"{value.name} = {text}"]
        merged = self._as_stored(value, text)
        if value.accumulates:
            return [f"{place} = {self._merge(op, place, merged)}"]
        if value in self.read:
            return [f"{value.name} = {text}", f"{place} = {self._as_stored(value, value.name)}"]
        return [f"{place} = {merged}"]

    def _finish(self, op: Op) -> list[str]:
        """Store what was accumulated in a register, once its loops have ended."""
        value = op.target
        if not op.in_register or value.buffer is None:
            return []
        start, terms = self._terms(op, value, op.axes, op.coefs, op.offset)
        base = self._base(value, value.buffer)
        place = f"{self._array(value.buffer)}[{self._address(base, start, terms, None, '')}]"
        return [f"{place} = {self._merge(op, place, value.name) if value.accumulates else value.name}"]


def scale_name(node: object) -> str:
    """The local that holds the factor N/B of a plate."""
    from ppl.compiler.layout import identifier

    attrs = node.attrs  # type: ignore[attr-defined]
    axis = attrs.get("axis")
    return "scale_" + identifier(axis.name if isinstance(axis, Axis) else str(attrs.get("name", axis)))
