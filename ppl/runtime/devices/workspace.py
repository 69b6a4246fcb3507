"""A workspace on a device: allocated once for the sizes of a call, and told the little that changes between calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ppl.checked import CHECKED
from ppl.lazy import cuda_launch
from ppl.runtime.emitted import Emitted
from ppl.runtime.executable import Place


class Workspace:
    """The vectors `w` and `v` of a call on the device, and `header`, the beginning of `v`, on the host."""

    def __init__(self, program: Emitted, sizes: Mapping[str, int], slabs: int):
        self.program = program
        full = program.laid_out(sizes, slabs)
        if CHECKED:
            self.w, self.v = map(cuda_launch.moved, program._buffers(dict(sizes), slabs, slabs))
        else:
            kinds = {"w": program.float, "v": np.int64}
            self.w, self.v = (self._filled(array, dtype, full, slabs) for array, dtype in kinds.items())
        self.header = np.array([full[name] for name in program.memory.header], np.int64)
        self.tell([Place(1.0, full[f"total_{plate}"], 0) for plate in program.plates])

    def _filled(self, array: str, dtype: Any, full: Mapping[str, int], slabs: int) -> Any:
        """A vector with its constants."""
        memory = self.program.memory
        size = self.program.extent(array, full, slabs, slabs)
        out = cuda_launch.empty(size, dtype)
        start, data = memory.symbols[f"c_{array}"].evaluate(full), memory.consts[array]
        cuda_launch.write(out[start : start + data.size], data.astype(dtype))
        return out

    def tell(self, plates: Sequence[Place]) -> None:
        """Write the factors N/B and the numbers of rows of data sets."""
        for name, place in zip(self.program.plates, plates, strict=True):
            self.header[self.program.places[f"total_{name}"]] = place.total
        cuda_launch.write(self.v[: self.header.size], self.header)
        scales = np.array([place.scale for place in plates], self.program.float)
        cuda_launch.write(self.w[: scales.size], scales)

    def told(self, name: str) -> int:
        """What stands in the header on the device."""
        at = self.program.places[name]
        return int(cuda_launch.fetched(self.v[at : at + 1])[0])

    def scalars(self, count: int) -> np.ndarray:
        """What the program has computed."""
        at = len(self.program.plates)
        found: np.ndarray = cuda_launch.fetched(self.w[at : at + count])
        return found
