"""The CUDA emitter: the stages and kernels of `emit_cpu`, as device functions, with another driver.

A row region is one launch with a thread per row; every thread is a slab of its own, with its own accumulators, which a
second launch adds up, one thread per entry. Unplated stages run on one thread. This is the seam, not yet fast.
"""

from __future__ import annotations

from collections.abc import Sequence

from ppl.compiler.emit.cpu.module import Emitter
from ppl.compiler.emit.cpu.regions import SLABS
from ppl.compiler.emit.sums import ALONE
from ppl.compiler.lower.layout import axis_size
from ppl.compiler.schedule.stages import Stage

CUDA_HEAD = '''"""Program emitted by ppl for CUDA in {dtype}. Do not edit: the file's name is a hash of its content."""

import numpy as np
from numba import cuda

from ppl.kernels.cuda.launch import grid
from ppl.kernels.cuda.rows import device as jit
from ppl.kernels.cuda.rows import add_slabs, fill_columns_{bits}, fill_rows_{bits}, gemm_{bits}, max_slabs
from ppl.kernels.cuda.rows import merge_slabs, mix_time
from ppl.kernels.cpu.rows import only
from ppl.kernels.cuda.rows import gemm_{bits} as data_gemm_{bits}
from ppl.kernels.cuda.rows import clear, cumulate, part, prefer_wide, row_ids, row_keys, solve_lower, tail
from ppl.kernels.cuda.draws import binomial_lanes_{bits}, binomial_row_{bits}, loggamma_lanes_{bits}
from ppl.kernels.cuda.draws import loggamma_row_{bits}, loggamma_slope_lanes_{bits}, poisson_lanes_{bits}
from ppl.kernels.cuda.draws import poisson_row_{bits}, vonmises_lanes_{bits}, vonmises_row_{bits}
from ppl.kernels.scalar import {bits} as m
from ppl.kernels.scalar.noise import mix, uniform_{bits}

F, I, U = np.{dtype}, np.int64, np.uint64
INF, NAN = F(np.inf), F(np.nan)
'''


class CudaEmitter(Emitter):
    """Writes one program for CUDA."""

    def head(self) -> str:
        """Docstring, imports and types."""
        return CUDA_HEAD.format(dtype=self.dtype, bits="f32" if self.dtype == "float32" else "f64")

    def _types(self) -> None:
        """Device functions need no symbols."""

    def _region(self, stage: Stage, body: Sequence[str], doc: str) -> str:
        return self._function(stage.name, [*self.common, "slab", "lo", "hi"], body, doc)

    def drivers(self, one: str) -> list[str]:
        """Kernels around the stage functions, and the host function that launches them."""
        parts, calls = [], []
        common, given = ", ".join(self.common), ", ".join([*self._driver_arguments(), "slabs"])
        for stage in self.stages:
            name = f"launch_{stage.name}"
            if stage.row is None:
                calls.append(f"{name}[1, 1]({common})")
                parts.append(f"@cuda.jit\ndef {name}({common}):\n    {stage.name}({common})")
                continue
            rows = str(axis_size(stage.row))
            calls.append(f"{name}[grid({rows})]({common}, {rows})")
            body = ["row = cuda.grid(1)", "if row < rows:", f"    {stage.name}({common}, row, row, row + 1)"]
            parts.append(self._kernel(name, f"{common}, rows", body))
            sums = self._sums(self._combine(stage))
            if sums:
                parts.append(self._kernel(f"{name}_sums", f"{common}, slabs", ["j = cuda.grid(1)", *sums]))
                calls.append(f"{name}_sums[grid({self._largest()})]({common}, {rows})")
        merges = self._sums(self._merge(False))
        merges += [f"if j == 0:\n        for i in range({self.n_aux}):\n            aux[i] = w[{self.aux_at} + i]"]
        parts.append(self._kernel("launch_outputs", f"{common}, slabs", ["j = cuda.grid(1)", *merges]))
        calls.append(f"launch_outputs[grid({self._largest()})]({common}, slabs)")
        sizes = [f"{n} = int(v[{i}])" for i, n in enumerate(self.memory.header) if n.startswith("n_")]
        host = "\n".join("    " + x for x in [*sizes, *calls])
        parts.append(f'def launch({given}):\n    """Run the program on device arrays."""\n{host}')
        return [*parts, *self.single()] if one else parts

    def single(self) -> list[str]:
        """Launching the unrolled form."""
        given, inner = ", ".join([*self._driver_arguments(), "slabs"]), ", ".join(self._driver_arguments())
        return [
            f"@cuda.jit\ndef one_kernel({inner}):\n    one({inner})",
            f'def launch_one({given}):\n    """Run the unrolled program."""\n    one_kernel[1, 1]({inner})',
        ]

    def _largest(self) -> str:
        sizes = [value.extent().constant or 1 for s in self.stages for value in s.accumulators]
        return str(max([*sizes, 1]))

    def _sums(self, lines: Sequence[str]) -> list[str]:
        """The serial sums of the CPU driver, one entry per thread."""
        out = []
        for line in lines:
            call = line.replace(f", {ALONE})", ", slabs, j)")
            out.append(call if call != line else line.replace(f", {SLABS})", ", slabs, j)"))
        return out

    def _kernel(self, name: str, arguments: str, body: Sequence[str]) -> str:
        lines = [*self._definitions(body, "0", "0"), *body]
        return "\n".join([f"@cuda.jit\ndef {name}({arguments}):", *("    " + x for x in lines)])
