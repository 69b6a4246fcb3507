"""The loop of `ppl.fit` on ranks with a device each, whose MPI reads the memory of devices."""

from __future__ import annotations

from typing import Any

import numpy as np

from ppl.lazy import cuda_launch
from ppl.runtime.ranks.comm import Ranks
from ppl.runtime.ranks.device import DeviceSums, cuda_aware
from ppl.runtime.ranks.shared import Shared, Totals
from ppl.runtime.state import State
from ppl.training.batches import Batch
from ppl.training.ranks.heads import Part
from ppl.training.ranks.run import RankRun


class DeviceRun(RankRun):
    """A `RankRun` whose gradients stay on the devices until they have been added up."""

    def __init__(self, ranks: Ranks, shared: Shared, *rest: Any):
        executable = shared.executable
        self.sums = DeviceSums(ranks, executable.target.device, executable.n_params, executable.float)
        self.gradient = self.sums.vector
        super().__init__(ranks, shared, *rest)

    def _reduced(self, batch: Batch, part: Part, heads: np.ndarray) -> tuple[Any, ...]:
        """See `RankRun`."""
        rows, weights, scalars = self._weighed(heads)
        found = self.sums.total(weights)
        more = self.shared.entries - found.size
        if not more:
            return found, scalars, rows
        own = np.zeros(more, found.dtype)
        if part.result is not None:
            own = self.shared.rest(part.result, weights[self.ranks.rank])
        return np.concatenate([found, self.ranks.total(own, weights)]), scalars, rows

    def _examine_part(self, part: Part, loss: float, found: Totals, new: State) -> None:
        """See `RankRun`."""
        if part.result is not None:
            part = part._replace(result=part.result._replace(grad=cuda_launch.fetched(self.sums.vector)))
        super()._examine_part(part, loss, found, new)


def reduces_on_devices(ranks: Ranks, shared: Shared) -> bool:
    """Whether gradients are computed on devices whose memory MPI reads, on all ranks. Collective."""
    own = shared.executable.target.printer == "cuda" and bool(shared.executable.request.grads)
    if not own:
        return False
    aware = ranks.together(cuda_aware)
    return bool(ranks.exchange(np.array([aware], float)).all())
