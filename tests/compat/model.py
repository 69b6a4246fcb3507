"""The model of the files beside it, its data, and how the files were made: `python -m tests.compat.model FOLDER`."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import numpy as np

import ppl
from ppl import Bernoulli, Normal
from ppl.estimators import Combine, Pathwise, Rebar, ScoreFunction

STEPS, MORE = 12, 20


def rows() -> np.ndarray:
    """Twelve numbers."""
    return np.linspace(-1.0, 2.0, 12).astype(np.float32)


@ppl.model
def model(x):
    """A binary and a continuous node a row."""
    with ppl.plate("data", x) as x:
        b = ppl.sample("b", Bernoulli(logits=ppl.param("logit", 0.2)))
        z = ppl.sample("z", Normal(ppl.param("m", 0.1) + b, ppl.param("s", 1.0, constraint="positive")))
        ppl.cost("loss", (z - x) ** 2)


def compiled() -> ppl.Program:
    """The program."""
    return ppl.compile(model, data=(rows(),), estimators={"b": ScoreFunction("moving_average")})


def trained(program: ppl.Program, checkpoint: Path, steps: int) -> ppl.Fit:
    """The program after so many steps in all, with a checkpoint."""
    adam = ppl.optim.Adam(ppl.optim.cosine(0.05, 0.0, 40))
    return ppl.fit(program, rows(), optimizer=adam, steps=steps, seed=3, progress=False, checkpoint=checkpoint)


def figures(program: ppl.Program, state: ppl.State) -> dict[str, np.ndarray]:
    """Loss, gradient and parameters of a state."""
    loss, grads = program.value_and_grad(state, rows(), seed=5)
    found = {"loss": np.float64(loss), **{f"grad {k}": v for k, v in grads.items()}}
    return {**found, **{f"param {k}": np.asarray(v) for k, v in state.params.items()}}


def write(folder: Path) -> None:
    """Write a state, a checkpoint, pickles, and the figures that belong to them."""
    program = compiled()
    fit = trained(program, folder / "checkpoint.npz", STEPS)
    fit.state.save(folder / "state.npz")
    things = {
        "program": program,
        "fit": fit,
        "estimators": [ScoreFunction("learned"), Rebar(), Combine(Pathwise(), ScoreFunction())],
    }
    for name, thing in things.items():
        (folder / f"{name}.pickle").write_bytes(pickle.dumps(thing))
    np.savez(folder / "expected.npz", **figures(program, fit.state))
    again = folder / "again.npz"
    again.write_bytes((folder / "checkpoint.npz").read_bytes())
    np.savez(folder / "continued.npz", **figures(program, trained(program, again, MORE).state))
    again.unlink()


if __name__ == "__main__":
    write(Path(sys.argv[1]))
