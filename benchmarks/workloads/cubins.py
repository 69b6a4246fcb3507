"""Every kernel of the suite and of the zoo compiled for two devices, on a machine that has none.

Registers, spills, seconds, instructions in float64. No time of a step is claimed: nothing runs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numba

from benchmarks import cuda_programs
from ppl.compiler.emit.code import Function, names_in
from ppl.program.draws import drawable_sites, marginalized_sites

CAPABILITIES = ((8, 0), (9, 0))

REGISTERS, SECONDS = 128, 20.0
"""Goals: registers of a kernel at most, and seconds to compile it."""

METHODS = ("gradient", "value", "sample")

HEADERS = ["program", "launches", "registers, most", "spilled, bytes", "local memory, bytes", "slowest kernel, s",
           "kernels with float64"]  # fmt: skip

ACCUMULATORS = "sums"
"""The name under which kernels know the float64 accumulators of scalar outputs in float32 programs."""

VECTORS = {"chosen": "int64", "order": "int64", "control": "int64", "clock": "uint64"}

NUMBERS = ("size", "width", "at", "count")
"""Arguments of the kernels of a training step: vectors that are not float32, and whole numbers."""


class Measured(NamedTuple):
    """A kernel on a device: processor seconds to compile it, its code, whether float64 is in it and may not be."""

    kernel: str
    seconds: float
    code: Any
    stray: bool


def types_of(function: Function) -> tuple[Any, ...]:
    """Numba's types of the arguments of an emitted function."""
    return tuple(eval(a.type or "int64", vars(numba.types)) for a in function.arguments)


def executable_of(program: Any, method: str) -> Any:
    """The executable that a method of a program runs; `sample` draws all sites."""
    compiled = program.prepare()
    hidden = marginalized_sites(compiled.trace)
    sites = tuple(n for n in drawable_sites(compiled.trace) if n not in hidden) if method == "sample" else ()
    return compiled.executable(method, sites)


def measured(executable: Any) -> Iterator[Measured]:
    """Every kernel of an executable on every device."""
    single = executable.dtype == "float32"
    for function in executable.functions:
        if function.form == "launch":
            named = ACCUMULATORS in names_in(*function.body).used
            yield from compiled(function.name, getattr(executable.module, function.name), types_of(function),
                                single and not named)  # fmt: skip


def compiled(name: str, kernel: Any, types: Sequence[Any], single: bool) -> Iterator[Measured]:
    """A kernel on every device; where it is `single`, nothing in it may be float64."""
    from ppl.kernels.cuda import ptx

    for capability in CAPABILITIES:
        begin = time.process_time()
        code = ptx.compile_cubin(kernel, types, capability)
        yield Measured(name, time.process_time() - begin, code, single and code.float64)


def training() -> Iterator[tuple[str, list[Measured]]]:
    """The kernels of a training step besides the program's, for every optimizer."""
    from ppl.kernels.cuda import training_steps

    def made(name: str, kernel: Any) -> list[Measured]:
        code = kernel.py_func.__code__
        given = code.co_varnames[: code.co_argcount]
        types = tuple(numba.int64 if x in NUMBERS else vars(numba)[VECTORS.get(x, "float32")][::1] for x in given)
        return list(compiled(name, kernel, types, single=True))

    singles = (training_steps.gather, training_steps.examine, training_steps.advance)
    yield "gather, examine, advance", [x for k in singles for x in made(k.py_func.__name__, k)]
    for rule, (update, finish) in training_steps.STEPS.items():
        yield f"{rule}", [*made(f"{rule} update", update), *made(f"{rule} finish", finish)]


def row_of(name: str, found: Sequence[Measured]) -> tuple[list[str], list[str]]:
    """A row of the table, and what is wrong with kernels."""
    codes = [x.code for x in found]
    doubles = sorted({x.kernel for x in found if x.code.float64})
    row = [name, str(len(codes) // len(CAPABILITIES)), str(max(c.registers for c in codes)),
           str(sum(c.spilled for c in codes)), str(sum(c.stack for c in codes)),
           f"{max(x.seconds for x in found):.1f}", ", ".join(doubles) or "none"]  # fmt: skip
    wrong = [f"{name}, {x.kernel}: {x.seconds:.0f} s" for x in found if x.seconds > SECONDS]
    wrong += [f"{name}, {x.kernel}: {x.code.registers} registers, {x.code.spilled} bytes spilled, {x.code.stack} bytes "
              "of local memory" for x in found
              if x.code.registers > REGISTERS or x.code.spilled or x.code.stack]  # fmt: skip
    wrong += [f"{name}, {x.kernel}: float64 that is no accumulator of scalar outputs" for x in found if x.stray]
    return row, list(dict.fromkeys(wrong))


def run(peers: list[str]) -> dict[str, Any]:
    """Compile all; a row for each program and method, then for the kernels of training."""
    rows, problems = [], []

    def add(name: str, found: Sequence[Measured]) -> None:
        row, wrong = row_of(name, found)
        rows.append(row)
        problems.extend(wrong)
        print(row, *wrong, flush=True)

    for name, made in {**cuda_programs.suite(), **cuda_programs.zoo()}.items():
        for method in METHODS:
            try:
                add(f"{name}, {method}", list(measured(executable_of(made.build(), method))))
            except Exception as error:
                problems.append(f"{name}, {method}: {type(error).__name__}: {str(error).splitlines()[0]}")
                print(problems[-1], flush=True)
    for name, found in training():
        add(f"fit, {name}", found)
    return {
        "title": "Kernels compiled for compute capabilities 8.0 and 9.0, nothing run",
        "tables": [{"columns": HEADERS, "rows": rows}],
        "problems": problems,
        "notes": [
            "Launches are kernels of a call; seconds are those of the processor. "
            "`fit` runs the gradient's kernels and those of its optimizer.",
            "float64 is in kernels of float32 programs where sums over rows that scalar outputs are made of accumulate "
            "(`sums`); programs of float64 have it everywhere.",
            *problems,
        ],
    }
