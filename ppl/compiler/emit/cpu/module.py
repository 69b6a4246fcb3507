"""The CPU emitter: a schedule as the source of a Python module for Numba.

One function per fused kernel; one per stage, `rows_i(table, slab, slabs, lane)` for a row region, which calls kernels
and products in order, tile by tile, and `rows_i_products` for the products it owns; a serial driver `serial`, and
`parallel`, which shares slabs among threads.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ppl.compiler.emit.checks import IMPORTS as CHECKS
from ppl.compiler.emit.cpu.drivers import Drivers
from ppl.compiler.emit.cpu.regions import COPIES, DTYPES, SLABS, products_of
from ppl.compiler.emit.cpu.regions import IMPORTS as REGION_IMPORTS
from ppl.compiler.emit.cpu.training import WHOLE_IMPORTS, Training
from ppl.compiler.emit.imports import pruned
from ppl.compiler.emit.loops import KernelWriter
from ppl.compiler.emit.products import gemm
from ppl.compiler.emit.steps import EMIT, table_product
from ppl.compiler.emit.sums import Sums
from ppl.compiler.emit.tables import function as table_function
from ppl.compiler.lower.layout import axis_size
from ppl.compiler.schedule.memory import Memory
from ppl.compiler.schedule.slabs import product_parts
from ppl.compiler.schedule.stages import Cluster, Opaque, Stage
from ppl.compiler.schedule.values import Builder

HEAD = '''"""Program emitted by ppl for the CPU in {dtype}. Do not edit: the file's name is a hash of its content."""

import numpy as np

