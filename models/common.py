"""What the models share: command-line options, real data, pictures."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ppl import estimators
from ppl.errors import PplError

MISSING = "the model zoo needs scikit-learn and matplotlib: pip install 'numba-ppl[demo]'"


def parser(doc: str | None, **defaults: Any) -> argparse.ArgumentParser:
    """An argument parser with the common options; `defaults` override their default values."""
    made = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    options = {"seed": 0, "epochs": 100, "batch_size": 100, "lr": 1e-3, "out": "outputs", **defaults}
    made.add_argument("--seed", type=int, default=options["seed"], help="seed of parameters, batches and noise")
    made.add_argument("--out", type=Path, default=Path(options["out"]), help="folder for the picture")
    if options["epochs"]:
        made.add_argument("--epochs", type=int, default=options["epochs"], help="passes over the training rows")
        made.add_argument("--batch-size", type=int, default=options["batch_size"], help="rows per step")
    made.add_argument("--lr", type=float, default=options["lr"], help="learning rate")
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


def digits() -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's 8×8 handwritten digits, binarised at > 7: 1500 training and 297 held-out rows of 64 bits."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise PplError(MISSING) from None
    images = (load_digits().data > 7).astype(np.float32)
    return images[:1500], images[-297:]


def diabetes() -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's diabetes data, standardised: 442 rows of 10 features and a target of mean 0 and variance 1."""
    try:
        from sklearn.datasets import load_diabetes
    except ImportError:
        raise PplError(MISSING) from None
    data = load_diabetes()
    x, t = data.data, data.target
    return (x - x.mean(0)) / x.std(0), (t - t.mean()) / t.std()


def pyplot() -> Any:
    """matplotlib's pyplot with a backend that needs no screen."""
    try:
        import matplotlib
    except ImportError:
        raise PplError(MISSING) from None
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def save(figure: Any, folder: Path, name: str) -> Path:
    """Write `figure` as a PNG into `folder` and say where it lies."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.png"
    figure.savefig(path, dpi=120, bbox_inches="tight")
    print(f"picture: {path}")
    return path


def show_images(ax: Any, images: np.ndarray, columns: int, title: str) -> None:
    """Paint rows of 64 pixels in [0, 1] as a grid of 8×8 images."""
    rows = -(-len(images) // columns)
    canvas = np.ones((rows * 9 + 1, columns * 9 + 1)) * 0.6
    for i, image in enumerate(images):
        r, c = divmod(i, columns)
        canvas[9 * r + 1 : 9 * r + 9, 9 * c + 1 : 9 * c + 9] = 1 - image.reshape(8, 8)
    ax.imshow(canvas, cmap="gray", vmin=0, vmax=1)
    ax.set_title(title, fontsize=10)
    ax.set_axis_off()


def bound(program: Any, state: Any, rows: np.ndarray, particles: int = 20) -> tuple[float, float]:
    """Mean loss per row with `particles` samples, and its standard error over rows."""
    losses = np.asarray(program.value(state, rows, per_row=True, particles=particles, seed=1), np.float64)
    return float(losses.mean()), float(losses.std() / np.sqrt(len(losses)))


Arguments = Sequence[str] | None
