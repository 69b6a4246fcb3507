"""Embedding: write what users' own compiled code calls, and what lays out a workspace for the rows of a call.

`program` takes addresses, so that Numba's callers and callers from C run the same machine code; `njit_entry` is what
nopython code calls. Where a call has other rows
than the one before, the workspace is laid out again; the numbers are those that `ppl.runtime` computes for calls
from Python, so that both have the same bits. Calls
from Python reach an unrolled program, whose last bits depend on the code around it, in the same way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ppl.compiler.emit.code import (
    Argument,
    Expression,
    ExpressionLike,
    Function,
    Literal,
    Name,
    Raise,
    Return,
    Statement,
    Unary,
    all_of,
    as_expression,
    assign,
    call,
    compare,
    do,
    loop,
    name_tuple,
    when,
)
from ppl.compiler.emit.scalar import NAN, ZERO, to_int
from ppl.compiler.emit.unit import NUMPY_TYPES, TranslationUnit
from ppl.compiler.lower.sizes import Poly, axis_size
from ppl.compiler.schedule.slabs import SLABS, least_slab_rows
from ppl.compiler.schedule.stages import Opaque, Stage, all_steps


class WorkspaceLayout:
    """Writes `lay_out`, `floats_of` and `words_of` of a unit.

    `plates` are those whose rows data tell, `counts` what their numbers of rows are called.
    """

    def __init__(self, unit: TranslationUnit):
        self.unit = unit
        self.header = list(unit.memory.header)
        self.plates = list(dict.fromkeys(p for p in unit.leading if p))
        self.counts = [f"n_{p}" for p in self.plates]
        self.itemsize = 4 if unit.dtype == "float32" else 8

    def functions(self) -> list[Function]:
        """The functions."""
        return [
            *([self._lay_out()] if self.counts else []),
            self._length("floats_of", "w", "Floats of a workspace with this header."),
            self._length("words_of", "v", "Whole numbers of a workspace with this header."),
        ]

    def at(self, head: str, name: str) -> Expression:
        """The entry `name` of a header."""
        return Name(head).at(self.header.index(name))

    def sized(self, poly: Poly, head: str) -> Expression:
        """A polynomial in sizes, which stand in a header; numbers of rows are locals."""
        return evaluate_size(poly, {n: self.at(head, n) for n in poly.names if n not in self.counts})

    def head(self, fixed: str) -> list[Statement]:
        """The header of a call on the stack; what rows do not change is taken from `fixed`."""
        made: list[Statement] = [assign("head", call(Name("np").dot("empty"), max(1, len(self.header)), "I"))]
        made += self.copied(fixed, "head")
        return [*made, *([do("lay_out", "head", *self.counts)] if self.counts else [])]

    def copied(self, source: str, target: str) -> list[Statement]:
        """Copy a header."""
        return [loop("i", len(self.header), [assign(Name(target).at("i"), Name(source).at("i"))])] * bool(self.header)

    def _known(self, needed: set[str]) -> list[Statement]:
        """Assignments of those sizes in the header that are `needed`."""
        return [assign(name, Name("v").at(i)) for i, name in enumerate(self.header) if name in needed]

    def _lay_out(self) -> Function:
        unit, regions = self.unit, self.unit.regions
        polys = [unit.flops, *unit.memory.slab.values(), *(axis_size(s.row) for s in regions if s.row is not None)]
        polys += [p[s.name] for s in regions for p in (unit.memory.per_row, unit.memory.stacks)]
        body: list[Statement] = [assign(self.at("v", c), c) for c in self.counts]
        body += [assign(self.at("v", f"total_{p}"), c) for p, c in zip(self.plates, self.counts, strict=True)]
        body += self._known({n for p in polys for n in p.names} - set(self.counts))
        if regions:
            body += [assign("slabs", self._slabs()), assign(self.at("v", SLABS), "slabs")]
        for stage in regions:
            body += self._tile(stage)
        return unit.bare("lay_out", ["v", *self.counts], body, "Lay out a workspace for these numbers of rows.")

    def _slabs(self) -> Expression:
        """The number of slabs."""
        unit, sharing = self.unit, self.unit.builder.target.sharing
        ops = {t.node.op for s in unit.regions for t in all_steps(s) if isinstance(t, Opaque)}
        least = least_slab_rows(sharing, "gemm" in ops, "turns" in ops, "noise" in ops)
        longest, *others = [call("I", axis_size(s.row)) for s in unit.regions if s.row is not None]
        for other in others:
            longest = call("max", longest, other)
        accumulated = sum(unit.memory.slab.values(), Poly())
        numbers = (least, sharing.most, sharing.operations, int(min(sharing.pair, 1 << 62)), sharing.sums)
        return call("slab_count", longest, call("I", unit.flops), call("I", accumulated), *map(to_int, numbers))

    def _tile(self, stage: Stage) -> list[Statement]:
        """The length of the tiles of a region, and of the chunks behind which owned products run."""
        assert stage.row is not None
        memory, rules = self.unit.memory, self.unit.memory.rules
        rows = call("I", axis_size(stage.row))
        products = any(isinstance(t, Opaque) and t.node.op == "gemm" for t in all_steps(stage))
        each, stacks = (memory.per_row[stage.name] * self.itemsize, memory.stacks[stage.name] * self.itemsize)
        streamed = to_int(0) if products else call("max", to_int(1), as_expression(each) - as_expression(stacks))
        limits = map(to_int, (rules.tile_rows, rules.product_tile, rules.stream_tile))
        block = to_int(rules.noise_block if stacks.terms else 0)
        tile = call("tile_rows", "most", call("I", each), streamed, *limits, block)
        body: list[Statement] = [assign("most", call("longest_slab", rows, "slabs")), assign("tile", tile)]
        if stage.partitioned:
            body += [assign("chunk", call("chunk_rows", rows, "most", "tile"))]
            body += [assign(self.at("v", f"chunk_{stage.name}"), "chunk")]
            body += [assign(self.at("v", f"first_{stage.name}"), to_int(0))]
            body += [assign("tile", call("max", "tile", call("longest_slab", "chunk", "slabs")))]
        return [*body, assign(self.at("v", f"tile_{stage.name}"), "tile")]

    def _length(self, name: str, array: str, doc: str) -> Function:
        total, slab, lane = (area[array] for area in self.unit.memory.areas)
        length = total + (slab * SLABS if SLABS in self.header else slab) + lane
        return self.unit.bare(name, ["v"], [*self._known(length.names), Return(call("I", length))], doc)


def evaluate_size(poly: Poly, known: Mapping[str, Expression]) -> Expression:
    """A polynomial, some of whose sizes are `known` as expressions."""
    total: Expression = to_int(0)
    for factors, coef in poly.terms:
        product: Expression = to_int(coef)
        for name in factors:
            product = product * known.get(name, Name(name))
        total = total + product
    return total


DOUBLE = Name("np").dot("float64")

VECTOR_ARGUMENTS = ("params", "grad", "aux", "hyper")

NUMBER_ARGUMENTS = ("seed_bits", "step", "row0")


class EmbeddedProgram:
    """Writes the functions of one unit.

    `form` says which drivers there are: "serial"; "straight", the unrolled form; "both"; or "one", the unrolled form
    that is then made here of the statements `unrolled`.
    """

    def __init__(self, unit: TranslationUnit, form: str, unrolled: Sequence[Statement] = ()):
        self.unit, self.form, self.unrolled, self.layout = unit, form, unrolled, WorkspaceLayout(unit)
        self.loss = Name("w").at(len(unit.plates))

    def functions(self) -> list[Function]:
        """The functions, those that others call first."""
        one = [self._one()] if self.form == "one" else []
        return [*self.layout.functions(), self._program(), *one, self._entry(), self._debug()]

    def vectors(self, head: str = "v") -> list[tuple[str, ExpressionLike, str]]:
        """Name, length and kind of the vectors and data that a program is passed by address."""
        unit = self.unit
        out = self.layout.sized(sum((size for _, size in unit.outputs), Poly()), head)
        lengths: list[ExpressionLike] = [
            out if n == "grad" and unit.sampling else unit.sizes[n] for n in VECTOR_ARGUMENTS
        ]
        given: list[tuple[str, ExpressionLike, str]] = [
            (n, size, "float") for n, size in zip(VECTOR_ARGUMENTS, lengths, strict=True)
        ]
        for array, plate, kind in zip(unit.arrays, unit.leading, unit.kinds, strict=True):
            size = unit.sizes[array]
            given.append((array, Name(f"n_{plate}") * to_int(size) if plate else size, kind))
        return given

    def addresses(self) -> list[str]:
        """What the addresses of vectors and data are called."""
        return [f"{name}_at" for name, _, _ in self.vectors()]

    def _program(self) -> Function:
        unit, layout = self.unit, self.layout
        body: list[Statement] = [assign("w", array_at_address("w_at", "w_size", "F"))]
        body += [assign("v", array_at_address("v_at", "v_size", "I"))]
        if layout.counts:
            body.append(
                when_not(all_of([compare(layout.at("v", c), "==", c) for c in layout.counts]), self._lay_out_again())
            )
        body += [
            assign(name, array_at_address(f"{name}_at", size, NUMPY_TYPES[kind])) for name, size, kind in self.vectors()
        ]
        body += [assign(Name("w").at(0), call("F", "scale"))] if unit.plates else []
        if layout.plates:
            total = Name("scale") * call(DOUBLE, layout.counts[0]) + 0.5
            body.append(assign(layout.at("v", f"total_{layout.plates[0]}"), call("I", total)))
        body += [assign("seed", call("U", "seed_bits")), *self._run()]
        doc = "The program on one thread, by addresses; its loss is NaN where the workspace is too short for the rows."
        vectors = self.addresses()
        whole = [*vectors[:4], *NUMBER_ARGUMENTS, "w_at", "w_size", "v_at", "v_size", *layout.counts, *vectors[4:]]
        return shared_function("program", whole, body, doc, bool(unit.plates))

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
        single = [when(all_of(self.unit.singles()), [do("one", *passed), Return()])] if self.form == "both" else []
        return [*single, do("serial", *passed), Return()]

    def _one(self) -> Function:
        """The driver that Python and training loops call."""
        unit = self.unit
        vectors = [call("place", "out" if x == "grad" and unit.sampling else x, "F") for x in VECTOR_ARGUMENTS]
        data = [call("place", x, NUMPY_TYPES[k]) for x, k in zip(unit.arrays, unit.kinds, strict=True)]
        body: list[Statement] = [do("program", *vectors, *_number_arguments(), *_workspace_arguments(), *data)]
        body.append(Return(self.loss if unit.has_scalars else ZERO))
        return unit.bare("one", unit.driver_arguments, body, "The whole program for one particle, unrolled.")

    def _factor(self, scale: ExpressionLike) -> list[Expression]:
        """The factor N/B as the program is passed it; without rows it has none."""
        return [call(DOUBLE, scale)] if self.unit.plates else []

    def _lay_out_again(self) -> list[Statement]:
        """Lay the workspace out for other numbers of rows, if it is long enough."""
        sizes = (call("floats_of", "head"), "w_size"), (call("words_of", "head"), "v_size")
        fits = all_of([compare(length, "<=", size) for length, size in sizes])
        short: list[Statement] = [assign(self.loss, NAN)] if self.unit.has_scalars else []
        return [*self.layout.head("v"), when_not(fits, [*short, Return()]), *self.layout.copied("head", "v")]

    def _passed(self) -> list[ExpressionLike]:
        """What the driver is passed."""
        unit, nothing = self.unit, Name("w").before(0)
        ids: list[ExpressionLike] = ["row0" if i == 0 else to_int(0) for i, _ in enumerate(unit.plates)]
        ids += [Name("v").before(0) for _ in unit.plates]
        target: list[ExpressionLike] = ["params", nothing, "grad"] if unit.sampling else ["params", "grad", nothing]
        return [*target, "aux", "hyper", "seed", "step", *ids, "w", "v", *unit.arrays]

    def _entry(self) -> Function:
        """The form for users' own nopython code: one scale, data arrays as they are, no row ids."""
        unit = self.unit
        copies = [f"{a}_copy" for a in unit.arrays]
        kinds = [NUMPY_TYPES[k] for k in unit.kinds]
        data = list(zip(unit.arrays, copies, kinds, strict=True))
        body: list[Statement] = [assign(copy, call("copied_to", name, kind)) for name, copy, kind in data]
        vectors = [call("place", x, "F") for x in VECTOR_ARGUMENTS]
        rows = [self._rows_of(p) for p in self.layout.plates]
        body.append(assign("parts", call("work_places", "work", "F")))
        work = [Name("parts").at(i) for i in range(4)]
        places = [call("data_place", *x) for x in data]
        body.append(do("program", *vectors, *_number_arguments("row0"), *work, *rows, *places, *self._factor("scale")))
        result = call("number_at", work[0], to_int(len(unit.plates)), "F") if unit.has_scalars else ZERO
        for copy in copies:
            result = call("alive_until", result, copy)
        body.append(Return(result))
        given = [*VECTOR_ARGUMENTS, "seed", "step", "row0", "scale", "work", *unit.arrays]
        return unit.bare("njit_entry", given, body, "Serial, for nopython callers.", "entry")

    def _debug(self) -> Function:
        """The same, behind checks of everything that the program trusts its caller with."""
        unit, layout = self.unit, self.layout
        body: list[Statement] = [assign(name_tuple("w", "v"), "work")]
        body += [assign(c, self._rows_of(p)) for c, p in zip(layout.counts, layout.plates, strict=True)]
        body += [_raise_if(compare(c, "<", 1), f"there are no rows of plate '{c[2:]}'") for c in layout.counts]
        for array, plate in zip(unit.arrays, unit.leading, strict=True):
            rows = compare(Name(array).dot("shape").at(0), "!=", f"n_{plate}") if plate else None
            size = Name(f"n_{plate}") * to_int(unit.sizes[array]) if plate else to_int(unit.sizes[array])
            body += [_raise_if(rows, f"{array} has another number of rows than the first argument")] if plate else []
            body.append(_raise_if(compare(Name(array).dot("size"), "!=", size), f"{array} has rows of another length"))
        body += [*layout.head("v")]
        long = (("w", call("floats_of", "head")), ("v", call("words_of", "head")))
        body += [
            _raise_if(compare(Name(a).dot("shape").at(0), "<", n), "work is too short for the rows") for a, n in long
        ]
        for name, length, _ in self.vectors("head")[:4]:
            text = f"{name} has another length than the program's; see program.arrays"
            if name != "grad" or unit.sampling or unit.sizes["grad"]:
                body.append(_raise_if(compare(Name(name).dot("shape").at(0), "!=", length), text))
        body.append(_raise_if(compare("step", "<", 0), "step is below 0"))
        given = [*VECTOR_ARGUMENTS, "seed", "step", "row0", "scale", "work", *unit.arrays]
        body.append(Return(call("njit_entry", *given)))
        return unit.bare("njit_debug", given, body, "As `njit_entry`, behind checks of its arguments.", "entry")

    def _rows_of(self, plate: str) -> Expression:
        """The number of rows of a plate, as the first array of it tells."""
        return Name(self.unit.arrays[self.unit.leading.index(plate)]).dot("shape").at(0)


