"""Bijectors: smooth invertible maps with the logarithm of their volume change, for `Transformed`.

A bijector maps entry by entry (`rank` 0), or vector by vector (`rank` 1) onto vectors or matrices. Formulas are
written at x, the argument of `forward`: from there they stay right in both tails. Parameters broadcast against the
event that is mapped.
"""

from ppl.distributions.bijectors.base import Bijector
from ppl.distributions.bijectors.composed import Chain, Inverse, Log, Logit
from ppl.distributions.bijectors.corr_cholesky import CorrCholesky
from ppl.distributions.bijectors.elementwise import Affine, Exp, Power, Sigmoid, Softplus, Tanh
from ppl.distributions.bijectors.flows import Coupling, InverseAutoregressive
from ppl.distributions.bijectors.stick_breaking import StickBreaking

__all__ = [
    "Affine",
    "Bijector",
    "Chain",
    "CorrCholesky",
    "Coupling",
    "Exp",
    "Inverse",
    "InverseAutoregressive",
    "Log",
    "Logit",
    "Power",
    "Sigmoid",
    "Softplus",
    "StickBreaking",
    "Tanh",
]
