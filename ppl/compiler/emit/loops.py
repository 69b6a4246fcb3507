"""Emission of one cluster: a loop tree as the Python source of one kernel function.

Arrays are flat. Before an innermost loop, every array is cut to the contiguous part that the loop walks through
(`h_1_ = w[...]`), so that indices start at zero and the loop vectorises; values that do not move are loaded to locals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ppl.checked import CHECKED
from ppl.compiler.emit.address import Addresses
from ppl.compiler.emit.blocks import blocked
from ppl.compiler.emit.scalar import expression, literal
from ppl.compiler.lower.layout import Poly, axis_size
from ppl.compiler.schedule.fusion import Access, Loop, Op, Value, near, rest
from ppl.compiler.schedule.stages import Cluster
from ppl.ir.types import Axis, Kind

VARS = {Kind.REPEATS: "q", Kind.PLATE: "r", Kind.PARTICLES: "k", Kind.ENUM: "e", Kind.BRANCH: "c"}


class KernelWriter(Addresses):
    """Writes the source of one cluster; `arguments` then lists its parameters with the expressions to pass."""

    def __init__(self, cluster: Cluster, row: Axis | None):
        self.cluster, self.row, self.name = cluster, row, cluster.name
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

    def source(self, name: str, types: Mapping[str, str] | None = None) -> str:
        """The function definition; with the `types` of all that are no whole numbers, one that is reached by symbol."""
        body = self._block(self.cluster.items, None, ())
        made = sorted({op.node.op for op in self.cluster.ops})
        decorator = "jit"
        if types is not None:
            decorator = f'shared("void({",".join(types.get(a, "int64") for a in self.arguments)})")'
        head = f"@{decorator}\ndef {name}({', '.join(self.arguments)}):"
        doc = f'    """{len(self.cluster.ops)} fused operations: {", ".join(made)}."""'
        return "\n".join([head, doc, "    prefer_wide()", *("    " + line for line in body)])

    def call(self, name: str) -> str:
        """The statement that calls it."""
        return f"{name}({', '.join(self.arguments.values())})"

    # reads and writes

    def _gather(self, op: Op, gather: tuple[Access, int | Axis] | None, limit: int, value: Value,
                inner: Loop | None) -> tuple[str, bool]:  # fmt: skip
        if gather is None:
            return "", False
        index, target = gather
        text = self._load(op, index, inner)
        step = value.stride(target) if isinstance(target, int) else value.steps[target]
        moving = inner is None or not (
            text.isidentifier() and (text in self.memo.values() or self._fixed(op, index, inner))
        )
        return f"min(max({text}, 0), {limit - 1}) * {self._text(step)}", moving

    def _fixed(self, op: Op, access: Access, inner: Loop) -> bool:
        """Whether what `op` reads is a local that was set outside the loop `inner`."""
        makers = self.makers.get(access.value, [])
        return access.gather is None and near(makers, op) and inner not in makers[0].complete

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
        size, sums = self._size(loop), [op.target.name for op in first if self._wide(op)] if inner else []
        in_blocks = blocked(loop.var, size, self.hoisted, body, sums) if sums else None
        lines += self.hoisted
        self.hoisted, self.memo = saved
        lines += in_blocks or [f"for {loop.var} in range({size}):", *("    " + line for line in body)]
        return lines + [line for op in first for line in self._finish(op)]

    @staticmethod
    def _wide(op: Op) -> bool:
        """Whether `op` adds up to float64 in a float32 program."""
        return op.in_register and op.target.buffer is not None and op.target.buffer.array == "sums"

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
            zero = "np.float64(0)" if self._wide(op) else literal(0, kind)
            return [f"{value.name} = {self._lowest(kind) if op.node.op == 'amax' else zero}"]
        if value.accumulates or self.makers[value][0] is not op:
            return []
        depth = op.outermost
        start, terms = self._terms(op, value, op.axes, op.coefs, 0)
        terms = {k: s for k, s in terms.items() if k in op.loops[:depth]}
        assert value.buffer is not None
        address = self._address(self._base(value, value.buffer), start, terms, None, "")
        size = Poly.of(1)
        inside = rest(op, depth)
        assert inside is not None, f"{value.name} is not made in the order of its memory"
        for dim in inside:
            size = size * (Poly.of("n") if dim.key == self.row else dim.size)
        zero = self._lowest(kind) if op.node.op == "amax" else literal(0, kind)
        if "n" in size.names:
            self.arguments.setdefault("n", "n")
        array, count = self._array(value.buffer), self._text(size)
        if CHECKED:
            return [f"{self._cut(value, array, address, count)}[:] = {zero}"]
        return [f"{array}[{address} : {address} + {count}] = {zero}"]

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
        place = self._at(value, self._array(value.buffer), self._address(base, start, terms, None, ""))
        return [f"{place} = {self._merge(op, place, value.name) if value.accumulates else value.name}"]


def scale_name(node: object) -> str:
    """The local that holds the factor N/B of a plate."""
    from ppl.compiler.lower.layout import identifier

    attrs = node.attrs  # type: ignore[attr-defined]
    axis = attrs.get("axis")
    return "scale_" + identifier(axis.name if isinstance(axis, Axis) else str(attrs.get("name", axis)))
