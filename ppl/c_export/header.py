"""Headers of programs as C functions: read off the compiled program, and written as C."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ppl.arguments import shown
from ppl.compiler.lower.sizes import Poly, identifier
from ppl.compiler.surrogate.guards import OUT_OF_RANGE
from ppl.errors import DataError
from ppl.records import dataclass
from ppl.runtime.compiled import Compiled
from ppl.runtime.executable import Executable
from ppl.runtime.state import Layout

STATUSES = (
    ("OK", 0, "success"),
    ("SIMULATOR", 1, "a user's function in the model (ppl.external) raised an exception"),
    ("PARAMETER", 2, "a null or misaligned pointer, a number of rows below 1, or a parameter, an observation that is "
     "computed or an index out of its range"),
    ("WORKSPACE", 3, "the workspace is too short, or NULL: then *loss is the number of bytes that it needs"),
    ("NOT_FINITE", 4, "the loss or another result is NaN or infinite, though nothing was found out of range"),
)  # fmt: skip
"""What the function returns, by the name of its constant."""

RESERVED_WORDS = """alignas alignof and and_eq asm auto bitand bitor bool break case catch char class compl concept
const consteval constexpr constinit continue decltype default delete do double else enum
explicit export extern false float for friend goto if inline int long mutable namespace new
noexcept not not_eq nullptr operator or or_eq private protected public register requires
restrict return short signed sizeof static struct switch template this throw true try typedef
typeid typename typeof union unsigned using virtual void volatile while xor xor_eq"""
"""Words of C and C++."""


class VectorPart(NamedTuple):
    """A named part of a flat vector."""

    name: str
    offset: int
    shape: tuple[int, ...]
    note: str = ""


class DataArgument(NamedTuple):
    """A data argument: C's type of an entry, the plate that its rows belong to, and the shape of a row."""

    name: str
    dtype: str
    plate: str
    shape: tuple[int, ...]


class OutputSite(NamedTuple):
    """A site in the output of a sampling program: its place and length in C, which depend on the rows, and its axes."""

    name: str
    dtype: str
    offset: str
    axes: str


@dataclass(frozen=True)
class CDescription:
    """All that a header says of a program."""

    title: str
    kind: str
    dtype: str
    target: str
    particles: int
    params: Sequence[VectorPart]
    aux: Sequence[VectorPart]
    hypers: Mapping[str, float]
    plates: Sequence[str]
    data: Sequence[DataArgument]
    drawn: Sequence[OutputSite] = ()
    out_length: str = ""

    @property
    def real(self) -> str:
        """C's type of the program's floats."""
        return "float" if self.dtype == "float32" else "double"


