"""Pictures of the models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ppl.errors import PplError
from ppl.models.data import MISSING


def pyplot() -> Any:
    """matplotlib's pyplot with a backend that needs no screen."""
    try:
        import matplotlib
    except ImportError:
        raise PplError(MISSING) from None
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def save(figure: Any, folder: str | Path, name: str) -> Path:
    """Write `figure` as a PNG into `folder` and say where it lies."""
    path = Path(folder) / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120, bbox_inches="tight")
    print(f"picture: {path}")
    return path


def show_images(ax: Any, images: np.ndarray, columns: int, title: str, low: float = 0.0, high: float = 1.0) -> None:
    """Paint rows of square images with values in [low, high] as a grid, dark for high."""
    side = round(images.shape[1] ** 0.5)
    rows, cell = -(-len(images) // columns), side + 1
    canvas = np.full((rows * cell + 1, columns * cell + 1), 0.6)
    for i, image in enumerate(images):
        r, c = divmod(i, columns)
        shade = 1 - (np.clip(image, low, high) - low) / (high - low)
        canvas[cell * r + 1 : cell * (r + 1), cell * c + 1 : cell * (c + 1)] = shade.reshape(side, side)
    ax.imshow(canvas, cmap="gray", vmin=0, vmax=1)
    ax.set_title(title, fontsize=10)
    ax.set_axis_off()


def show_training(ax: Any, history: Any, ylabel: str, color: str = "C0", label: str = "") -> None:
    """The loss per row at every step, and its mean over fiftieths of the run."""
    step, loss = np.asarray(history["step"]), np.asarray(history["loss"])
    ax.plot(step, loss, color, lw=0.4, alpha=0.4)
    width = max(1, len(loss) // 50)
    means = [np.mean(x[: len(x) // width * width].reshape(-1, width), 1) for x in (step, loss)]
    ax.plot(*means, color, lw=1.5, label=label or None)
    ax.set(xlabel="step", ylabel=ylabel, title="training")
