"""What a header says of a program, read off what was compiled."""

from __future__ import annotations

import math

from ppl.compiler.lower.views import Poly
from ppl.compiler.surrogate.conditions.range_guards import INVALID
from ppl.program.c_header import Data, Described, Drawn, Vector
from ppl.runtime.compiled import Compiled
from ppl.runtime.executable import Executable
from ppl.runtime.state import Layout

PARTICLES = "n_particles"


def described(compiled: Compiled, executable: Executable, kind: str) -> Described:
    """The description of one executable of a program."""
    settings, declared = compiled.settings, compiled.trace.params
    real = "float" if settings.dtype == "float32" else "double"
    kinds = {"float": real, "int": "int64_t", "bool": "uint8_t"}
    data = [
        Data(i.name, kinds[i.dtype], "" if i.plate is None or i.plate.size is not None else i.plate.name, _row(i))
        for i in compiled.binder.inputs
    ]
    notes = {n: f"constraint {p.constraint}, before it" for n, p in declared.items() if p.constraint}
    drawn, length = _drawn(executable, real, settings.particles) if kind == "sample" else ((), "")
    return Described(
        title=compiled.title,
        kind=kind,
        dtype=settings.dtype,
        target=compiled.target.name,
        particles=settings.particles,
        params=_parts(compiled.layout, notes),
        aux=_parts(compiled.aux_layout, {}),
        hypers=compiled.gradient.hypers,
        plates=list(dict.fromkeys(d.plate for d in data if d.plate)),
        data=data,
        drawn=drawn,
        out_length=length,
    )


def _row(given: object) -> tuple[int, ...]:
    """The shape of one row of a data argument, or of all of it."""
    plate, shape = given.plate, given.shape  # type: ignore[attr-defined]
    return shape if plate is None or plate.size is None else (plate.size, *shape)


def _parts(layout: Layout, notes: dict[str, str]) -> list[Vector]:
    found, at = [], 0
    for name, shape in layout.shapes:
        found.append(Vector(name, at, tuple(shape), notes.get(name, "")))
        at += math.prod(shape)
    return found


def _drawn(executable: Executable, real: str, particles: int) -> tuple[list[Drawn], str]:
    """The sites of a sampling program, and the length of its output."""
    words = 8 // executable.float().itemsize
    found, at = [], Poly()
    for name, kind, size in executable.array_places:
        axes = ", ".join([*(a.name for a in kind.axes), *map(str, kind.shape)])
        whole = kind.dtype == "int"
        if name != INVALID:
            found.append(Drawn(name, "int64_t" if whole else real, _in_c(at, particles), axes))
        at = at + size * (words if whole else 1)
    return found, _in_c(at, particles)


def _in_c(poly: Poly, particles: int) -> str:
    """A polynomial in numbers of rows, as C writes it."""
    terms = []
    for names, coef in poly.terms:
        own = coef * particles ** names.count(PARTICLES)
        terms.append(" * ".join([f"INT64_C({own})", *(n for n in names if n != PARTICLES)]))
    return " + ".join(terms) or "INT64_C(0)"
