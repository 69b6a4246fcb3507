"""A graph of the table as a PyTorch program, and the estimators that a user would try on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

PEERS: dict[str, Peer] = {}
SCORE, BITS, CLASSES = ("RLOO",), ("RLOO", "DisARM", "REBAR"), ("RLOO", "REBAR")
PATH, BOTH, SUM = ("rsample",), ("rsample", "RLOO"), ("sum",)


@dataclass(frozen=True)
class Peer:
    """A program, the labels of its estimators, and estimators of its own that `run.py` does not have.

    `own` : by label a function of parameters and data that returns the surrogate and the loss, for one sample.
    """

    program: Callable[..., None]
    estimators: tuple[str, ...]
    own: dict[str, Callable[..., Any]] = field(default_factory=dict)


def peer(*estimators: str, names: tuple[str, ...] = (), own: dict[str, Callable[..., Any]] | None = None) -> Any:
    """Register a program for the graph of its name, or for graphs `names`; and for the trained graph, if any."""

    def register(program: Callable[..., None]) -> Callable[..., None]:
        for name in names or (program.__name__,):
            PEERS[name] = PEERS[f"{name}_trained"] = Peer(program, estimators, own or {})
        return program

    return register
