"""Functions that sweeps build runs by; worker processes import them from here."""

from __future__ import annotations

import functools
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np

import ppl
from ppl.training.optim import SGD

X = np.random.default_rng(0).normal(size=(12, 2))


@ppl.model
def mean(x):
    """The mean of rows, by least squares: no noise, so that NumPy follows it."""
    with ppl.plate("data", x) as x:
        ppl.cost("square", np.sum((ppl.param("mu", np.zeros(2)) - x) ** 2))


@functools.cache
def program() -> ppl.Program:
    return ppl.compile(mean, dtype="float64", data=X)


def descend(lr: float, seed: int, steps: int = 6) -> Any:
    """Minibatches of 5 rows of `mean`."""
    return functools.partial(ppl.fit, program(), X, steps=steps, batch_size=5, optimizer=SGD(lr), validation=X[:4])


def log(folder: str, text: str) -> None:
    """Note that something was called."""
    with open(Path(folder) / "log", "a", encoding="utf-8") as file:
        file.write(f"{text}\n")


def logged(folder: str) -> list[str]:
    path = Path(folder) / "log"
    return path.read_text(encoding="utf-8").split() if path.exists() else []


def table(a: int, b: str, folder: str) -> dict[str, Any]:
    """No training: results at once, or an error."""
    log(folder, f"{a}{b}")
    if b == "bad" and not (Path(folder) / "mended").exists():
        raise ValueError(f"no {a} – ü")
    return {"double": 2 * a, "text": b + "é", "nothing": None, "third": a / 3}


def killed_once(seed: int, folder: str) -> Any:
    """A fit; that of seed 1 is killed after 4 steps the first time it is tried."""

    def callback(step: int, state: ppl.State, metrics: dict[str, float]) -> None:
        mark = Path(folder) / "mark"
        if seed == 1 and step == 4 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    log(folder, str(seed))
    return functools.partial(descend(0.1, seed), callback=callback)


def threads(seed: int) -> dict[str, Any]:
    """How many threads a worker may use."""
    from ppl.kernels.cpu.threads.thread_count import num_threads

    return {"threads": num_threads(), "pid": os.getpid()}


def slow(seed: int, folder: str) -> dict[str, Any]:
    """No training, but half a second."""
    log(folder, str(seed))
    time.sleep(0.5)
    return {"seed2": 2 * seed}
