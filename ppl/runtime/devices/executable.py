"""A compiled request on a CUDA device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ppl.checked import CHECKED
from ppl.compiler.emit.externals import FAILED
from ppl.errors import DataError
from ppl.lazy import cuda_launch, cuda_presence
from ppl.runtime import guards
from ppl.runtime.devices.workspace import Workspace
from ppl.runtime.executable import Executable
from ppl.runtime.failures import failed


class CudaExecutable(Executable):
    """A compiled request on a CUDA device. Its workspaces stay there; a call moves its arguments and its results."""

    def launcher(self, sizes: Mapping[str, int]) -> Any:
        """The emitted function that launches the program for a call of these sizes."""
        straight = self.unrolled and all(n == 1 for n in sizes.values())
        return self.module.launch_one if straight else self.module.launch

    def workspace_for(self, sizes: Mapping[str, int], slabs: int) -> Workspace:
        """The workspace of calls of these sizes."""
        known = self._local.__dict__.setdefault("workspaces", {})
        key = (slabs, *sizes.values())
        if key not in known:
            if len(known) >= 4:
                known.clear()
            known[key] = Workspace(self, sizes, slabs)
        return known[key]

    def require(self) -> None:
        """Raise a DataError unless the device is there."""
        if missing := cuda_presence.missing():
            raise DataError(missing)
        if CHECKED and not cuda_launch.simulated():
            raise DataError(cuda_launch.NO_CHECKS)
        if self.target.device >= cuda_launch.count():
            raise DataError(f"there is no device {self.target.device}: Numba finds {cuda_launch.count()}")

    def _once(
        self, first: int, sizes: dict[str, int], given: tuple[Any, ...], threads: int | None
    ) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        """Run the program once; returns the scalars and the arrays."""
        self.require()
        with cuda_launch.on(self.target.device):
            return self._launched(sizes, *given)

    def _launched(self, sizes: dict[str, int], params: np.ndarray, grad: np.ndarray, aux: np.ndarray,
                  hyper: np.ndarray, seed: np.uint64, step: int, plates: list[Any], data: list[np.ndarray]
                  ) -> tuple[dict[str, float], dict[str, np.ndarray]]:  # fmt: skip
        slabs = self._slabs(sizes)
        work = self.workspace_for(sizes, slabs)
        work.tell(plates)
        out = self._empty_vector("out", self._out_size(sizes)) if self.request.arrays else self._none
        stays = not isinstance(grad, np.ndarray)  # it is memory of the device
        written = [grad if stays else cuda_launch.empty(grad.size, grad.dtype), cuda_launch.empty(out.size, out.dtype)]
        moved = cuda_launch.moved
        there = moved(aux)
        clock = moved(np.array([seed, step], np.uint64))
        places = [place.rows for place in plates]
        listed = [isinstance(rows, np.ndarray) for rows in places]
        firsts = [0 if many else int(rows) for rows, many in zip(places, listed, strict=True)]
        ids = [moved(np.ascontiguousarray(rows, np.int64)) if many else moved(self._empty)
               for rows, many in zip(places, listed, strict=True)]  # fmt: skip
        rest = [work.w, work.v, *map(moved, data), slabs, work.header]
        arguments = [moved(params), *written, there, moved(hyper), clock, *firsts, *ids, *rest]
        try:
            self.launcher(sizes)(cuda_launch.start, *arguments)
        except Exception as error:
            self.refuse(error)
        if self.tells and work.told(FAILED):
            raise failed(self.stages)
        results = list(zip((grad, out, aux), (*written, there), strict=True))
        for host, device in results[int(stays) :]:
            cuda_launch.fetched(device, host)
        if CHECKED:
            guards.verify(self.memory, cuda_launch.fetched(work.w), cuda_launch.fetched(work.v), (slabs, slabs))
        scalars = dict(zip(self._names, work.scalars(len(self._names)).tolist(), strict=True))
        return scalars, self._found(out, sizes)
