"""Emission of products with rows of tables: one function each for the rows of a tile, in which sizes are constants.

Rows of tables are asked for some rows of the tile earlier (`fetch`): where they are is known, and it may be the cache
of the core that last wrote them.
"""

from __future__ import annotations

from ppl.ir.node import Node

MAX_AT_ONCE = 8
"""Table rows of one product that are walked through side by side."""

LINE = 16
"""Entries that are fetched at once: a cache line of float32, two of float64, which come in pairs."""


def function(name: str, node: Node) -> str:
    """The source of `name(out, table, index, x, n)`, which carries out the step `node` for n rows."""
    (length, width), count = node.args[0].type.shape, node.args[1].type.event_size
    write = (_dots if node.op == "table_dot" else _sums) if count <= MAX_AT_ONCE else _one_by_one
    what = "Products" if node.op == "table_dot" else "Sums"
    lines = [
        f"@jit\ndef {name}(out, table, index, x, n):",
        f'    """{what} of {count} table rows of {width} entries."""',
    ]
    last = length - 1
    asked = fetch("to_read", "table", _find("r + AHEAD", "k", count, width, last), width)
    body = ["if r + AHEAD < n:", f"    for k in range({count}):", *("        " + line for line in asked)]
    body += write(node.op, count, width, last)
    return "\n".join([*lines, "    prefer_wide()", "    for r in range(n):", *("        " + x for x in body)])


def fetch(how: str, array: str, start: str, size: int) -> list[str]:
    """Statements that ask for `size` entries of `array` from `start` on; `how` is "to_read" or "to_write"."""
    return [f"at = {start}", f"for j in range(0, {size}, {LINE}):", f"    {how}({array}, at + j)"]


def _find(r: str, k: object, count: int, width: int, last: int) -> str:
    """Where table row number `k` of the `count` ones of row `r` begins."""
    place = r if count == 1 else f"({r}) * {count} + {k}"
    return f"min(max(I(index[{place}]), 0), {last}) * {width}"


def _rows(count: int, width: int, last: int) -> list[str]:
    """The table rows `t_0`, `t_1`, … of row `r`."""
    lines = []
    for k in range(count):
        lines += [f"at_{k} = {_find('r', k, count, width, last)}", f"t_{k} = table[at_{k} : at_{k} + {width}]"]
    return lines


def _dots(op: str, count: int, width: int, last: int) -> list[str]:
    """All products in one loop."""
    each = range(count)
    lines = [
        *_rows(count, width, last),
        f"y = x[r * {width} : r * {width} + {width}]",
        *(f"s_{k} = F(0.0)" for k in each),
    ]
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
    dot, part = op == "table_dot", f"[r * {width} : r * {width} + {width}]"
    find = [f"at = {_find('r', 'k', count, width, last)}", f"t = table[at : at + {width}]"]
    first = [f"y = x{part}"] if dot else [f"y = out{part}", "y[:] = F(0.0)"]
    before = ["s = F(0.0)"] if dot else [f"c = x[r * {count} + k]"]
    after = [f"out[r * {count} + k] = s"] if dot else []
    inner = [
        *find,
        *before,
        f"for j in range({width}):",
        "    s += t[j] * y[j]" if dot else "    y[j] += c * t[j]",
        *after,
    ]
    return [*first, f"for k in range({count}):", *("    " + x for x in inner)]
