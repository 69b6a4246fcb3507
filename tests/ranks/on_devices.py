"""``NUMBA_ENABLE_CUDASIM=1 python -m tests.ranks.on_devices``: sums on devices, by an MPI that reads their memory.

Threads stand for ranks, and Numba's simulator for devices. What is compared with is the same training whose gradients
are added up on the host."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

import ppl
from ppl.errors import FitError
from ppl.ranks.device_sums import CUDA_AWARE_VARIABLE
from tests.ranks.fake import Done, FakeComm, checked, on_ranks
from tests.ranks.models import belief_net, global_and_local, pixels
from tests.ranks.worker import on_target

seen: list[str] = []


class DeviceComm(FakeComm):
    """A communicator that takes memory of devices as well."""

    def Dup(self) -> DeviceComm:
        known = super().Dup()
        return DeviceComm(known.board, known.rank)

    def Ialltoallv(self, send: Any, receive: Any) -> Done:
        return self._through("Ialltoallv", super().Ialltoallv, send, receive)

    def Iallgatherv(self, send: Any, receive: Any) -> Done:
        return self._through("Iallgatherv", super().Iallgatherv, send, receive)

    def _through(self, name: str, act: Any, send: Any, receive: Any) -> Done:
        given, (out, places) = (send[0] if isinstance(send, list) else send), receive
        assert not isinstance(given, np.ndarray) and not isinstance(out, np.ndarray), "it is on the host"
        seen.append(name)
        host, found = given.copy_to_host(), np.empty(out.size, out.dtype)
        done = act([host, send[1]] if isinstance(send, list) else host, [found, places])
        out.copy_to_device(found)
        return done


def part(x: np.ndarray, comm: FakeComm) -> np.ndarray:
    """This rank's rows: rank 1 of three has none."""
    ends = {2: (0, 9, 23), 3: (0, 9, 9, 23)}[comm.Get_size()]
    return x[ends[comm.Get_rank()] : ends[comm.Get_rank() + 1]]


def trained(kind: type[FakeComm], size: int, aware: str, x: np.ndarray, model: Any = None) -> list[Any]:
    """What ranks that train a belief net, or another model, come to, or their errors."""
    os.environ[CUDA_AWARE_VARIABLE] = aware
    program = on_target(model or belief_net("rebar"), "cuda")
    options: dict[str, Any] = {"steps": 3, "batch_size": 10, "optimizer": ppl.optim.Adam(0.05), "seed": 3}
    return on_ranks(size, lambda c: ppl.fit(program.on(kind(c.board, c.rank)), part(x, c), **options))


def main() -> None:
    """See the module."""
    x = pixels()
    for size in (2, 3):
        wanted = checked(trained(FakeComm, size, "0", x))[0]
        assert not seen
        for fit in checked(trained(DeviceComm, size, "1", x)):
            np.testing.assert_allclose(fit.state._flat, wanted.state._flat, rtol=1e-12, atol=1e-14)
            np.testing.assert_allclose(fit.state._aux, wanted.state._aux, rtol=1e-12, atol=1e-14)
            np.testing.assert_allclose(fit.history["loss"], wanted.history["loss"], rtol=1e-12)
        assert seen.count("Ialltoallv") == seen.count("Iallgatherv") == 3 * size
        seen.clear()
    x[12, 0] = 1e200
    errors = trained(DeviceComm, 2, "1", x, global_and_local())
    assert all(isinstance(e, FitError) and "on rank 1" in str(e) for e in errors), errors
    print("equal", flush=True)


if __name__ == "__main__":
    main()
