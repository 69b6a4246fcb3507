"""Run under mpiexec: ``worker.py runs OUT NAMES`` trains small models, ``worker.py WHAT PATH`` trains until a fault."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

import ppl
import ppl.errors
from ppl.ranks import training_shared_memory
from ppl.ranks.training_shared_memory import SharedMemoryTrainer
from tests.helpers.tiny import tiny
from tests.ranks.models import belief_net, global_and_local, over_time, pairs, pixels, skip_gram, vae, without_rows

RUNS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "belief net": (lambda: belief_net("rebar"), pixels, {"batch_size": 10, "optimizer": ppl.optim.Adam(0.05)}),
    "vae": (vae, pixels, {"batch_size": 8, "optimizer": {"*": ppl.optim.Adam(0.02, clip_norm=5.0)}}),
    "tables": (skip_gram, pairs, {"batch_size": 12, "optimizer": ppl.optim.LazyAdam(0.05)}),
    "no rows": (without_rows, None, {"optimizer": ppl.optim.SGD(0.1)}),
    "loop": (over_time, pixels, {"batch_size": 10, "optimizer": ppl.optim.RMSProp(0.01)}),
    "whole": (vae, pixels, {"optimizer": ppl.optim.AdamW(0.02)}),
}

REPLICATED = bool(os.environ.get("PPL_RANKS_REPLICATED"))
"""Whether all ranks are given all rows, and slabs are tiny."""


def results(names: list[str], comm: Any = None) -> dict[str, np.ndarray]:
    """Parameters, auxiliary variables and losses of every run; rows are cut unequally, and rank 1 of three has none."""
    found = {}
    for name in names:
        build, rows, options = RUNS[name]
        data = () if rows is None else (part(rows(), comm),)
        fit = ppl.fit(
            on_ranks(on_target(build(), os.environ.get("PPL_RANKS_TARGET", "cpu")), comm),
            *data,
            steps=6,
            seed=3,
            **options,
        )
        found |= {f"{name} flat": fit.state._flat, f"{name} aux": fit.state._aux, f"{name} loss": fit.history["loss"]}
    return found


def on_target(program: Any, target: str) -> Any:
    """The program for another target."""
    asked = program.settings
    return ppl.compile(program.objective, target=target, dtype=asked.dtype, estimators=asked.estimators,
                       particles=asked.particles) if target != "cpu" else program  # fmt: skip


def part(x: np.ndarray, comm: Any) -> np.ndarray:
    """This rank's rows."""
    if comm is None or REPLICATED:
        return x
    ends = {1: (0, 1.0), 2: (0, 0.4, 1.0), 3: (0, 0.4, 0.4, 1.0), 4: (0, 0.1, 0.5, 0.6, 1.0)}[comm.size]
    return x[int(len(x) * ends[comm.rank]) : int(len(x) * ends[comm.rank + 1])]


def on_ranks(program: Any, comm: Any) -> Any:
    """The program on the processes of a communicator, if there is one."""
    return program if comm is None else program.on(comm, REPLICATED or None)


def looks(folder: Path, comm: Any = None) -> dict[str, np.ndarray]:
    """What a callback is shown, also later on, and what validation finds; a run that is taken up from a checkpoint."""
    program, x, seen = on_ranks(belief_net("rebar"), comm), part(pixels(), comm), []
    folder.mkdir(exist_ok=True)

    def look(step: int, state: Any, metrics: Any) -> None:
        seen.append((state, metrics["loss"]))

    def rate(step: int) -> float:
        return 1e19 if step == 3 else 0.05 / (1 + step)  # the general path takes the fourth step

    look.every = 2  # type: ignore[attr-defined]
    options: dict[str, Any] = {"batch_size": 10, "seed": 3, "callback": look, "validation": pixels()[:5]}
    found = {}
    for name, optimizer in {"adam": ppl.optim.Adam(0.05), "rate": ppl.optim.AdaGrad(rate)}.items():
        seen.clear()
        fit = ppl.fit(program, x, steps=9, optimizer=optimizer, **options)
        found[f"{name} losses"] = np.array([loss for _, loss in seen])
        found[f"{name} shown"] = np.array([np.append(s._flat, s.step) for s, _ in seen])
        found[f"{name} flat"], found[f"{name} checks"] = fit.state._flat, fit.history["validation"]
    for steps in (4, 9):
        saved = ppl.fit(program, x, steps=steps, optimizer=ppl.optim.Adam(0.05), checkpoint=str(folder / "c.npz"),
                        **options)  # fmt: skip
    found["taken up"] = np.concatenate([saved.state._flat, saved.history["loss"]])
    if comm is None or comm.rank == 0:
        np.testing.assert_allclose(found["taken up"][: fit.state._flat.size], found["adam flat"], rtol=1e-9)
    return found


