"""What the two Boltzmann machines share: log-likelihood curves, reports of log Z, and samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import ppl
from ppl.models import annealing, common, pictures

SMALL = 20
"""Hidden units up to which log Z is summed exactly."""


def persistent_gap(x: Any, start: Any, update: Callable[[Any], Any], free_energy: Callable[[Any], Any]) -> None:
    """Declare the cost F(data) − mean F(chains), and carry on the chains, which begin at `start` (chains, V)."""
    with ppl.plate("chain", start) as v:
        v = update(v)
        fantasy = free_energy(v)
    ppl.carry("chains", ppl.collect(v, "chain"))
    mean = np.mean(ppl.collect(fantasy, "chain"))
    with ppl.plate("data", x) as x:
        ppl.cost("gap", free_energy(x) - mean)


class Machine(NamedTuple):
    """F(v, *parameters) and log Z(*parameters), with the parameters in the order in which they are declared."""

    free_energy: Callable[..., np.ndarray]
    log_partition: Callable[..., float]


class Curve:
    """A callback of `ppl.fit`: the exact mean log-likelihood of every set of `rows`, every `every` steps."""

    def __init__(self, machine: Machine, program: Any, every: int, **rows: np.ndarray):
        self.machine, self.program, self.every, self.rows = machine, program, every, rows
        self.steps: list[int] = []
        self.found: dict[str, list[float]] = {name: [] for name in rows}

    def __call__(self, step: int, state: Any, metrics: Any) -> None:
        """Evaluate where `step` is due and the hidden units are few."""
        theta = [np.asarray(v, np.float64) for v in self.program.params(state).values()]
        if step % self.every == 0 and len(theta[2]) <= SMALL:
            log_z = self.machine.log_partition(*theta)
            self.steps.append(step)
            for name, part in self.rows.items():
                self.found[name].append(float(-np.mean(self.machine.free_energy(part, *theta)) - log_z))

    def show(self, ax: Any, history: Any) -> None:
        """Paint the curves; where log Z was out of reach, the cost at every step."""
        if not self.steps:
            return pictures.show_training(ax, history, "F(data) − F(chains)")
        for name, values in self.found.items():
            ax.plot(self.steps, values, label=name.replace("_", "-"), marker=".")
        ax.set(xlabel="update", ylabel="log-likelihood (nats per row)", title="exact log-likelihood")
        ax.legend()
        return None


def evaluate(
    job: common.Job, machine: Machine, theta: dict[str, np.ndarray], path: annealing.Path, **rows: np.ndarray
) -> None:
    """Report log Z, annealed and exact where it can be summed, and the mean log-likelihood of every set of `rows`."""
    theta = {k: np.asarray(v, np.float64) for k, v in theta.items()}
    found = annealing.log_partition(path, job.options.temperatures, job.options.annealed, job.options.seed)
    job.report("log Z, annealed importance sampling", found.log_z, found.error, "nats")
    log_z = found.log_z
    if len(theta["hidden"]) <= SMALL:
        log_z = machine.log_partition(*theta.values())
        job.report("log Z, exact", log_z, unit="nats")
    for name, part in rows.items():
        label = name.replace("_", "-")
        each = -machine.free_energy(part.astype(np.float64), *theta.values()) - log_z
        job.report(f"log-likelihood of {label} rows", each.mean(), each.std() / np.sqrt(len(each)), "nats per row")


def draw(path: annealing.Path, count: int, seed: int, steps: int = 2000) -> np.ndarray:
    """`count` samples: chains that are annealed from the base to the machine, then run at β = 1."""
    rng = np.random.default_rng(seed)
    v = path.start(rng, count)
    for beta in np.minimum(np.linspace(0.0, 2.0, steps), 1.0):
        v = path.move(rng, float(beta), v)
    return v
