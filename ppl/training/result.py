"""The result of `ppl.fit`: the final state, parameters and history."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ppl.choosing.choices import Choices
from ppl.lazy import notebook_curves
from ppl.names import Named
from ppl.notebook.html import table, titled_block
from ppl.runtime.state import State


class History(Named[np.ndarray]):
    """The record of a training run: arrays of one length by key, but for the validation's.

    Keys: "step" (steps taken), "loss" (per row), "cost NAME" for every cost (per row; `history["NAME"]`
    finds it too), "validation" and "validation_step".
    """

    def __getitem__(self, key: str) -> np.ndarray:
        cost = f"cost {key}" if isinstance(key, str) else ""
        return super().__getitem__(cost if cost in self and key not in self else key)


class FitTuple(NamedTuple):
    """What every run comes to."""

    state: State
    params: dict[str, np.ndarray]
    history: History


class Fit(FitTuple):
    """The result of `ppl.fit`: the tuple (state, params, history), and what a run with `tune=` has chosen.

    Attributes
    ----------
    state : the final `State`.
    params : constrained parameter values by name.
    history : arrays by name, one entry per step ("step", "loss", every cost) or per evaluation ("validation");
        means over several with `history=`.
    choices : with `tune=`, what took the steps, and why (`Choices`); else None, as where no step was taken.
    program : with `tune=`, the program that took the last step, else None. `state` is of the program that was passed.
    """

    choices: Choices | None
    program: Any

    def __new__(
        cls, state: State, params: dict[str, np.ndarray], history: History, choices: Any = None, program: Any = None
    ) -> Fit:
        """Make a result."""
        made = super().__new__(cls, state, params, history)
        made.choices, made.program = choices, program
        return made

    def __getnewargs__(self) -> tuple[Any, ...]:
        """Return what a copy is made of."""
        return (*self, self.choices, self.program)

    def _replace(self, **changes: Any) -> Fit:
        """Return the same with other values."""
        return Fit(**{**self._asdict(), "choices": self.choices, "program": self.program, **changes})

    def __repr__(self) -> str:
        """Return the final state and the last of what was recorded."""
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
        return titled_block(
            f"Fit, {len(history.get('step', ()))} steps",
            notebook_curves.draw_loss_curve(lines),
            table(("last of", ""), last),
            self.state._repr_html_(),
        )
