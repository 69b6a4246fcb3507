"""Products with rows of tables that are read by index, `table[index] @ x` and `x @ table[index]`.

They are steps of their own, as products of matrices are: they read the table where it lies, without a copy of the rows,
and what stands between two of them is one pass over the tile.

=============  =====================================  ================================
op             arguments                              value
=============  =====================================  ================================
`table_dot`    table (N, D), index (K,) or (), x (D)  table[index] @ x, (K,) or ()
`table_sum`    table (N, D), index (K,), x (K)        x @ table[index], (D,)
=============  =====================================  ================================
"""

from __future__ import annotations

from collections.abc import Callable

from ppl.compiler.lower.target import Rewrites
from ppl.compiler.lower.views import resolve, row_axis
from ppl.ir.node import Node, make
from ppl.ir.types import Axis


def table_product(
    a: Node,
    la: str,
    b: Node,
    lb: str,
    kept: tuple[Axis, ...],
    out: str,
    plain: Callable[[Node], Node],
    rules: Rewrites,
) -> Node | None:
    """The product over `kept` and the labels `out` as such a step; None if neither operand is a read of rows.

    `plain` makes an operand contiguous.
    """
    for x, lx, other, lo in ((a, la, b, lb), (b, lb, a, la)):
        if (
            x.op != "take"
            or not _rows_of_table(x, kept, rules)
            or other.type.axes != kept
            or other.type.dtype != "float"
        ):
            continue
        table, index = x.args
        picked, width = lx[:-1], lx[-1]
        if (lo, out) == (width, picked):
            return make("table_dot", table, plain(index), plain(other))
        if (lo, out) == (picked, width) and len(picked) == 1:
            return make("table_sum", table, plain(index), plain(other))
    return None


def _rows_of_table(x: Node, kept: tuple[Axis, ...], rules: Rewrites) -> bool:
    """Whether `x` reads rows of a parameter, over one plate whose length is that of the data."""
    table, index = x.args
    while table.op == "expand" and table.type.shape == table.args[0].type.shape:
        table = table.args[0]
    if table.op != "param" or table.type.axes or len(table.type.shape) != 2 or table.type.shape[1] < rules.table_width:
        return False
    one_plate = len(kept) == 1 and kept[0].size is None and row_axis(kept) == kept[0] and index.type.axes == kept
    return one_plate and len(index.type.shape) <= 1 and resolve(index, {}) is not None
