"""Plans as data: for every random node the choice, its reason, and what was said of all other estimators."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any

from ppl.compiler.plan.html import choice_html, plan_html
from ppl.compiler.plan.measured import Joint, Measured, Tuning
from ppl.estimators.base import Estimator
from ppl.names import Named
from ppl.records import dataclass


@dataclass(frozen=True)
class Candidate:
    """One estimator beside others for a node: its cost in copies, the variance to expect, and the verdict on it.

    `taken` says whether it was chosen, `admissible` whether it could be; `measured` holds what `ppl.tune` found.
    """

    estimator: Estimator
    copies: int
    variance: str
    verdict: str
    admissible: bool = True
    taken: bool = False
    measured: Measured | None = None


@dataclass(frozen=True)
class Choice:
    """The decision for one random node; prints as a table of all candidates."""

    name: str
    distribution: str
    plates: tuple[str, ...]
    estimator: Estimator
    reason: str
    rejected: tuple[tuple[str, str], ...]
    costs: tuple[str, ...]
    copies: int
    candidates: tuple[Candidate, ...] = ()

    @property
    def biased(self) -> bool:
        """Whether the chosen estimator is biased."""
        return self.estimator.biased

    def __str__(self) -> str:
        from ppl.compiler.plan.table import render_choice  # imports rich

        return render_choice(self)

    def _repr_html_(self) -> str:
        return choice_html(self)


@dataclass(eq=False)
class Plan(Mapping[str, Choice]):
    """The decisions for all random nodes: prints as a table, indexes as data (`plan["b"].estimator`)."""

    choices: dict[str, Choice]
    copies: int
    particles: int
    regions: int | None = None
    notes: list[str] = field(default_factory=list)
    measured: dict[str, Sequence[Measured]] = field(default_factory=lambda: Named("node"))
    tuning: Tuning | None = None
    particles_because: str = ""
    weighed: tuple[Joint, ...] = ()

    def __getitem__(self, name: str) -> Choice:
        return self.choices[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.choices)

    def __len__(self) -> int:
        return len(self.choices)

    @property
    def estimators(self) -> dict[str, Estimator]:
        """Node name → estimator."""
        return Named("node", {name: c.estimator for name, c in self.choices.items()})

    def as_dict(self) -> dict[str, Estimator]:
        """The choices in the form that `ppl.compile(estimators=...)` takes; its repr can be pasted into code.

        Nodes that need no estimator, or that the objective sums out, are left out.
        """
        return Named("node", {n: c.estimator for n, c in self.choices.items() if not c.estimator.imposed})

    def as_options(self) -> dict[str, Any]:
        """Estimators and particles, for `ppl.compile(objective, **options)`; the repr can be pasted into code."""
        return {"estimators": self.as_dict(), "particles": self.particles}

    def __str__(self) -> str:
        from ppl.compiler.plan.table import render  # imports rich

        return render(self)

    def _repr_html_(self) -> str:
        return plan_html(self)

    __repr__ = __str__