from ppl.errors import SimulatorError
from ppl.kernels.config import entry, jit
from ppl.kernels.cpu.blas import gemm_{bits}, enter_single, leave_single
from ppl.kernels.cpu.{bits}.angle_lanes import vonmises_row_{bits}, vonmises_row_{bits} as vonmises_lanes_{bits}
from ppl.kernels.cpu.{bits}.count_lanes import binomial_row_{bits}, binomial_row_{bits} as binomial_lanes_{bits}
from ppl.kernels.cpu.{bits}.count_lanes import poisson_row_{bits}, poisson_row_{bits} as poisson_lanes_{bits}
from ppl.kernels.cpu.{bits}.gamma_lanes import loggamma_row_{bits}, loggamma_row_{bits} as loggamma_lanes_{bits}
from ppl.kernels.cpu.{bits}.gamma_lanes import loggamma_slope_lanes_{bits}
from ppl.kernels.cpu.prefetch import AHEAD, to_read, to_write
from ppl.kernels.cpu.{bits}.rows import fill_columns_{bits}, fill_rows_{bits}, fill_windows_{bits}
from ppl.kernels.cpu.results import is_shaped, put, whole
from ppl.kernels.cpu.rows import add_slabs, max_slabs, merge_slabs, mix_time, only, row_ids, row_keys
from ppl.kernels.cpu.rows import share_start, slab_start, window_keys
from ppl.kernels.cpu.single import single
from ppl.kernels.cpu.solve import cumulate, solve_lower
from ppl.kernels.cpu.sparse import data_gemm_{bits}
from ppl.kernels.cpu.vectors import prefer_wide
from ppl.kernels.cpu.views import clear, part, tail
from ppl.kernels.scalar import {bits} as m
from ppl.kernels.scalar.noise import mix, uniform_{bits}
from ppl.kernels.symbols import shared
{more}
F, I, U = np.{dtype}, np.int64, np.uint64
INF, NAN = F(np.inf), F(np.nan)
'''


@dataclass
class Emitter(Sums, Training, Drivers):
    """Writes one program; `arrays` are the names of its data arguments.

    A program with `trained` parameters, the number of entries of its gradient, gets a training loop.
    """

    stages: Sequence[Stage]
    builder: Builder
    memory: Memory
    dtype: str
    arrays: Sequence[str]
    plates: Sequence[str]
    n_aux: int
    aux_at: int
    counts: Sequence[str] = ()
    sampling: bool = False
    has_scalars: bool = True
    kinds: Sequence[str] = ()
    leading: Sequence[str] = ()
    trained: int = 0
    results: int = 0
    kernels: int = 0
    injected: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ids = [f"row0_{p}" for p in self.plates] + [f"ids_{p}" for p in self.plates]
        self.common = ["w", "v", "params", "grad", "out", "aux", "hyper", "seed", "step", *ids, *self.arrays]

    def head(self) -> str:
        """Docstring, imports and types of the module."""
        return HEAD.format(dtype=self.dtype, bits="f32" if self.dtype == "float32" else "f64", more=self.imports())

    def imports(self) -> str:
        """Lines of imports that some programs need."""
        return CHECKS + (REGION_IMPORTS + COPIES if self.regions else "") + (WHOLE_IMPORTS if self.trained else "")

    def source(self, one: str = "") -> str:
        """The whole module; `one` is the unrolled form for one particle, if there is one."""
        parts = []
        for stage in self.stages:
            parts += self._stage(stage)
        parts.insert(0, self.head() + "".join(f"{line}\n" for line in self._imports()))
        parts += [one] if one else []
        return pruned("\n\n\n".join([*parts, *self.drivers(one)]) + "\n")

    def drivers(self, one: str) -> list[str]:
        """The functions that run all stages."""
        parallel = self._parallel()
        driver = "both" if one else "parallel" if parallel else "serial"
        loop = self.training(driver, self.trained, self.results) if self.trained else []
        return [self._serial(), self._entry("both" if one else "serial"), *parallel, *loop]

    def _imports(self) -> list[str]:
        """Imports of external functions that can be imported and hashed; the others go to `injected`."""
        from ppl.kernels.adopted import adopt

        lines, versions, self.injected = [], {}, {}
        for name, fn in self.builder.functions.items():
            plain = getattr(fn, "py_func", fn)
            module, qualname = getattr(plain, "__module__", None), getattr(plain, "__qualname__", "")
            found = getattr(sys.modules.get(module or ""), qualname, None)
            version = adopt(fn)
            if found is fn and module != "__main__" and version is not None:
                lines.append(f"from {module} import {qualname} as {name}  # {version}")
                versions[name] = version
            else:
                self.injected[name] = fn
        return [*lines, f"EXTERNALS = {versions}"] if versions else lines

    def straight(self, body: Sequence[str], general: bool) -> str:
        """The module of a program that is unrolled, for one particle; with the `general` form behind it if asked."""
        one = self._function("one", self._driver_arguments(), body, "The whole program for one particle, unrolled.")
        if general:
            return self.source(one)
        self.kernels = 1
        return pruned("\n\n\n".join([self.head(), one, *self.single()]) + "\n")

    def single(self) -> list[str]:
        """What stands behind the unrolled form if there is no other."""
        loop = self.training("one", self.trained, self.results) if self.trained else []
        return [self._entry("one"), *loop]

    def _calls(self, stage: Stage, prefix: str, functions: list[str]) -> list[str]:
        """The statements of a stage's steps; their kernels are appended to `functions`."""
        calls: list[str] = []
        for step in stage.steps:
            calls += self._step(step, stage, prefix, functions)
        return calls

    def _step(self, step: Cluster | Opaque, stage: Stage, prefix: str, functions: list[str]) -> list[str]:
        if isinstance(step, Opaque):
            if step.node.op == "region":
                return self._loop(step, prefix, functions)
            if step.node.op == "gemm":
                return gemm(step, self.builder, stage, self.dtype)
            if step.node.op == "column_dot":  # before the stage, see `ppl.training.columns.emission`
                return []
            if step.node.op in ("table_dot", "table_sum"):
                functions.append(table_function(f"{prefix}_{step.target.name}", step.node))
                return table_product(step, self.builder, stage.row, f"{prefix}_{step.target.name}")
            return EMIT[step.node.op](step, self.builder, stage.row, self.dtype)
        step.name = f"{prefix}_kernel_{len(functions)}"
        writer = KernelWriter(step, stage.row)
        functions.append(writer.source(step.name, self._types() if stage.row is not None else None))
        self.kernels += 1
        return [writer.call(step.name)]

    def _types(self) -> dict[str, str] | None:
        """Numba's types of what kernels of row regions are passed, besides whole numbers."""
        names = {"F": self.dtype, "I": "int64", "U": "uint64", "np.int32": "int32", "np.bool_": "boolean"}
        arrays = {a: f"{names[k]}[::1]" for a, k in self._kinds().items() if not self._is_number(a)}
        scales = dict.fromkeys(self._scales(), self.dtype)
        return arrays | scales | {"sums": "float64[::1]", "iout": "int64[::1]", "seed": "uint64"}

    def _loop(self, step: Opaque, prefix: str, functions: list[str]) -> list[str]:
        attrs = step.node.attrs
        assert step.before is not None and step.body is not None
        lines = self._calls(step.before, prefix, functions)
        index = self.builder.value(attrs["index"])
        length, time = attrs["length"], f"t_{index.name}"
        steps = f"range({length - 1}, -1, -1)" if attrs["reverse"] else f"range({length})"
        lines.append(f"for {time} in {steps}:")
        if index.buffer is not None:
            lines.append(f"    v[{index.buffer.offset}] = {time}")
        return lines + ["    " + line for line in self._calls(step.body, prefix, functions)]

    def _stage(self, stage: Stage) -> list[str]:
        functions: list[str] = []
        calls = self._calls(stage, stage.name, functions)
        if stage.row is None:
            written = self._function(stage.name, self.common, calls or ["pass"], stage_doc(stage))
        else:
            tile = f"tile_{stage.name}"
            body = self._cleared(stage)
            body += [f"for t0 in range(lo, hi, {tile}):", f"    n = min({tile}, hi - t0)"]
            written = self._region(stage, [*body, *("    " + line for line in calls)], stage_doc(stage))
        return [*functions, written, *([self._owned(stage)] if stage.owned else [])]

    def _owned(self, stage: Stage) -> str:
        """The region of the products that `stage` owns."""
        assert stage.row is not None
        lines = [f"t0 = first_{stage.name}", f"n = min(chunk_{stage.name}, {axis_size(stage.row)} - t0)"]
        for step in stage.owned:
            lines += self._step(step, stage, stage.name, [])
        doc = "Products over the rows of the chunk that begins at t0: the share of `slab` of every result."
        return self.region(products_of(stage), lines, doc)

    def _cleared(self, stage: Stage) -> list[str]:
        lines = []
        for value in stage.accumulators:
            assert value.buffer is not None
            lines += ["if hi <= lo:"] if value.node.op == "gemm" else []
            pad = "    " if value.node.op == "gemm" else ""
            array, at, size = value.buffer.array, value.buffer.symbol, value.extent()
            lowest = f"{array}[{at} : {at} + {size}] = -INF"
            lines.append(pad + (lowest if value.node.op == "amax" else f"clear({array}, {at}, {size})"))
        if stage.owned and lines:
            return [f"if first_{stage.name} == 0:", *("    " + line for line in lines)]
        return lines

    def _function(self, name: str, arguments: Sequence[str], body: Sequence[str], doc: str) -> str:
        slab = "slab" if "slab" in arguments else "0"
        return self.bare(name, arguments, [*self._definitions(body, slab, slab), *body], doc)

    def bare(self, name: str, arguments: Sequence[str], lines: Sequence[str], doc: str) -> str:
        """A function of these `lines`."""
        top = [f"@jit\ndef {name}({', '.join(arguments)}):", f'    """{doc}"""', "    prefer_wide()"]
        return "\n".join([*top, *("    " + x for x in lines)])

    def _definitions(self, body: Sequence[str], slab: str, lane: str = "lane") -> list[str]:
        """Assignments of the symbols that `body` uses: offsets, then the sizes that these need."""
        words = set(re.findall(r"[A-Za-z_]\w*", "\n".join(body)))
        memory, offsets, needed = self.memory, [], set(words)
        for symbol, poly in memory.symbols.items():
            if symbol in words:
                offsets.append(f"{symbol} = {poly}")
                needed |= poly.names
        slabs = []
        for array in "wv":
            total, size, own = memory.totals[array], memory.slab[array], memory.lane[array]
            if f"slab_{array}" in needed:
                slabs.append(f"slab_{array} = {total} + {slab} * {size}")
                needed |= total.names | size.names
            if f"lane_{array}" in needed:
                slabs.append(f"lane_{array} = {total} + {SLABS} * {size} + {lane} * {own}")
                needed |= total.names | size.names | own.names | {SLABS}
            if f"stride_{array}" in needed:
                slabs.append(f"stride_{array} = {memory.slab[array]}")
                needed |= memory.slab[array].names
        if "iout" in needed:
            needed |= memory.ints.names
        sizes = [f"{name} = v[{i}]" for i, name in enumerate(memory.header) if name in needed]
        sizes += [f"{name} = w[{i}]" for i, name in enumerate(self._scales()) if name in needed]
        sizes += ["sums = v.view(np.float64)"] if "sums" in needed else []
        sizes += [f"iout = out[: {memory.ints}].view(I)"] if "iout" in needed else []
        if "no_ids" in needed:
            sizes.append("no_ids = v[:0]")
        return sizes + slabs + offsets

    def _scales(self) -> list[str]:
        return [f"scale_{p}" for p in self.plates]

    def _sequence(self, parallel: bool) -> list[str]:
        arguments = ", ".join(self.common)
        blas = self.multiplies() and not self.may_raise()
        lines = [] if parallel or not self.regions else ["copies = params[:0]"]
        lines += self.packed() if self.regions else []
        lines += ["enter_single()"] if blas else []
        for stage in self.stages:
            if stage.row is None:
                lines += [*self._before(stage), f"{stage.name}({arguments})"]
                continue
            lines += self._in_chunks(stage, parallel)
            lines += self._combine(stage)
        lines += ["leave_single()"] if blas else []
        lines += self._merge(parallel)
        if self.n_aux:
            lines += [f"for j in range({self.n_aux}):", f"    aux[j] = w[{self.aux_at} + j]"]
        lines += ["table[0] = 0  # which keeps the table until here"] if self.regions else []
        return [*lines, f"return w[{len(self.plates)}]" if self.has_scalars else "return F(0.0)"]

    def _in_chunks(self, stage: Stage, parallel: bool) -> list[str]:
        """The calls of a region, and of the products that it owns after every chunk of rows."""
        assert stage.row is not None
        if not stage.owned:
            return [self.enter(stage.name, parallel)]
        at, rows = self.memory.header.index(f"first_{stage.name}"), axis_size(stage.row)
        parts = f"I({product_parts(self.builder.target.sharing, max(step.shared for step in stage.owned))})"
        return [f"for first in range(0, max({rows}, 1), chunk_{stage.name}):", f"    v[{at}] = first",
                "    " + self.enter(stage.name, parallel),
                "    " + self.enter(products_of(stage), parallel, f"min({SLABS}, {parts})")]  # fmt: skip

    def _before(self, stage: Stage) -> list[str]:
        """What the parallel driver does before an unplated stage."""
        return []

    def _driver_arguments(self) -> list[str]:
        ids = [f"row0_{p}" for p in self.plates] + [f"ids_{p}" for p in self.plates]
        return ["params", "grad", "out", "aux", "hyper", "seed", "step", *ids, "w", "v", *self.arrays]

    def _serial(self) -> str:
        return self.driver("serial", self._driver_arguments(), False, "The program on one thread.")

    def _entry(self, form: str = "serial") -> str:
        """The form for users' own nopython code: one scale, data arrays as they are, no row ids."""
        arrays = [f"{a}.reshape(-1)" for a in self.arrays]
        if self.regions:
            arrays = [f"as_type({a}.reshape(-1), {DTYPES[k]})" for a, k in zip(self.arrays, self.kinds, strict=True)]
        body = ["w, v = work", *self.counts]
        if self.plates:
            body.append("w[0] = scale")
        ids = [*["row0" if i == 0 else "0" for i, _ in enumerate(self.plates)], *["v[:0]" for _ in self.plates]]
        target = "params, w[:0], grad" if self.sampling else "params, grad, w[:0]"
        passed = ", ".join([target, "aux, hyper, seed, step", *ids, "w, v", *arrays])
        if form == "both":
            counts = [i for i, name in enumerate(self.memory.header) if name.startswith("n_")]
            single = " and ".join(f"v[{i}] == 1" for i in counts)
            body += [f"if {single}:", f"    return one({passed})"]
        body.append(f"return {'one' if form == 'one' else 'serial'}({passed})")
        arguments = ["params", "grad", "aux", "hyper", "seed", "step", "row0", "scale", "work", *self.arrays]
        lines = [f"@entry\ndef njit_entry({', '.join(arguments)}):", '    """Serial, for nopython callers."""']
        return "\n".join([*lines, *("    " + x for x in body)])

    def _parallel(self) -> list[str]:
        """The driver that Python calls if there are regions, and what it reaches by address."""
        if not self.regions:
            return []
        arguments = [*self._driver_arguments(), "threads", "entries", "copies"]
        driver = self.driver("parallel", arguments, True, "The program on `threads` threads.")
        return [*self._merge_function(), driver, f"ENTRIES = [{', '.join(self.entries_of())}]"]


def stage_doc(stage: Stage) -> str:
    """What a stage function does."""
    if stage.row is None:
        return f"Unplated stage {stage.level}."
    return f"Rows lo to hi of axis {stage.row.name}, in tiles; sums over rows go to the accumulators of `slab`."
