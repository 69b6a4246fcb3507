"""Emission of training on sparse gradients: the update of touched table rows, and a loop of many steps.

`update_NAME` takes the rows of one table that its slab owns, row by row: the additions to a row, in the order of the
data, then the optimizer's step on that row. So a row's bits do not depend on the number of threads. Rows without
additions are not looked at, which is what SGD and AdaGrad do with a gradient of zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ppl.compiler.emit.cpu.module import Emitter
from ppl.compiler.emit.cpu.training import IMPORTS, LARGEST, dense_update
from ppl.compiler.emit.tables import fetch
from ppl.compiler.lower.layout import Poly, entries, identifier
from ppl.compiler.lower.request import Output
from ppl.compiler.lower.sparse import Table

MORE_IMPORTS = """from numba import prange
from ppl.kernels.config import parallel as threaded
from ppl.kernels.cpu.optimizers import adagrad, step_on
from ppl.kernels.cpu.scatter import link, owned
"""
STATE = "params, first, second, grad, rule, rate, numbers, count, factor, out, v, heads, following, touched, acc"
"""What updates are passed: what dense ones are, and arrays, lists and scratch."""


@dataclass
class TrainEmitter(Emitter):
    """Writes a program with sparse gradients and its training loop.

    `dense` are (offset, size) of the other parameters, `cut` which data arguments are minibatches, along plate `rows`.
    """

    tables: Sequence[Table] = ()
    dense: Sequence[tuple[int, int]] = ()
    cut: Sequence[bool] = ()
    rows: str = ""
    n_scalars: int = 0
    state: str = STATE
    outputs: dict[str, Output] = field(default_factory=dict)

    def imports(self) -> str:
        """As for other programs, with what lists of additions need."""
        return super().imports() + IMPORTS + MORE_IMPORTS

    def drivers(self, one: str) -> list[str]:
        """The step on several threads, the updates, and the loop over both."""
        self.outputs = {o.name: o for s in self.stages for o in s.outputs if o.array in ("out", "iout")}
        return [self._serial(), *self._parallel(), *map(self._update, self.tables), self._updates(), self._train()]

    def entries(self, name: str) -> Poly:
        """Number of entries of an array."""
        return entries(self.outputs[name].node.type)

    def additions(self, table: Table) -> Poly:
        """Number of additions to a table."""
        total = Poly()
        for term in table.terms:
            total = total + self.entries(term.target)
        return total

    def _array(self, name: str) -> str:
        out = self.outputs[name]
        return f"{out.array}[{out.offset} : {out.offset} + {self.entries(name)}]"

    def _update(self, table: Table) -> str:
        lines = ["found = 0"]
        starts, start = [], Poly()
        for i, term in enumerate(table.terms):
            starts.append(start)
            start = start + self.entries(term.target)
            lines.append(f"rows_{i} = {self._array(term.rows)}")
            lines += [f"coefs_{i} = {self._array(term.coefs)}"] if term.coefs else []
        lines += ["if rule == 0:", *("    " + x for i in range(len(table.terms)) for x in self._descent(table, i)),
                  "    return"]  # fmt: skip
        for term, at in reversed(list(zip(table.terms, starts, strict=True))):
            passed = f"{self._array(term.target)}, I({at}), head, following, touched, found, slab, slabs"
            lines.append(f"found = link({passed})")
        lines += ["for t in range(found):", *("    " + x for x in self._row(table, starts))]
        doc = f"Step on the touched rows of '{table.name}' that belong to `slab`."
        return self._function(f"update_{identifier(table.name)}", [*STATE.replace("heads", "head").split(", "),
                              "slab", "slabs"], lines, doc)  # fmt: skip

    def _descent(self, table: Table, i: int) -> list[str]:
        """A step of SGD by the additions of term `i`, in the order of the data."""
        term, width, last = table.terms[i], table.width, table.length - 1
        find = f"{table.offset} + min(max(targets[e], 0), {last}) * {width}"
        part = "e" if term.repeat == 1 else f"(e // {term.repeat})"
        return [f"targets = {self._array(term.target)}",
                f"count = owned(targets, following, I({last}), slab, slabs)",
                "for t in range(count):",
                "    e = I(following[min(t + AHEAD, count - 1)])",
                *("    " + line for line in fetch("to_write", "params", find, width)),
                "    e = I(following[t])",
                f"    at = {find}",
                f"    p = params[at : at + {width}]",
                f"    part = rows_{i}[{part} * {width} : {part} * {width} + {width}]",
                f"    move = F(rate * factor){f' * coefs_{i}[e]' if term.coefs else ''}",
                f"    for j in range({width}):",
                "        p[j] -= move * part[j]"]  # fmt: skip

    def _row(self, table: Table, starts: Sequence[Poly]) -> list[str]:
        width = table.width
        lines = ["row = I(touched[t])", "entry = I(head[row])", "head[row] = -1", "fresh = True", "while entry >= 0:"]
        for i, (term, start) in enumerate(zip(table.terms, starts, strict=True)):
            test = "else:" if i else "if True:"
            if i + 1 < len(table.terms):
                test = f"{'elif' if i else 'if'} entry < {starts[i + 1]}:"
            number = "entry" if start.constant == 0 else f"(entry - ({start}))"
            place = f"({number} // {term.repeat}) * {width}" if term.repeat > 1 else f"{number} * {width}"
            lines += [f"    {test}", f"        at = {place}", f"        part = rows_{i}[at : at + {width}]",
                      f"        coef = coefs_{i}[{number}]" if term.coefs else "        coef = F(1.0)",
                      "        if fresh:", f"            for j in range({width}):",
                      "                acc[j] = coef * part[j]", "        else:",
                      f"            for j in range({width}):", "                acc[j] += coef * part[j]"]  # fmt: skip
        lines.append("    fresh = False")
        lines += ["    entry = I(following[entry])",
                  f"at = {table.offset} + row * {width}",
                  f"p, g, s = params[at : at + {width}], acc[:{width}], first[at : at + {width}]",
                  "adagrad(p, g, s, rate, numbers[0], factor)"]  # fmt: skip
        return lines

    def _updates(self, called: str = "update") -> str:
        lines, start = [], 0
        for table in self.tables:
            own = STATE.replace("heads", f"heads[slab, {start} : {start + table.length}]")
            for name in ("following", "touched", "acc"):
                own = own.replace(name, f"{name}[slab]")
            lines.append(f"update_{identifier(table.name)}({own}, I(slab), slabs)")
            start += table.length
        for at, size in self.dense:
            lines.append(dense_update(at, size))
        head = f"@threaded\ndef {called}_shared({STATE}, slabs):"
        doc = '    """The optimizer\'s step, each slab on its own rows."""\n    for slab in prange(slabs):'
        shared = "\n".join([head, doc, *("        " + line for line in lines), "    return True"])
        given = STATE.split(", ")
        alone = [f"if slabs > 1:\n        return {called}_shared({STATE}, slabs)", "slab = I(0)", *lines, "return True"]
        text = "The optimizer's step; on one thread without a parallel loop, which no forked process may enter."
        return shared + "\n\n\n" + self.bare(called, [*given, "slabs"], alone, text)

    @property
    def everything(self) -> Sequence[Table]:
        """All sparse tables."""
        return self.tables

    def all_additions(self) -> Poly:
        """Number of additions to all tables."""
        total = Poly()
        for table in self.everything:
            total = total + self.additions(table)
        return total

    def update_passed(self, given: str) -> list[str]:
        """What the loop passes the update behind the state; `given` is what drivers are passed."""
        return ["threads"]

    def _train(self) -> str:
        peak = f"(1.0 + w[{len(self.plates) + self.n_scalars - 1}]) * ({self.all_additions()}) < {LARGEST}"
        finite = [peak, *(f"bounded(grad[{at} : {at + size}], {LARGEST})" for at, size in self.dense)]
        gathers = [f"gather_rows(batch_{a}, {a}, chosen)" for a, cut in zip(self.arrays, self.cut, strict=True) if cut]
        rows = ["chosen" if p == self.rows else "order[:0]" for p in self.plates]
        given = self.given("out", rows)
        step = [f"parallel({given}, threads, entries, params[:0])"]
        passed = self.update_passed(given)
        return self.train_source(self.state, step, passed, self.n_scalars - 1, finite, gathers)
