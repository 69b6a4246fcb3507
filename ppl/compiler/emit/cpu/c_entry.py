"""The C entry point: write the function that checks its arguments, needs no prepared workspace, and gives a status."""

from __future__ import annotations

from ppl.compiler.emit.code import (
    Expression,
    Function,
    Name,
    Return,
    Statement,
    all_of,
    assign,
    call,
    compare,
    do,
    loop,
    when,
)
from ppl.compiler.emit.cpu.embedding import (
    DOUBLE,
    NUMBER_ARGUMENTS,
    EmbeddedProgram,
    array_at_address,
    shared_function,
    when_not,
)
from ppl.compiler.emit.scalar import to_int
from ppl.compiler.lower.sizes import Poly

PARAMETER_STATUS, WORKSPACE_STATUS, NOT_FINITE_STATUS = 2, 3, 4
"""Statuses; 0 is success, and 1 what the caller makes of an exception."""

MOST_ROWS = 2**40
"""More rows than memory holds; lengths computed from so many still fit into a word."""

CACHE_LINE_BYTES = 64
"""Bytes of a cache line, at which the parts of a workspace begin."""

DATA_BYTES = {"float": 0, "int": 8, "int32": 4, "bool": 1}
"""Bytes of an entry of a data argument; those of floats are the program's."""

STATUS_CODE = Name("status").at(0)


class CEntryPoint(EmbeddedProgram):
    """Writes `c_entry` besides."""

    def functions(self) -> list[Function]:
        """The functions, those that others call first."""
        return [*super().functions(), self._c_entry()]

    def _c_entry(self) -> Function:
        at = self.addresses()
        good = [
            x for name, size, kind in self.vectors("head") if size != 0 for x in self._valid_address(f"{name}_at", kind)
        ]
        places = ["w_at", "floats", "v_at", "whole"]
        body = [
            *self._require_workspace(),
            assign(STATUS_CODE, to_int(PARAMETER_STATUS)),
            *([when_not(all_of(good), [Return()])] if good else []),
            *self._prepare_workspace(),
            do(
                "program",
                *at[:4],
                *NUMBER_ARGUMENTS,
                *places,
                *self.layout.counts,
                *at[4:],
                *(["scale"] if self.unit.plates else []),
            ),
            *(self._check_draws() if self.unit.sampling else self._check_results()),
            Return(),
        ]
        whole = [*at[:4], *NUMBER_ARGUMENTS, "work_at", "work_size", *self.layout.counts, *at[4:], "loss_at"]
        doc = "For callers from C: a status, and no workspace that was prepared."
        return shared_function("c_entry", [*whole, "header_at", "floats_at", "words_at", "status_at"], body, doc)

    def _require_workspace(self) -> list[Statement]:
        """The bytes that a workspace needs, and the end where it has fewer, or there is none."""
        layout = self.layout
        possible = [compare(0, "<", c, "<=", MOST_ROWS) for c in layout.counts]
        query = [assign(Name("loss").at(0), call(DOUBLE, "needed")), Return()]
        return [
            assign("status", array_at_address("status_at", 1, "I")),
            assign(STATUS_CODE, to_int(PARAMETER_STATUS)),
            when_not(all_of([compare("loss_at", "!=", 0), *possible]), [Return()]),
            assign("fixed", array_at_address("header_at", max(1, len(layout.header)), "I")),
            *layout.head("fixed"),
            assign("floats", call("floats_of", "head")),
            assign("whole", (call("words_of", "head") + 7) // 8 * 8),
            assign("needed", Name("floats") * layout.itemsize + Name("whole") * 8 + (CACHE_LINE_BYTES - 1)),
            assign("loss", array_at_address("loss_at", 1, DOUBLE)),
            assign(STATUS_CODE, to_int(WORKSPACE_STATUS)),
            when_not(compare("work_at", "!=", 0), query),
            when_not(compare("work_size", ">=", "needed"), [Return()]),
        ]

    def _valid_address(self, at: str, kind: str) -> list[Expression]:
        """The conditions on an address: it is not null, and aligned."""
        width = DATA_BYTES[kind] or self.layout.itemsize
        aligned = [compare(Name(at) // width * width, "==", at)] if width > 1 else []
        return [compare(at, "!=", 0), *aligned]

    def _prepare_workspace(self) -> list[Statement]:
        """A workspace as Python prepares it, in memory of any content."""
        memory = self.unit.memory
        body: list[Statement] = [
            assign("v_at", (Name("work_at") + (CACHE_LINE_BYTES - 1)) // CACHE_LINE_BYTES * CACHE_LINE_BYTES),
            assign("w_at", Name("v_at") + Name("whole") * 8),
            assign("v", array_at_address("v_at", "whole", "I")),
            assign("w", array_at_address("w_at", "floats", "F")),
            *self.layout.copied("head", "v"),
            *(assign(Name("w").at(i), call("F", 1.0)) for i, _ in enumerate(self.unit.plates)),
        ]
        for array, kind, given in (("w", "F", "floats_at"), ("v", "I", "words_at")):
            size, start = memory.consts[array].size, memory.symbols[f"c_{array}"].constant
            if size:
                assert start is not None
                read, kept = Name(f"c_{array}").at("i"), Name(array).at(Name("i") + start)
                body += [
                    assign(f"c_{array}", array_at_address(given, size, kind)),
                    loop("i", size, [assign(kept, read)]),
                ]
        return body

    def _check_results(self) -> list[Statement]:
        """The loss, and whether all results are finite."""
        sizes = self.unit.sizes
        body: list[Statement] = [
            assign(Name("loss").at(0), call(DOUBLE, self.loss)),
            assign(STATUS_CODE, to_int(NOT_FINITE_STATUS)),
        ]
        finite: list[Expression] = [compare(call("abs", self.loss), "<", "INF")]
        for name in ("grad", "aux") if sizes["grad"] else ():
            if sizes[name]:
                body.append(assign(name, array_at_address(f"{name}_at", sizes[name], "F")))
                finite.append(call("all_finite", name))
        return [*body, when(all_of(finite), [assign(STATUS_CODE, to_int(0))])]

    def _check_draws(self) -> list[Statement]:
        """Whether parameters were in range, which one of the outputs tells, and all draws are finite."""
        body: list[Statement] = [assign("out", array_at_address("grad_at", self.vectors()[1][1], "F"))]
        at = Poly()
        for name, size in self.unit.outputs:
            if name == self.unit.invalid:
                flag = Name("out").at(self.layout.sized(at, "v"))
                body += [assign("invalid", flag), when(compare("invalid", "!=", "invalid"), [Return()])]
            at = at + size
        ints = self.layout.sized(self.unit.memory.ints, "v")
        body += [
            assign(STATUS_CODE, to_int(NOT_FINITE_STATUS)),
            assign("ints", ints),
            assign("drawn", Name("out").after("ints")),
        ]
        return [*body, when(call("all_finite", "drawn"), [assign(STATUS_CODE, to_int(0))])]
