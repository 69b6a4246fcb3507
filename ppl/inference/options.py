"""Rules of the arguments of what measures gradients."""

from __future__ import annotations

from typing import Any

from ppl.arguments import MANY, flag, integer, noise_seed, one_of, optional, within

STATISTICS: dict[str, Any] = {
    "repeats": within(integer, low=2, high=MANY),
    "particles": optional(within(integer, low=1, high=MANY)),
    "seed": optional(noise_seed),
    "timing": flag,
    "backend": one_of("auto", "interpreter", "compiled"),
}
"""Rules of the arguments that measuring gradients has in common."""
