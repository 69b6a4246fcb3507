"""The laws of guides in which latents outside of plates over data depend on each other."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ppl.distributions.low_rank_multivariate_normal import MOST, LowRankMultivariateNormal
from ppl.distributions.multivariate_normal import MultivariateNormal
from ppl.inference.guides.kinds import MeanField, placed
from ppl.inference.guides.latents import Latent
from ppl.inference.guides.parameters import PREFIX, SCALE, in_plates, label
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.lang.blocks import init
from ppl.lang.params import param
from ppl.lang.sites import sample
from ppl.lang.value import Value


class Joint(MeanField):
    """One law of the reals of all latents outside of plates over data; independent normals inside.

    `reals` is its vector, of which `places` holds where each latent begins.
    """

    reals: Node

    def begin(self, latents: Sequence[Latent]) -> None:
        """Sample the vector."""
        self.places: dict[str, int] = {}
        starts = [np.zeros(0)]
        for latent in latents:
            if not latent.by_row:
                self.places[latent.name] = sum(map(len, starts))
                starts.append(np.broadcast_to(latent.start(), latent.whole_shape).ravel())
        start = np.concatenate(starts)
        if len(start):
            self.reals = self.vector(start).node

    def vector(self, start: np.ndarray) -> Value:
        """Sample the reals of all latents, which are centred at `start` at first."""
        raise NotImplementedError

    def sample(self, latent: Latent) -> Value:
        """The value at its part of the vector; in plates over data normals of its own."""
        if latent.by_row:
            return super().sample(latent)
        part = ops.window(self.reals, [(self.places[latent.name], latent.size, 1)])
        return placed(latent, in_plates(latent, ops.reshape(part, latent.whole_shape)))


class FullNormal(Joint):
    """A normal with a full covariance."""

    def vector(self, start: np.ndarray) -> Value:
        """By the factor of the covariance."""
        self.centre = param(f"{PREFIX}/loc", start)
        tril = param(f"{PREFIX}/scale_tril", SCALE * np.eye(len(start)), constraint="lower_cholesky")
        return sample(PREFIX, MultivariateNormal(self.centre, scale_tril=tril), aux=True)


class LowRankNormal(Joint):
    """A normal with a covariance of low rank plus a diagonal."""

    def vector(self, start: np.ndarray) -> Value:
        """Half of the variance at first lies in the factor, of a rank that is the root of the length."""
        size = len(start)
        rank = min(math.isqrt(size - 1) + 1, MOST)
        factor = param(f"{PREFIX}/factor", init.normal(SCALE / math.sqrt(2 * rank)), (size, rank))
        diagonal = param(f"{PREFIX}/diagonal", SCALE**2 / 2, (size,), "positive")
        return sample(PREFIX, LowRankMultivariateNormal(param(f"{PREFIX}/loc", start), factor, diagonal), aux=True)


class Structured(FullNormal):
    """A normal with a full covariance; in plates over data normals whose means are linear in its vector."""

    def loc(self, latent: Latent) -> Node:
        """The row's own mean, and a matrix for all rows times how far the vector is from its mean."""
        own = super().loc(latent)
        if not self.places:
            return own
        away = Value(self.reals) - self.centre
        slope = param(label(latent, "slope"), 0.0, (latent.size, away.shape[0]))
        return ops.add(own, in_plates(latent, ops.reshape((slope @ away).node, latent.whole_shape)))