def refusals(comm: Any) -> None:
    """What only one rank does, or does otherwise, ends all; the next fit works."""
    x, program, rank = pixels(), belief_net("auto"), comm.rank
    sgd, adam = ppl.optim.SGD, ppl.optim.Adam
    cases: dict[str, tuple[Any, str, str]] = {
        "fails": (sgd(lambda t: 0.01 / (rank != 1 or t < 3)), "RankError", "FitError"),
        "is nan": (sgd(lambda t: 0.01 if rank != 1 else np.nan), "RankError", "FitError"),
        "rates": (sgd(0.01 * (1 + rank)), "RankError", "RankError"),
        "schedules": (sgd(lambda t: 0.01 * (1 + rank * (t == 2))), "RankError", "RankError"),
        "kinds": (sgd(0.01) if rank else adam(0.01), "OptionError", "OptionError"),
        "numbers": (adam(0.01, b1=0.9 - 0.1 * rank), "OptionError", "OptionError"),
        "clips": (adam(0.01, clip_norm=1.0) if rank else adam(0.01), "OptionError", "OptionError"),
    }
    for name, (optimizer, first, second) in cases.items():
        seen = "nothing"
        try:
            ppl.fit(program.on(comm, replicated=True), x, steps=9, batch_size=10, optimizer=optimizer)
        except Exception as error:
            seen = type(error).__name__
        assert seen == (second if rank else first), (name, rank, seen)
    try:
        ppl.fit(program.on(comm, replicated=True), x, steps=2, optimizer=adam(0.01), state=program.init(rank, x))
    except ppl.errors.OptionError:
        pass
    else:
        raise AssertionError("ranks began with different states")
    fit = ppl.fit(program.on(comm, replicated=True), x, steps=9, batch_size=10, optimizer=adam(0.01))
    assert fit.state.step == 9
    print("refused", flush=True)


def sums(comm: Any) -> None:
    """Sums of long vectors, beside those of NumPy, which every rank computes of the vectors of all."""
    from ppl.ranks.communicator import Communicator

    with Communicator(comm) as ranks:
        for count, size in enumerate([70_001, 300_000, 1, 20_000, 300_000, 800_003]):
            rng, dtype = np.random.default_rng(size), (np.float32, np.float64)[count % 2]
            vectors = rng.normal(size=(comm.size, size)).astype(dtype)
            weights = np.append(rng.uniform(size=comm.size - 1), 0.0)
            vectors[-1] = np.nan
            if count == 4:
                weights, vectors[-1] = weights[::-1].copy(), 0.0
            wanted = sum(dtype(w) * v for w, v in zip(weights, vectors, strict=True) if w)
            for _ in range(3):
                found = ranks.weighted_sum(vectors[comm.rank], weights)
                np.testing.assert_allclose(found, wanted, rtol=4 * np.finfo(dtype).eps, atol=4 * np.finfo(dtype).eps)
        assert ranks._adder is not None
        print("equal", flush=True)


def until_a_fault(what: str, path: Path, comm: Any) -> None:
    """Train for minutes; rank 1 suffers something after the first checkpoint is there."""
    x, lethal = part(pixels(), comm), {"kill": signal.SIGKILL, "interrupt": signal.SIGINT}.get(what)

    def strike() -> None:
        while not path.exists():
            time.sleep(0.05)
        time.sleep(0.3)
        os.kill(os.getpid(), lethal)

    if comm.rank == 1 and lethal:
        threading.Thread(target=strike, daemon=True).start()
    if what == "nan" and (comm.rank == 1 or REPLICATED):
        x = x.copy()
        x[3, 0] = 1e200

    def slowly(step: int, state: Any, metrics: Any) -> None:
        time.sleep(0.01)

    slowly.every = 50 if REPLICATED else 1  # type: ignore[attr-defined]
    options = {"batch_size": 6, "optimizer": ppl.optim.SGD(0.001), "callback": slowly}
    options["checkpoint"] = (str(path), 5 * slowly.every)  # type: ignore[attr-defined]
    fit = ppl.fit(on_ranks(global_and_local(), comm), x, steps=50_000 * slowly.every, **options)  # type: ignore[attr-defined]
    print(f"rank {comm.rank} stopped at {fit.state.step}", flush=True)


def main() -> None:
    """See the module."""
    from mpi4py import MPI

    comm, (what, path, *names) = MPI.COMM_WORLD, sys.argv[1:]
    if os.environ.get("PPL_RANKS_COMMON"):
        training_shared_memory.GATHERED_BYTES = 0
    with tiny("owned") if REPLICATED else nullcontext():
        act(what, path, names, comm)


def act(what: str, path: str, names: list[str], comm: Any) -> None:
    """What the command line asks for."""
    if what in ("sums", "refusals"):
        {"sums": sums, "refusals": refusals}[what](comm)
        return
    if what == "looks":
        found = looks(Path(path).with_suffix(""), comm)
        if comm.rank == 0:
            np.savez(path, **found)
        return
    if what != "runs":
        until_a_fault(what, Path(path), comm)
        return
    with patch.object(SharedMemoryTrainer, "run", autospec=True, side_effect=SharedMemoryTrainer.run) as joint:
        found = results(names, comm)
    assert bool(joint.called) == REPLICATED, "other loops than expected took the steps"
    marks = comm.allgather(b"".join(found[key].tobytes() for key in sorted(found)))
    assert all(mark == marks[0] for mark in marks), "ranks hold different results"
    if comm.rank == 0:
        np.savez(path, **found)


if __name__ == "__main__":
    main()