def _raise_if(test: Expression | None, text: str) -> Statement:
    assert test is not None
    return when(test, [Raise(call("DataError", Literal(f"a call of compiled code: {text}")))])


def _number_arguments(first: str = "") -> list[Expression]:
    """Seed, step and the number of the first row, as whole numbers."""
    row = call("I", first) if first else to_int(0)
    return [call("I", call("U", "seed")), call("I", "step"), row]


def _workspace_arguments() -> list[Expression]:
    """Addresses and lengths of both parts of a workspace."""
    return [x for a, k in (("w", "F"), ("v", "I")) for x in (call("place", a, k), Name(a).dot("shape").at(0))]


def array_at_address(place: ExpressionLike, size: ExpressionLike, kind: ExpressionLike) -> Expression:
    """The array at an address."""
    return call("array_of", place, size if isinstance(size, Expression | str) else to_int(size), kind)


def when_not(test: Expression, body: Sequence[Statement]) -> Statement:
    """`body` where a test fails."""
    return when(Unary("not", test), list(body))


def shared_function(
    name: str, whole: Sequence[str], body: Sequence[Statement], doc: str, scaled: bool = True
) -> Function:
    """A function that is reached by symbol, of whole numbers and, if it is `scaled`, the factor `scale`."""
    factor = [Argument("scale", "float64")] if scaled else []
    arguments = (*(Argument(n, "int64") for n in whole), *factor)
    return Function(name, arguments, (do("prefer_full_width"), *body), doc, "shared")
