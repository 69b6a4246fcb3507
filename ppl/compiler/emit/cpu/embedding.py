"""Emission of what users' own code calls: a program on one thread, compiled once and reached by symbol.

`program` takes addresses, so that Numba's callers and callers from C run the same machine code; `njit_entry` is what
nopython code calls. Where a call has other rows than the one before, the workspace is laid out again. Calls from Python
reach an unrolled program, whose last bits depend on the code around it, in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence

from ppl.compiler.emit.code import (
    Argument,
    Expression,
    Function,
    Given,
    Literal,
    Name,
    Raise,
    Return,
    Statement,
    Unary,
    assign,
    both,
    call,
    compare,
    do,
    names,
    when,
)
from ppl.compiler.emit.cpu.layout import Layout
from ppl.compiler.emit.scalar import NAN, ZERO, to_int
from ppl.compiler.emit.unit import CONVERT, Unit
from ppl.compiler.lower.views import Poly

DOUBLE = Name("np").dot("float64")
VECTORS = ("params", "grad", "aux", "hyper")
NUMBERS = ("seed_bits", "step", "row0")


class Embedded:
    """Writes the functions of one unit.

    `form` says which drivers there are: "serial"; "straight", the unrolled form; "both"; or "one", the unrolled form
    that is then made here of the statements `unrolled`.
    """

    def __init__(self, unit: Unit, form: str, unrolled: Sequence[Statement] = ()):
        self.unit, self.form, self.unrolled, self.layout = unit, form, unrolled, Layout(unit)
        self.loss = Name("w").at(len(unit.plates))

    def functions(self) -> list[Function]:
        """The functions, those that others call first."""
        one = [self._one()] if self.form == "one" else []
        return [*self.layout.functions(), self._program(), *one, self._entry(), self._debug()]

    def vectors(self, head: str = "v") -> list[tuple[str, Given, str]]:
        """Name, length and kind of the vectors and data that a program is passed by address."""
        unit = self.unit
        out = self.layout.sized(sum((size for _, size in unit.outputs), Poly()), head)
        lengths: list[Given] = [out if n == "grad" and unit.sampling else unit.sizes[n] for n in VECTORS]
        given: list[tuple[str, Given, str]] = [(n, size, "float") for n, size in zip(VECTORS, lengths, strict=True)]
        for array, plate, kind in zip(unit.arrays, unit.leading, unit.kinds, strict=True):
            size = unit.sizes[array]
            given.append((array, Name(f"n_{plate}") * to_int(size) if plate else size, kind))
        return given

    def addresses(self) -> list[str]:
        """What the addresses of vectors and data are called."""
        return [f"{name}_at" for name, _, _ in self.vectors()]

    def _program(self) -> Function:
        unit, layout = self.unit, self.layout
        body: list[Statement] = [assign("w", array_of("w_at", "w_size", "F"))]
        body += [assign("v", array_of("v_at", "v_size", "I"))]
        if layout.counts:
            body.append(unless(both([compare(layout.at("v", c), "==", c) for c in layout.counts]), self._laid_out()))
        body += [assign(name, array_of(f"{name}_at", size, CONVERT[kind])) for name, size, kind in self.vectors()]
        body += [assign(Name("w").at(0), call("F", "scale"))] if unit.plates else []
        if layout.plates:
            total = Name("scale") * call(DOUBLE, layout.counts[0]) + 0.5
            body.append(assign(layout.at("v", f"total_{layout.plates[0]}"), call("I", total)))
        body += [assign("seed", call("U", "seed_bits")), *self._run()]
        doc = "The program on one thread, by addresses; its loss is NaN where the workspace is too short for the rows."
        vectors = self.addresses()
        whole = [*vectors[:4], *NUMBERS, "w_at", "w_size", "v_at", "v_size", *layout.counts, *vectors[4:]]
        return shared("program", whole, body, doc, bool(unit.plates))

    def _run(self) -> list[Statement]:
        """The stages, or the unrolled form."""
        if self.form == "one":
            *lines, last = self.unrolled
            assert isinstance(last, Return)
            out = [assign("out", "grad" if self.unit.sampling else Name("w").before(0))]
            return [*out, *self.unit.definitions(self.unrolled, 0, 0), *lines, Return()]
        passed = self._passed()
        if self.form == "straight":
            return [do("one", *passed), Return()]
        single = [when(both(self.unit.singles()), [do("one", *passed), Return()])] if self.form == "both" else []
        return [*single, do("serial", *passed), Return()]

    def _one(self) -> Function:
        """The driver that Python and training loops call."""
        unit = self.unit
        vectors = [call("place", "out" if x == "grad" and unit.sampling else x, "F") for x in VECTORS]
        data = [call("place", x, CONVERT[k]) for x, k in zip(unit.arrays, unit.kinds, strict=True)]
        body: list[Statement] = [do("program", *vectors, *_numbers(), *_work(), *data)]
        body.append(Return(self.loss if unit.has_scalars else ZERO))
        return unit.bare("one", unit.driver_arguments, body, "The whole program for one particle, unrolled.")

    def _factor(self, scale: Given) -> list[Expression]:
        """The factor N/B as the program is passed it; without rows it has none."""
        return [call(DOUBLE, scale)] if self.unit.plates else []

    def _laid_out(self) -> list[Statement]:
        """Lay the workspace out for other numbers of rows, if it is long enough."""
        sizes = (call("floats_of", "head"), "w_size"), (call("words_of", "head"), "v_size")
        fits = both([compare(length, "<=", size) for length, size in sizes])
        short: list[Statement] = [assign(self.loss, NAN)] if self.unit.has_scalars else []
        return [*self.layout.head("v"), unless(fits, [*short, Return()]), *self.layout.copied("head", "v")]

    def _passed(self) -> list[Given]:
        """What the driver is passed."""
        unit, nothing = self.unit, Name("w").before(0)
        ids: list[Given] = ["row0" if i == 0 else to_int(0) for i, _ in enumerate(unit.plates)]
        ids += [Name("v").before(0) for _ in unit.plates]
        target: list[Given] = ["params", nothing, "grad"] if unit.sampling else ["params", "grad", nothing]
        return [*target, "aux", "hyper", "seed", "step", *ids, "w", "v", *unit.arrays]

    def _entry(self) -> Function:
        """The form for users' own nopython code: one scale, data arrays as they are, no row ids."""
        unit = self.unit
        copies = [f"{a}_copy" for a in unit.arrays]
        kinds = [CONVERT[k] for k in unit.kinds]
        data = list(zip(unit.arrays, copies, kinds, strict=True))
        body: list[Statement] = [assign(copy, call("copied_to", name, kind)) for name, copy, kind in data]
        vectors = [call("place", x, "F") for x in VECTORS]
        rows = [self._rows_of(p) for p in self.layout.plates]
        body.append(assign("parts", call("work_places", "work", "F")))
        work = [Name("parts").at(i) for i in range(4)]
        places = [call("data_place", *x) for x in data]
        body.append(do("program", *vectors, *_numbers("row0"), *work, *rows, *places, *self._factor("scale")))
        result = call("number_at", work[0], to_int(len(unit.plates)), "F") if unit.has_scalars else ZERO
        for copy in copies:
            result = call("alive_until", result, copy)
        body.append(Return(result))
        given = [*VECTORS, "seed", "step", "row0", "scale", "work", *unit.arrays]
        return unit.bare("njit_entry", given, body, "Serial, for nopython callers.", "entry")

    def _debug(self) -> Function:
        """The same, behind checks of everything that the program trusts its caller with."""
        unit, layout = self.unit, self.layout
        body: list[Statement] = [assign(names("w", "v"), "work")]
        body += [assign(c, self._rows_of(p)) for c, p in zip(layout.counts, layout.plates, strict=True)]
        body += [_refused(compare(c, "<", 1), f"there are no rows of plate '{c[2:]}'") for c in layout.counts]
        for array, plate in zip(unit.arrays, unit.leading, strict=True):
            rows = compare(Name(array).dot("shape").at(0), "!=", f"n_{plate}") if plate else None
            size = Name(f"n_{plate}") * to_int(unit.sizes[array]) if plate else to_int(unit.sizes[array])
            body += [_refused(rows, f"{array} has another number of rows than the first argument")] if plate else []
            body.append(_refused(compare(Name(array).dot("size"), "!=", size), f"{array} has rows of another length"))
        body += [*layout.head("v")]
        long = (("w", call("floats_of", "head")), ("v", call("words_of", "head")))
        body += [
            _refused(compare(Name(a).dot("shape").at(0), "<", n), "work is too short for the rows") for a, n in long
        ]
        for name, length, _ in self.vectors("head")[:4]:
            text = f"{name} has another length than the program's; see program.arrays"
            if name != "grad" or unit.sampling or unit.sizes["grad"]:
                body.append(_refused(compare(Name(name).dot("shape").at(0), "!=", length), text))
        body.append(_refused(compare("step", "<", 0), "step is below 0"))
        given = [*VECTORS, "seed", "step", "row0", "scale", "work", *unit.arrays]
        body.append(Return(call("njit_entry", *given)))
        return unit.bare("njit_debug", given, body, "As `njit_entry`, behind checks of its arguments.", "entry")

    def _rows_of(self, plate: str) -> Expression:
        """The number of rows of a plate, as the first array of it tells."""
        return Name(self.unit.arrays[self.unit.leading.index(plate)]).dot("shape").at(0)


