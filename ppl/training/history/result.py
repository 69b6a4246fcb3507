"""What `ppl.fit` returns."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ppl.html import block, table
from ppl.names import Named
from ppl.runtime.state import State
from ppl.training.curve import curve


class History(Named[np.ndarray]):
    """The record of a training run: arrays of one length by key, but for the validation's.

    Keys: "step" (steps taken), "loss" (per row), "cost NAME" for every cost (per row; `history["NAME"]`
    finds it too), "validation" and "validation_step".
    """

    def __getitem__(self, key: str) -> np.ndarray:
        cost = f"cost {key}" if isinstance(key, str) else ""
        return super().__getitem__(cost if cost in self and key not in self else key)


class Fit(NamedTuple):
    """The result of `ppl.fit`.

    Attributes
    ----------
    state : the final `State`.
    params : constrained parameter values by name.
    history : arrays by name, one entry per step ("step", "loss", every cost) or per evaluation ("validation");
        means over several with `history=`.
    """

    state: State
    params: dict[str, np.ndarray]
    history: History

    def __repr__(self) -> str:
        """The final state and the last of what was recorded."""
        last = {k: v[-1] for k, v in self.history.items() if len(v) and k in ("loss", "validation")}
        parts = [repr(self.state), *(f"{k} {v:.6g}" for k, v in last.items())]
        steps = self.history.get("step", np.zeros(0))
        whole = not len(steps) or steps[-1] - steps[0] + 1 == len(steps)
        return f"Fit({', '.join(parts)}, history of {len(steps)} {'steps' if whole else 'means'})"

    def _repr_html_(self) -> str:
        """The curve of the loss, and the state."""
        history = dict(self.history)
        keys = {"loss": "step", "validation": "validation_step"}
        lines = {name: (history[at], history[name]) for name, at in keys.items() if name in history}
        last = [(name, f"{values[-1]:.6g}") for name, (_, values) in lines.items() if len(values)]
        return block(f"Fit, {len(history.get('step', ()))} steps", curve(lines), table(("last of", ""), last),
                     self.state._repr_html_())  # fmt: skip
