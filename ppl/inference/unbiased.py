"""Is the gradient right on average: the mean of many estimates against a reference, in standard errors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ppl.arguments import shown
from ppl.errors import OptionError
from ppl.inference.reference import Reference, find_reference
from ppl.inference.repeats import Repeats
from ppl.inference.reports import number, render
from ppl.names import Named
from ppl.records import dataclass
from ppl.runtime.call import Call

ROUNDING = {"float32": 2e-5, "float64": 1e-9}
"""Difference that rounding may make, relative to the gradient's norm."""
ANOTHER = 0x9E3779B9
"""Added to the seed for the reference's own sample."""


@dataclass(frozen=True)
class UnbiasednessReport:
    """Mean gradient against a reference: prints as a table.

    Attributes
    ----------
    mean, standard_error : parameter name to the mean estimate and its standard error.
    reference, reference_error : the same of the reference (the error is 0 where it was enumerated).
    bias : mean − reference, per parameter; of an unbiased estimator it is noise.
    deviation : |bias| in standard errors of both together, rounding allowed for.
    biased : nodes whose estimator is declared biased.
    method : how the reference was found.
    width : deviation that counts as agreement.
    """

    mean: dict[str, np.ndarray]
    standard_error: dict[str, np.ndarray]
    reference: dict[str, np.ndarray]
    reference_error: dict[str, np.ndarray]
    biased: tuple[str, ...]
    method: str
    repeats: int
    rounding: float
    width: float = 5.0

    @property
    def bias(self) -> dict[str, np.ndarray]:
        """Mean − reference."""
        return Named("parameter", {k: self.mean[k] - self.reference[k] for k in self.mean})

    @property
    def norm(self) -> float:
        """Norm of the reference gradient."""
        return float(np.sqrt(sum((g**2).sum() for g in self.reference.values())))

    @property
    def deviation(self) -> dict[str, np.ndarray]:
        """|bias| in standard errors."""
        floor = self.rounding * self.norm + 1e-30
        both = {k: self.standard_error[k] ** 2 + self.reference_error[k] ** 2 + floor**2 for k in self.mean}
        return Named("parameter", {k: abs(b) / np.sqrt(both[k]) for k, b in self.bias.items()})

    @property
    def power(self) -> float:
        """Largest standard error relative to the norm of the gradient: smaller biases cannot be seen."""
        largest = max((float(e.max(initial=0)) for e in self.standard_error.values()), default=0.0)
        return largest / self.norm if self.norm else float("inf")

    @property
    def ok(self) -> bool:
        """Whether every entry agrees within `width` standard errors."""
        return all(bool(np.all(d <= self.width)) for d in self.deviation.values())

    def __str__(self) -> str:
        rows = []
        for name, d in self.deviation.items():
            at = np.unravel_index(int(np.argmax(d)), d.shape) if d.size else ()
            values = (self.mean[name], self.reference[name], self.bias[name], self.standard_error[name])
            entry = name if not d.shape else f"{name}[{', '.join(str(i) for i in at)}]"
            rows.append((entry, *(number(float(v[at])) for v in values), f"{float(d[at]):.2f}"))
        columns = ("largest deviation", "mean", "reference", "bias", "standard error", "deviation")
        verdict = "agrees" if self.ok else "DEVIATES"
        notes = [f"{verdict}: within {self.width:g} standard errors? {'yes' if self.ok else 'no'}; {self.repeats} "
                 f"repeats; biases under {self.power:.2g} of the gradient's norm cannot be seen"]  # fmt: skip
        notes.append(f"reference: {self.method}")
        if self.biased:
            notes.append(f"declared biased: {', '.join(self.biased)}")
        return render(columns, rows, notes)

    __repr__ = __str__


def check_unbiased(
    program: Any, call: Call, repeats: int, reference: str, width: float, backend: str
) -> UnbiasednessReport:
    """See `Program.check_unbiased`."""
    if reference not in ("auto", "exact", "score"):
        raise OptionError(f'reference must be "auto", "exact" or "score", not {shown(reference)}')
    source = Repeats(program, call, backend)
    moments = source.moments(repeats)
    found = {name: moments.gradient(f"grad {name}") for name in moments.parameters}
    against: Reference = find_reference(
        program, replace(call, seed=(source.bound.seed + ANOTHER) % 2**64), 2 * repeats, reference
    )
    choices = source.compiled.plan.choices
    return UnbiasednessReport(
        Named("parameter", {k: g.mean for k, g in found.items()}),
        Named("parameter", {k: g.standard_error for k, g in found.items()}),
        Named("parameter", against.grads),
        Named("parameter", against.errors),
        tuple(name for name, c in choices.items() if c.biased),
        against.method,
        repeats,
        ROUNDING[program.settings.dtype],
        width,
    )