def _refused(test: Expression | None, text: str) -> Statement:
    assert test is not None
    return when(test, [Raise(call("DataError", Literal(f"a call of compiled code: {text}")))])


def _numbers(first: str = "") -> list[Expression]:
    """Seed, step and the number of the first row, as whole numbers."""
    row = call("I", first) if first else to_int(0)
    return [call("I", call("U", "seed")), call("I", "step"), row]


def _work() -> list[Expression]:
    """Addresses and lengths of both parts of a workspace."""
    return [x for a, k in (("w", "F"), ("v", "I")) for x in (call("place", a, k), Name(a).dot("shape").at(0))]


def array_of(place: Given, size: Given, kind: Given) -> Expression:
    """The array at an address."""
    return call("array_of", place, size if isinstance(size, Expression | str) else to_int(size), kind)


def unless(test: Expression, body: Sequence[Statement]) -> Statement:
    """`body` where a test fails."""
    return when(Unary("not", test), list(body))


def shared(name: str, whole: Sequence[str], body: Sequence[Statement], doc: str, scaled: bool = True) -> Function:
    """A function that is reached by symbol, of whole numbers and, if it is `scaled`, the factor `scale`."""
    factor = [Argument("scale", "float64")] if scaled else []
    arguments = (*(Argument(n, "int64") for n in whole), *factor)
    return Function(name, arguments, (do("prefer_full_width"), *body), doc, "shared")
