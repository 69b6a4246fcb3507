"""A graph of the table as a PyTorch program, and the estimators that a user would try on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Program = Callable[..., None]
PEERS: dict[str, Peer] = {}
SCORE, BITS, CLASSES = ("RLOO",), ("RLOO", "DisARM", "REBAR"), ("RLOO", "REBAR")
PATH, BOTH, SUM = ("rsample",), ("rsample", "RLOO"), ("sum",)


@dataclass(frozen=True)
class Peer:
    """By label an estimator of `run.py` with its program; and functions of its own that `run.py` does not have.

    `own` : by label a function of parameters and data that returns the surrogate and the loss, for one sample.
    """

    forms: dict[str, tuple[str, Program]]
    own: dict[str, Callable[..., Any]] = field(default_factory=dict)


def peer(
    *estimators: str,
    names: tuple[str, ...] = (),
    own: dict[str, Callable[..., Any]] | None = None,
    sampled: tuple[str, Program] | None = None,
) -> Callable[[Program], Program]:
    """Register a program for the graph of its name, or for graphs `names`; and for the trained graph, if any.

    `sampled` : an estimator with a program that has no divergence in closed form. Near an optimum log q - log p hardly
    varies, and a closed divergence leaves the part that does.
    """

    def register(program: Program) -> Program:
        forms = {label: (label, program) for label in estimators}
        if sampled:
            forms[f"{sampled[0]}, log q drawn"] = sampled
        for name in names or (program.__name__,):
            PEERS[name] = PEERS[f"{name}_trained"] = Peer(forms, own or {})
        return program

    return register
