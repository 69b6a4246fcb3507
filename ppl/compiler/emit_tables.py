"""Emission of products with rows of tables: one function each, in which sizes are constants, over the rows of a tile."""

from __future__ import annotations

from ppl.ir.node import Node

MAX_AT_ONCE = 8
"""Table rows of one product that are walked through side by side."""


def function(name: str, node: Node) -> str:
    """The source of `name(out, table, index, x, n)`, which carries out the step `node` for n rows."""
    (length, width), count = node.args[0].type.shape, node.args[1].type.event_size
    write = (_dots if node.op == "table_dot" else _sums) if count <= MAX_AT_ONCE else _one_by_one
    what = "Products" if node.op == "table_dot" else "Sums"
    lines = [f"@jit\ndef {name}(out, table, index, x, n):", f'    """{what} of {count} table rows of {width} entries."""']
    body = write(node.op, count, width, length - 1)
    return "\n".join([*lines, "    prefer_wide()", "    for r in range(n):", *("        " + x for x in body)])


def _row(k: str, count: int, width: int, last: int, suffix: str = "") -> list[str]:
    """Statements that find table row number `k` of `count` of the current row; `t` is that row."""
    at = f"at{suffix}"
    return [
        f"{at} = min(max(I(index[r * {count} + {k}]), 0), {last}) * {width}",
        f"t{suffix} = table[{at} : {at} + {width}]",
    ]


def _rows(count: int, width: int, last: int) -> list[str]:
    return [line for k in range(count) for line in _row(str(k), count, width, last, f"_{k}")]


def _dots(op: str, count: int, width: int, last: int) -> list[str]:
    """All products in one loop."""
    each = range(count)
    lines = [*_rows(count, width, last), f"y = x[r * {width} : r * {width} + {width}]", *(f"s_{k} = F(0.0)" for k in each)]
    lines += [f"for j in range({width}):", *(f"    s_{k} += t_{k}[j] * y[j]" for k in each)]
    return lines + [f"out[r * {count} + {k}] = s_{k}" for k in each]


def _sums(op: str, count: int, width: int, last: int) -> list[str]:
    """The sum of all rows in one loop."""
    each = range(count)
    lines = [*_rows(count, width, last), f"y = out[r * {width} : r * {width} + {width}]"]
    lines += [f"c_{k} = x[r * {count} + {k}]" for k in each]
    return [*lines, f"for j in range({width}):", "    y[j] = " + " + ".join(f"c_{k} * t_{k}[j]" for k in each)]


def _one_by_one(op: str, count: int, width: int, last: int) -> list[str]:
    """A loop over the table rows."""
    dot, find, part = op == "table_dot", _row("k", count, width, last), f"[r * {width} : r * {width} + {width}]"
    first = [f"y = x{part}"] if dot else [f"y = out{part}", "y[:] = F(0.0)"]
    before = ["s = F(0.0)"] if dot else [f"c = x[r * {count} + k]"]
    after = [f"out[r * {count} + k] = s"] if dot else []
    inner = [*find, *before, f"for j in range({width}):", "    s += t[j] * y[j]" if dot else "    y[j] += c * t[j]", *after]
    return [*first, f"for k in range({count}):", *("    " + x for x in inner)]
