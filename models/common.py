"""What the mains share: options, compiling and fitting under them, figures and metrics, resuming."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import ppl
from ppl import estimators
from ppl.errors import PplError
from ppl.lazy import cuda_presence
from ppl.models import pictures

Arguments = Sequence[str] | None

HELP = {
    "seed": "seed of parameters, batches and noise",
    "epochs": "passes over the training rows",
    "batch_size": "rows per step",
    "lr": "learning rate",
    "particles": "samples of every random node per row",
}


class Job:
    """One run of a model's main: its options, its folder, and what it found.

    Every main takes `--seed`, `--epochs`, `--batch-size`, `--lr`, `--estimator`, `--target`, `--out` and `--resume`;
    more options follow from `defaults` by their types (a tuple of strings is a choice, a bool a flag), None leaves one
    out. Where there are `steps` in place of epochs, `--epochs` is another name of `--steps`.
    """

    def __init__(self, name: str, doc: str | None, argv: Arguments, **defaults: Any):
        self.name, self.began = name, time.perf_counter()
        parser = _parser(name, doc, defaults)
        self.options = parser.parse_args(argv)
        for key in ("epochs", "steps", "batch_size", "particles"):
            if vars(self.options).get(key, 1) < 1:
                parser.error(f"--{key.replace('_', '-')} must be at least 1, not {vars(self.options)[key]}")
        if not 0 <= vars(self.options).get("lr", 0.0) < float("inf"):
            parser.error(f"--lr must be a finite number of at least 0, not {self.options.lr}")
        if self.options.target == "cuda" and (missing := cuda_presence.missing()):
            parser.error(missing)
        self.folder: Path = self.options.out
        self.metrics: dict[str, float] = {}

    def compile(self, objective: Any, data: Any = None, **settings: Any) -> Any:
        """The program under the options `--estimator`, `--particles` and `--target`; prints its plan."""
        chosen = {"target": self.options.target, **settings}
        if "estimators" not in chosen:
            chosen["estimators"] = estimator(vars(self.options).get("estimator", "auto"))
        if "particles" in self.options:
            chosen.setdefault("particles", self.options.particles)
        program = ppl.compile(objective, data=data, **chosen)
        print(program.explain())
        return program

    def fit(self, program: Any, *data: Any, optimizer: Any = None, label: str = "", **settings: Any) -> Any:
        """`ppl.fit` under the options, with a checkpoint `NAME[-label].npz` that `--resume` continues."""
        self.folder.mkdir(parents=True, exist_ok=True)
        checkpoint = self.folder / f"{self.name}{'-' * bool(label)}{label}.npz"
        if not self.options.resume:
            checkpoint.unlink(missing_ok=True)
        if not {"epochs", "steps"} & set(settings):
            settings["epochs"] = self.options.epochs
        if data and "batches" not in settings:
            settings.setdefault("batch_size", vars(self.options).get("batch_size"))
        optimizer = ppl.optim.Adam(self.options.lr) if optimizer is None else optimizer
        settings.setdefault("seed", self.options.seed)
        return ppl.fit(program, *data, optimizer=optimizer, checkpoint=checkpoint, **settings)

    def keep(self, label: str, **arrays: np.ndarray) -> None:
        """Write what a part of the run gave, for `kept` under `--resume`: for parts that `fit` has no checkpoint of."""
        self.folder.mkdir(parents=True, exist_ok=True)
        stored: dict[str, Any] = {"options": np.array(self._lasting()), **arrays}
        np.savez(self.folder / f"{self.name}-{label}.npz", **stored)

    def kept(self, label: str) -> dict[str, np.ndarray]:
        """What a run under the same options, but for steps and epochs, kept under `label`; {} without `--resume`."""
        path = self.folder / f"{self.name}-{label}.npz"
        if not (self.options.resume and path.exists()):
            return {}
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        return arrays if str(arrays.pop("options")) == self._lasting() else {}

    def _lasting(self) -> str:
        """The options that a part of the run depends on."""
        passing = ("steps", "epochs", "out", "resume", "target", "estimator")
        return json.dumps({k: v for k, v in vars(self.options).items() if k not in passing})

    def report(self, label: str, value: float, error: float | None = None, unit: str = "") -> None:
        """Print a figure and keep it for `metrics.json`."""
        self.metrics[label] = float(value)
        spread = "" if error is None else f" ± {error:.2g}"
        if error is not None:
            self.metrics[f"{label} (standard error)"] = float(error)
        shown = f"{value:.2e}" if 0 < abs(value) < 1e-3 else f"{value:.4f}"
        print(f"{label}: {shown}{spread}{' ' * bool(unit)}{unit}")

    def picture(self, figure: Any) -> Path:
        """Write the picture and say where it lies."""
        return pictures.save(figure, self.folder, self.name)

    def finish(self) -> int:
        """Write `metrics.json`: the figures, options, seconds and version. Returns the exit status 0."""
        self.folder.mkdir(parents=True, exist_ok=True)
        options = {k: str(v) if isinstance(v, Path) else v for k, v in vars(self.options).items()}
        seconds = round(time.perf_counter() - self.began, 2)
        record = {"model": self.name, "metrics": self.metrics, "options": options, "seconds": seconds}
        record["version"] = ppl.__version__
        path = self.folder / f"{self.name}.metrics.json"
        path.write_text(json.dumps(record, indent=2) + "\n")
        print(f"metrics: {path} ({seconds:.0f} s)")
        return 0


def _parser(name: str, doc: str | None, defaults: dict[str, Any]) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog=f"ppl run {name}", description=(doc or "").partition("\n")[0])
    options = {"seed": 0, "epochs": 100, "batch_size": 100, "lr": 1e-3, **defaults}
    for key, value in options.items():
        flag, text = f"--{key.replace('_', '-')}", HELP.get(key)
        if value is None:
            continue
        if isinstance(value, bool):
            made.add_argument(flag, action="store_true", default=value, help=text)
        elif key == "steps" and options["epochs"] is None:
            made.add_argument(flag, "--epochs", type=int, default=value, help=f"steps (default {value})")
        elif isinstance(value, tuple):
            made.add_argument(flag, choices=value, default=value[0], help=text)
        else:
            made.add_argument(flag, type=type(value), default=value, help=f"{text or key} (default {value})")
    if "estimator" not in options:
        made.add_argument("--estimator", default="auto", help="auto, Rebar, ScoreFunction:leave_one_out, …")
    made.add_argument("--target", choices=("cpu", "cuda"), default="cpu", help="where the kernels run")
    made.add_argument("--out", type=Path, default=Path("outputs"), help="folder for picture, metrics and checkpoint")
    made.add_argument("--resume", action="store_true", help="continue the checkpoint in the folder")
    return made


def estimator(name: str) -> Any:
    """An estimator by class name, optionally with an option ("ScoreFunction:leave_one_out"), or "auto"."""
    head, _, option = name.partition(":")
    if head == "auto":
        return "auto"
    if head not in estimators.REGISTRY:
        raise PplError(f"unknown estimator {head!r}; there are auto, {', '.join(estimators.REGISTRY)}")
    made: Callable[..., Any] = estimators.REGISTRY[head]
    return made(option) if option else made()


def per_row(program: Any, state: Any, *rows: np.ndarray, particles: int = 20) -> tuple[float, float]:
    """Mean loss per row with `particles` samples, and its standard error over rows."""
    losses = np.asarray(program.value(state, *rows, per_row=True, particles=particles, seed=1), np.float64)
    return float(losses.mean()), float(losses.std() / np.sqrt(len(losses)))


def share(program: Any, params: dict[str, np.ndarray]) -> Any:
    """A state of `program` with those of the trained `params` (constrained, by name) that it declares."""
    return program.init(0, params={k: v for k, v in params.items() if k in program.init(0).params})


def prior_samples(model: Any, params: dict[str, np.ndarray], site: str, count: int, columns: int, seed: int) -> Any:
    """`count` draws of `site` with all latents of `model` drawn from the prior; its data have `columns` columns."""
    program = ppl.compile(ppl.likelihood(model), data=ppl.spec((None, columns)))
    blank = np.zeros((count, columns), np.float32)
    return program.sample(share(program, params), blank, sites=[site], seed=seed)[site]
