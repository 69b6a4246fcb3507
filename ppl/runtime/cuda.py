"""Executables on CUDA devices: workspaces that stay there, and launches.

Imported for programs with a CUDA target only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ppl.checked import CHECKED
from ppl.compiler.emit.steps import FAILED
from ppl.errors import DataError
from ppl.lazy import cuda_launch, cuda_presence
from ppl.runtime import buffers
from ppl.runtime.executable import EmittedProgram, Executable, PlateRows
from ppl.runtime.failures import device_failure_error


class DeviceWorkspace:
    """The vectors `w` and `v` of a call on the device, and `header`, the beginning of `v`, on the host."""

    def __init__(self, program: EmittedProgram, sizes: Mapping[str, int], slabs: int):
        self.program = program
        full = program.layout_sizes(sizes, slabs)
        if CHECKED:
            self.w, self.v = map(cuda_launch.moved, program._buffers(dict(sizes), slabs, slabs))
        else:
            kinds = {"w": program.float, "v": np.int64}
            self.w, self.v = (self._filled(array, dtype, full, slabs) for array, dtype in kinds.items())
        self.header = np.array([full[name] for name in program.memory.header], np.int64)
        self.write_scales([PlateRows(1.0, full[f"total_{plate}"], 0) for plate in program.plates])

    def _filled(self, array: str, dtype: Any, full: Mapping[str, int], slabs: int) -> Any:
        """A vector with its constants."""
        memory = self.program.memory
        size = self.program.extent(array, full, slabs, slabs)
        out = cuda_launch.empty(size, dtype)
        start, data = memory.symbols[f"c_{array}"].evaluate(full), memory.consts[array]
        cuda_launch.write(out[start : start + data.size], data.astype(dtype))
        return out

    def write_scales(self, plates: Sequence[PlateRows]) -> None:
        """Write the factors N/B and the numbers of rows of data sets."""
        for name, place in zip(self.program.plates, plates, strict=True):
            self.header[self.program.places[f"total_{name}"]] = place.total
        cuda_launch.write(self.v[: self.header.size], self.header)
        scales = np.array([place.scale for place in plates], self.program.float)
        cuda_launch.write(self.w[: scales.size], scales)

    def read_header_entry(self, name: str) -> int:
        """What stands in the header on the device."""
        at = self.program.places[name]
        return int(cuda_launch.fetched(self.v[at : at + 1])[0])

    def scalars(self, count: int) -> np.ndarray:
        """What the program has computed."""
        at = len(self.program.plates)
        found: np.ndarray = cuda_launch.fetched(self.w[at : at + count])
        return found


class CudaExecutable(Executable):
    """A compiled request on a CUDA device. Its workspaces stay there; a call moves its arguments and its results."""

    may_be_plain = False

    def launcher(self, sizes: Mapping[str, int]) -> Any:
        """The emitted function that launches the program for a call of these sizes."""
        straight = self.unrolled and all(n == 1 for n in sizes.values())
        return self.module.launch_one if straight else self.module.launch

    def workspace_for(self, sizes: Mapping[str, int], slabs: int) -> DeviceWorkspace:
        """The workspace of calls of these sizes."""
        known = self._local.__dict__.setdefault("workspaces", {})
        key = (slabs, *sizes.values())
        if key not in known:
            if len(known) >= 4:
                known.clear()
            known[key] = DeviceWorkspace(self, sizes, slabs)
        return known[key]

    def require(self) -> None:
        """Raise a DataError unless the device is there."""
        if missing := cuda_presence.missing():
            raise DataError(missing)
        if CHECKED and not cuda_launch.simulated():
            raise DataError(cuda_launch.NO_CHECKS)
        if self.target.device >= cuda_launch.count():
            raise DataError(f"there is no device {self.target.device}: Numba finds {cuda_launch.count()}")

    def _run_window(
        self, first: int, sizes: dict[str, int], given: tuple[Any, ...], threads: int | None
    ) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        """Run the program once; returns the scalars and the arrays."""
        self.require()
        with cuda_launch.on(self.target.device):
            return self._launch_and_fetch(sizes, *given)

    def _launch_and_fetch(self, sizes: dict[str, int], params: np.ndarray, grad: np.ndarray, aux: np.ndarray,
                  hyper: np.ndarray, seed: np.uint64, step: int, plates: list[Any], data: list[np.ndarray]
                  ) -> tuple[dict[str, float], dict[str, np.ndarray]]:  # fmt: skip
        slabs = self._slabs(sizes)
        work = self.workspace_for(sizes, slabs)
        work.write_scales(plates)
        out = self._empty_vector("out", self._out_size(sizes)) if self.request.arrays else self._no_floats
        stays = not isinstance(grad, np.ndarray)  # it is memory of the device
        written = [grad if stays else cuda_launch.empty(grad.size, grad.dtype), cuda_launch.empty(out.size, out.dtype)]
        moved = cuda_launch.moved
        there = moved(aux)
        clock = moved(np.array([seed, step], np.uint64))
        places = [place.rows for place in plates]
        listed = [isinstance(rows, np.ndarray) for rows in places]
        firsts = [0 if many else int(rows) for rows, many in zip(places, listed, strict=True)]
        ids = [moved(np.ascontiguousarray(rows, np.int64)) if many else moved(self._no_ints)
               for rows, many in zip(places, listed, strict=True)]  # fmt: skip
        rest = [work.w, work.v, *map(moved, data), slabs, work.header]
        arguments = [moved(params), *written, there, moved(hyper), clock, *firsts, *ids, *rest]
        try:
            self.launcher(sizes)(cuda_launch.start, *arguments)
        except Exception as error:
            self.refuse(error)
        if self.has_failure_flag and work.read_header_entry(FAILED):
            raise device_failure_error(self.stages)
        results = list(zip((grad, out, aux), (*written, there), strict=True))
        for host, device in results[int(stays) :]:
            cuda_launch.fetched(device, host)
        if CHECKED:
            buffers.check_guards(self.memory, cuda_launch.fetched(work.w), cuda_launch.fetched(work.v), (slabs, slabs))
        scalars = dict(zip(self._names, work.scalars(len(self._names)).tolist(), strict=True))
        return scalars, self._split_outputs(out, sizes)
