"""The laws of guides that sample every latent by itself: independent normals, and points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from ppl.distributions.base import Distribution
from ppl.distributions.bijectors import Exp
from ppl.distributions.domain.support import Support
from ppl.distributions.lognormal import LogNormal
from ppl.distributions.normal import Normal
from ppl.distributions.transformed import Transformed
from ppl.distributions.von_mises import VonMises
from ppl.inference.guides.latents import Latent
from ppl.inference.guides.parameters import PREFIX, Parameters
from ppl.inference.guides.placed import Placed
from ppl.inference.guides.supports import forward
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.lang.sites import sample
from ppl.lang.value import Value


class Kind(Protocol):
    """The contract of a kind, made for one trace."""

    def __init__(self, parameters: Parameters): ...

    def begin(self, latents: Sequence[Latent]) -> None:
        """Sample what comes before all latents; their laws are not known yet, only shapes, plates and starts."""
        ...

    def sample(self, latent: Latent) -> Value:
        """Sample a latent, whose plates are open."""
        ...


def placed(latent: Latent, x: Node, density: bool = True) -> Value:
    """Sample a latent as the value at reals x; with `density` it takes on the density of x."""
    value, log_det = forward(latent.bijectors, x)
    return sample(latent.name, Placed(value, latent.law, ops.neg(log_det) if density else ops.const(0.0)))


class MeanField:
    """Independent normals of the reals."""

    def __init__(self, parameters: Parameters):
        self.parameters = parameters

    def begin(self, latents: Sequence[Latent]) -> None:
        """Nothing comes before."""

    def loc(self, latent: Latent) -> Node:
        """Where the reals of a latent are centred."""
        return self.parameters.loc(latent)

    def sample(self, latent: Latent) -> Value:
        """A law of the latent itself where one is known; else normals, and the value that they lead to."""
        if latent.law.support is Support.CIRCLE:
            latent = replace(latent, bijectors=())  # its location is an angle, of which whole turns do not count
        loc, scale = self.loc(latent), self.parameters.scale(latent)
        direct = _direct(latent, loc, scale)
        if direct is not None:
            return sample(latent.name, direct)
        return placed(latent, sample(f"{PREFIX}/{latent.name}", Normal(loc, scale), aux=True).node)


def _direct(latent: Latent, loc: Node, scale: Node) -> Distribution | None:
    """The law of a latent whose reals are normal, where its density is as easily computed at the latent."""
    if latent.law.support is Support.CIRCLE:
        return VonMises(loc, ops.div(1.0, ops.mul(scale, scale)))
    if not latent.bijectors:
        return Normal(loc, scale)
    if len(latent.bijectors) > 1 or latent.bijectors[0].rank:
        return None
    if isinstance(latent.bijectors[0], Exp):
        return LogNormal(loc, scale)
    return Transformed(Normal(loc, scale), latent.bijectors[0])


class Point:
    """A point: the value at reals that are parameters."""

    def __init__(self, parameters: Parameters):
        self.parameters = parameters

    def begin(self, latents: Sequence[Latent]) -> None:
        """Nothing comes before."""

    def sample(self, latent: Latent) -> Value:
        """The value, without a density."""
        return placed(latent, self.parameters.loc(latent), density=False)
