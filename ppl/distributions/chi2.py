"""The chi-squared distribution."""

from __future__ import annotations

from typing import Any, ClassVar

from ppl.distributions.gamma import Gamma
from ppl.distributions.parts.derived import Derived
from ppl.ir import ops


class Chi2(Derived):
    """Chi2(df), the law of the sum of the squares of df standard normals: Gamma(df / 2, rate=1 / 2), on x > 0.

    Sampled as a gamma variable (Marsaglia & Tsang 2000), with its implicit derivative (Figurnov, Mohamed & Mnih 2018).

    Parameters
    ----------
    df : positive degrees of freedom, not necessarily whole.
    """

    reparameterized = True
    implicit = True
    constraints: ClassVar[dict[str, str]] = {"df": "positive"}

    def __init__(self, df: Any):
        super().__init__(df=df)

    def original(self) -> Gamma:
        """Gamma(df / 2, 1 / 2)."""
        return Gamma(ops.mul(0.5, self.params["df"]), 0.5)
