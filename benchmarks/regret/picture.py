"""The picture of the table: the share of graphs within a regret."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

MOST = 100.0
"""Regret at which the picture ends."""


def draw(curves: Mapping[str, Sequence[float]], path: Path) -> None:
    """Write curves of the share of graphs whose regret is at most x, by choice."""
    import matplotlib.pyplot as plt  # slow to import

    figure, ax = plt.subplots(figsize=(7, 4))
    for name, values in curves.items():
        x = np.sort(np.minimum(values, MOST * 2))
        ax.step(np.append(1.0, x), np.append(0.0, np.arange(1, len(x) + 1) / len(x)), where="post", label=name)
    ax.axvline(1.3, color="0.7", lw=0.8)
    ax.axhline(0.9, color="0.7", lw=0.8)
    ax.set(xscale="log", xlim=(0.97, MOST), ylim=(0, 1.02), xlabel="variance × time of the choice, over the best one's",
           ylabel="share of graphs", title="Regret")  # fmt: skip
    ax.set_xticks([1, 1.3, 2, 3, 5, 10, 30, 100], ["1", "1.3", "2", "3", "5", "10", "30", "100"])
    ax.legend(loc="lower right", fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