def require_identifier(name: str) -> None:
    """Raise a DataError unless names of C may begin with `name`."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) or name in RESERVED_WORDS.split():
        raise DataError(f"header: names in C cannot begin with {shown(name)}; pass name=")


def prototype(of: CDescription, name: str) -> str:
    """The declaration of a function of this type."""
    return f"int32_t {name}({', '.join(_prototype_arguments(of))})"


def _prototype_arguments(of: CDescription) -> list[str]:
    real = of.real
    out = f"{real} *out" if of.kind == "sample" else f"{real} *grad"
    fixed = [f"const {real} *params", out, f"{real} *aux", f"const {real} *hyper", "uint64_t seed", "int64_t step"]
    fixed += ["int64_t row0", "double scale", "void *work", "int64_t work_len", *_row_arguments(of)]
    return [*fixed, *(f"const {d.dtype} *data_{identifier(d.name)}" for d in of.data), "double *loss"]


def _row_arguments(of: CDescription) -> list[str]:
    return [f"int64_t n_{identifier(plate)}" for plate in of.plates]


def header_text(of: CDescription, name: str) -> str:
    """The whole header."""
    guard = f"{name.upper()}_PPL_H"
    parts = [
        f"/* {_comment_text(of.title)}: {of.kind}, {of.dtype}, made by ppl. Do not edit. */",
        f"#ifndef {guard}\n#define {guard}\n\n#include <stddef.h>\n#include <stdint.h>",
        "\n".join(_define_constants(of, name)),
        _documentation_comment(of, name),
        f'#ifdef __cplusplus\nextern "C" {{\n#endif\n\ntypedef {prototype(of, f"(*{name}_fn)")};',
        _work_len_function(of, name),
        *_offset_functions(of, name),
        "#ifdef __cplusplus\n}\n#endif\n\n#endif",
    ]
    return "\n\n".join(parts) + "\n"


def _define_constants(of: CDescription, name: str) -> Iterator[str]:
    for label, value, _ in STATUSES:
        yield f"#define {name}_{label} {value}"
    yield f"#define {name}_PARTICLES {of.particles}"
    yield f"#define {name}_N_PARAMS {sum(math.prod(p.shape) for p in of.params)}"
    for p in of.params:
        yield from _define_place(name, "PARAM", p)
    yield f"#define {name}_N_AUX {sum(math.prod(a.shape) for a in of.aux)}"
    for a in of.aux:
        yield from _define_place(name, "AUX", a)
    yield f"#define {name}_N_HYPER {len(of.hypers)}"
    for i, (hyper, default) in enumerate(of.hypers.items()):
        yield f"#define {name}_HYPER_{identifier(hyper)} {i} /* '{_comment_text(hyper)}', by default {default:.9g} */"
    for d in of.data:
        yield (
            f"#define {name}_DATA_{identifier(d.name)}_SIZE {math.prod(d.shape)} /* entries of "
            f"'{_comment_text(d.name)}'" + (f", of one row of '{_comment_text(d.plate)}' */" if d.plate else " */")
        )


def _define_place(name: str, what: str, part: VectorPart) -> Iterator[str]:
    own = f"{name}_{what}_{identifier(part.name)}"
    note = f", {_comment_text(part.note)}" if part.note else ""
    yield f"#define {own}_OFFSET {part.offset} /* '{_comment_text(part.name)}' of shape {part.shape}{note} */"
    yield f"#define {own}_SIZE {math.prod(part.shape)}"


def _documentation_comment(of: CDescription, name: str) -> str:
    return "/*\n" + "\n".join(f" * {line}".rstrip() for line in _documentation_lines(of, name)) + "\n */"


def _documentation_lines(of: CDescription, name: str) -> Iterator[str]:
    real, several = of.real, of.kind == "gradient"
    yield f"A function of type {name}_fn returns"
    yield from (f"  {name}_{label}: {meaning}." for label, _, meaning in STATUSES)
    yield "It raises nothing, allocates nothing and needs neither Python nor its lock. Calls may run at the same"
    yield "time, if each has what it writes to (grad or out, aux, work, loss) for itself. All arrays are in C order and"
    yield "aligned to their entries; one without entries may be NULL. Values of data are not checked."
    yield ""
    yield f"params    {real}[{name}_N_PARAMS], unconstrained, at {name}_PARAM_..._OFFSET."
    if of.kind == "sample":
        yield f"out       {real}[{name}_out_len(...)], written: all sites, at {name}_..._offset(...)."
    else:
        yield f"grad      {real}[{name}_N_PARAMS], " + ("written." if several else "not used, may be NULL.")
    yield f"aux       {real}[{name}_N_AUX], baselines and the like" + (", updated." if several else ", read.")
    yield f"hyper     {real}[{name}_N_HYPER], at {name}_HYPER_..., read."
    yield "seed      with step and the numbers of the rows, what the noise is made from."
    yield "step      the number of the training step."
    yield "row0      the number, in the data set, of the first row given; the others follow."
    yield "scale     rows of the data set over rows given: 1.0 for all of them, or without rows."
    yield "work      memory of any content, aligned to 8 bytes; nothing is kept there between calls."
    yield f"work_len  its bytes, at least {name}_work_len(...)."
    for plate in of.plates:
        yield f"n_{identifier(plate)}  rows of plate '{_comment_text(plate)}'."
    for d in of.data:
        rows = f"n_{identifier(d.plate)} * " if d.plate else ""
        shape = f"{('rows', *d.shape) if d.plate else d.shape}".replace("'", "")
        length, own = f"{rows}{math.prod(d.shape)}", f"data_{identifier(d.name)}"
        yield f"{own}  {d.dtype}[{length}], argument '{_comment_text(d.name)}' of shape {shape}."
    yield "loss      written: " + ("nothing of use." if of.kind == "sample" else f"the loss, a {real} as a double.")


def _work_len_function(of: CDescription, name: str) -> str:
    rows = _row_arguments(of)
    given = ["NULL"] * 4 + ["0", "0", "0", "1.0", "NULL", "0", *(r.split()[1] for r in rows)]
    given += ["NULL"] * len(of.data) + ["&needed"]
    arguments = ", ".join([f"{name}_fn fn", *rows])
    return (
        f"/* Bytes of a workspace for calls with these numbers of rows; 0 if one is below 1. */\n"
        f"static inline int64_t {name}_work_len({arguments})\n{{\n    double needed = 0.0;\n"
        f"    (void)fn({', '.join(given)});\n    return (int64_t)needed;\n}}"
    )


def _offset_functions(of: CDescription, name: str) -> Iterator[str]:
    """Functions of where the sites lie in the output of a sampling program."""
    if of.kind != "sample":
        return
    rows = ", ".join(_row_arguments(of)) or "void"
    unused = "".join(f"    (void){r.split()[1]};\n" for r in _row_arguments(of))
    lengths = [(f"{name}_out_len", of.out_length, f"Entries of out, each a {of.real}.")]
    for d in of.drawn:
        note = (
            f"Where '{_comment_text(d.name)}' begins in out: {d.dtype} of axes ({_comment_text(d.axes)}), in C order."
        )
        lengths.append((f"{name}_{identifier(d.name)}_offset", d.offset, note))
    for function, value, note in lengths:
        yield f"/* {note} */\nstatic inline int64_t {function}({rows})\n{{\n{unused}    return {value};\n}}"


def _comment_text(text: str) -> str:
    """Text that may stand in a comment of C."""
    return re.sub(r"\s+", " ", text).replace("*/", "* /").replace("/*", "/ *").replace("\\", "/").replace("??", "? ?")


PARTICLES_SYMBOL = "n_particles"


def describe_c_function(compiled: Compiled, executable: Executable, kind: str) -> CDescription:
    """The description of one executable of a program."""
    settings, declared = compiled.settings, compiled.trace.params
    real = "float" if settings.dtype == "float32" else "double"
    kinds = {"float": real, "int": "int64_t", "bool": "uint8_t"}
    data = [
        DataArgument(
            i.name, kinds[i.dtype], "" if i.plate is None or i.plate.size is not None else i.plate.name, _row_shape(i)
        )
        for i in compiled.binder.inputs
    ]
    notes = {n: f"constraint {p.constraint}, before it" for n, p in declared.items() if p.constraint}
    drawn, length = _output_sites(executable, real, settings.particles) if kind == "sample" else ((), "")
    return CDescription(
        title=compiled.title,
        kind=kind,
        dtype=settings.dtype,
        target=compiled.target.name,
        particles=settings.particles,
        params=_vector_parts(compiled.layout, notes),
        aux=_vector_parts(compiled.aux_layout, {}),
        hypers=compiled.gradient.hypers,
        plates=list(dict.fromkeys(d.plate for d in data if d.plate)),
        data=data,
        drawn=drawn,
        out_length=length,
    )


def _row_shape(given: object) -> tuple[int, ...]:
    """The shape of one row of a data argument, or of all of it."""
    plate, shape = given.plate, given.shape  # type: ignore[attr-defined]
    return shape if plate is None or plate.size is None else (plate.size, *shape)


def _vector_parts(layout: Layout, notes: dict[str, str]) -> list[VectorPart]:
    found, at = [], 0
    for name, shape in layout.shapes:
        found.append(VectorPart(name, at, tuple(shape), notes.get(name, "")))
        at += math.prod(shape)
    return found


def _output_sites(executable: Executable, real: str, particles: int) -> tuple[list[OutputSite], str]:
    """The sites of a sampling program, and the length of its output."""
    words = 8 // executable.float().itemsize
    found, at = [], Poly()
    for name, kind, size in executable.array_places:
        axes = ", ".join([*(a.name for a in kind.axes), *map(str, kind.shape)])
        whole = kind.dtype == "int"
        if name != OUT_OF_RANGE:
            found.append(OutputSite(name, "int64_t" if whole else real, _c_expression(at, particles), axes))
        at = at + size * (words if whole else 1)
    return found, _c_expression(at, particles)


def _c_expression(poly: Poly, particles: int) -> str:
    """A polynomial in numbers of rows, as C writes it."""
    terms = []
    for names, coef in poly.terms:
        own = coef * particles ** names.count(PARTICLES_SYMBOL)
        terms.append(" * ".join([f"INT64_C({own})", *(n for n in names if n != PARTICLES_SYMBOL)]))
    return " + ".join(terms) or "INT64_C(0)"
