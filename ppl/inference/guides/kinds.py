"""The families of guides: independent normals, points, joint normals (full, low rank, structured) and a normalizing
flow.

Each samples the latents of a model through the reals that its bijectors lead from. `Placed` is the law of a value
that a guide computes, with its density."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from ppl.distributions.base import Distribution
from ppl.distributions.bijectors import Exp, InverseAutoregressive
from ppl.distributions.constraints import Condition
from ppl.distributions.intervals import Interval
from ppl.distributions.location_scale import Normal
from ppl.distributions.lognormal import LogNormal
from ppl.distributions.multivariate_normal import LARGEST_RANK, LowRankMultivariateNormal, MultivariateNormal
from ppl.distributions.support import Support
from ppl.distributions.transformed import Transformed
from ppl.distributions.von_mises import VonMises
from ppl.inference.guides.latents import Latent, constrain
from ppl.inference.guides.parameters import GUIDE_PREFIX, START_SCALE, GuideParameters, param_name, spread_over_plates
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.lang import init
from ppl.lang.params import param
from ppl.lang.sites import sample
from ppl.lang.value import Value


class Placed(Distribution):
    """The value v for sure, which lies in the support of `law`; its path has slope 1 in v.

    `log_density`, one number for the whole event, is what the value adds to the log-density of the nodes that it is
    computed from: minus the logarithm of the volume change, or 0 for a point.
    """

    reparameterized = True
    moving = frozenset({"v"})

    def __init__(self, v: Node, law: Distribution, log_density: Node):
        self.params = {"v": v, "log_density": log_density}
        self.event_mask = None
        self.law = law
        vars(self).update(unit_rank=len(v.type.shape))

    def conditions(self) -> Iterator[Condition]:
        """Yield nothing: v is computed to lie where it has to."""
        yield from ()

    @property
    def support(self) -> Support:
        """That of `law`."""
        return self.law.support

    @property
    def bounds(self) -> Interval:
        """Those of `law`."""
        return self.law.bounds

    def uniforms(self) -> tuple[tuple[int, ...] | None, ...]:
        """None."""
        return ()

    def unit_log_prob(self, value: Node) -> Node:
        """Return `log_density`: it is asked of v alone."""
        return self.params["log_density"]

    def draw(self, *u: Node) -> Node:
        """v."""
        return self.params["v"]

    def node_mean(self) -> Node:
        """v."""
        return self.params["v"]

    def unit_entropy(self) -> Node:
        """-log_density."""
        return ops.neg(self.params["log_density"])


class GuideKind(Protocol):
    """The contract of a kind, made for one trace."""

    def __init__(self, parameters: GuideParameters): ...

    def begin(self, latents: Sequence[Latent]) -> None:
        """Sample what comes before all latents; their laws are not known yet, only shapes, plates and starts."""
        ...

    def sample(self, latent: Latent) -> Value:
        """Sample a latent, whose plates are open."""
        ...


def sample_placed(latent: Latent, x: Node, density: bool = True) -> Value:
    """Sample a latent as the value at reals x; with `density` it takes on the density of x."""
    value, log_det = constrain(latent.bijectors, x)
    return sample(latent.name, Placed(value, latent.law, ops.neg(log_det) if density else ops.const(0.0)))


class MeanField:
    """Independent normals of the reals."""

    def __init__(self, parameters: GuideParameters):
        self.parameters = parameters

    def begin(self, latents: Sequence[Latent]) -> None:
        """Nothing comes before."""

    def loc(self, latent: Latent) -> Node:
        """Return where the reals of a latent are centred."""
        return self.parameters.loc(latent)

    def sample(self, latent: Latent) -> Value:
        """Return a law of the latent itself where one is known; else normals, and the value that they lead to."""
        if latent.law.support is Support.CIRCLE:
            latent = replace(latent, bijectors=())  # its location is an angle, of which whole turns do not count
        loc, scale = self.loc(latent), self.parameters.scale(latent)
        direct = _closed_form_law(latent, loc, scale)
        if direct is not None:
            return sample(latent.name, direct)
        return sample_placed(latent, sample(f"{GUIDE_PREFIX}/{latent.name}", Normal(loc, scale), aux=True).node)


def _closed_form_law(latent: Latent, loc: Node, scale: Node) -> Distribution | None:
    """Return the law of a latent whose reals are normal, where its density is as easily computed at the latent."""
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

    def __init__(self, parameters: GuideParameters):
        self.parameters = parameters

    def begin(self, latents: Sequence[Latent]) -> None:
        """Nothing comes before."""

    def sample(self, latent: Latent) -> Value:
        """Return the value, without a density."""
        return sample_placed(latent, self.parameters.loc(latent), density=False)


class JointGuide(MeanField):
    """One law of the reals of all latents outside of plates over data; independent normals inside.

    `reals` is its vector, of which `places` holds where each latent begins.
    """

    reals: Node

    def begin(self, latents: Sequence[Latent]) -> None:
        """Sample the vector."""
        self.places: dict[str, int] = {}
        starts = [np.zeros(0)]
        for latent in latents:
            if not latent.in_data_plate:
                self.places[latent.name] = sum(map(len, starts))
                starts.append(np.broadcast_to(latent.start(), latent.shape_with_plates).ravel())
        start = np.concatenate(starts)
        if len(start):
            self.reals = self.vector(start).node

    def vector(self, start: np.ndarray) -> Value:
        """Sample the reals of all latents, which are centred at `start` at first."""
        raise NotImplementedError

    def sample(self, latent: Latent) -> Value:
        """Return the value at its part of the vector; in plates over data normals of its own."""
        if latent.in_data_plate:
            return super().sample(latent)
        part = ops.window(self.reals, [(self.places[latent.name], latent.size, 1)])
        return sample_placed(latent, spread_over_plates(latent, ops.reshape(part, latent.shape_with_plates)))


class FullNormal(JointGuide):
    """A normal with a full covariance."""

    def vector(self, start: np.ndarray) -> Value:
        """Sample it by the factor of the covariance."""
        self.centre = param(f"{GUIDE_PREFIX}/loc", start)
        tril = param(f"{GUIDE_PREFIX}/scale_tril", START_SCALE * np.eye(len(start)), constraint="lower_cholesky")
        return sample(GUIDE_PREFIX, MultivariateNormal(self.centre, scale_tril=tril), aux=True)


class LowRankNormal(JointGuide):
    """A normal with a covariance of low rank plus a diagonal."""

    def vector(self, start: np.ndarray) -> Value:
        """Half of the variance at first lies in the factor, of a rank that is the root of the length."""
        size = len(start)
        rank = min(math.isqrt(size - 1) + 1, LARGEST_RANK)
        factor = param(f"{GUIDE_PREFIX}/factor", init.normal(START_SCALE / math.sqrt(2 * rank)), (size, rank))
        diagonal = param(f"{GUIDE_PREFIX}/diagonal", START_SCALE**2 / 2, (size,), "positive")
        return sample(
            GUIDE_PREFIX, LowRankMultivariateNormal(param(f"{GUIDE_PREFIX}/loc", start), factor, diagonal), aux=True
        )


class Structured(FullNormal):
    """A normal with a full covariance; in plates over data normals whose means are linear in its vector."""

    def loc(self, latent: Latent) -> Node:
        """Return the row's own mean, and a matrix for all rows times how far the vector is from its mean."""
        own = super().loc(latent)
        if not self.places:
            return own
        away = Value(self.reals) - self.centre
        slope = param(param_name(latent, "slope"), 0.0, (latent.size, away.shape[0]))
        return ops.add(own, spread_over_plates(latent, ops.reshape((slope @ away).node, latent.shape_with_plates)))


FLOW_LAYERS = 2
"""Layers, in turns from the first entry to the last and back."""

FEWEST_UNITS = 8
"""Hidden units of a layer, at least; else two for each entry."""


class FlowNormal(JointGuide):
    """Standard normals through inverse autoregressive layers, then scaled and shifted entry by entry.

    Layers begin as the identity: the guide starts with independent normals.
    """

    def vector(self, start: np.ndarray) -> Value:
        """Return the bent vector, whose density is that of the normals less the volume changes."""
        size = len(start)
        x = sample(f"{GUIDE_PREFIX}.noise", Normal(np.zeros(size), 1.0), aux=True).node
        total: Node = ops.const(0.0)
        for i in range(FLOW_LAYERS):
            layer = _autoregressive_layer(f"{GUIDE_PREFIX}/layer{i}", size, i % 2 == 1)
            total, x = ops.add(total, layer.log_det(x)), layer.forward(x)
        scale = param(f"{GUIDE_PREFIX}/scale", np.full(size, START_SCALE), constraint="positive").node
        x = ops.add(param(f"{GUIDE_PREFIX}/loc", start).node, ops.mul(scale, x))
        total = ops.add(total, ops.reduce_sum(ops.log(scale)))
        return sample(GUIDE_PREFIX, Placed(x, Normal(np.zeros(size), 1.0), ops.neg(total)), aux=True)


def _autoregressive_layer(name: str, size: int, reverse: bool) -> InverseAutoregressive:
    units = max(FEWEST_UNITS, 2 * size)
    return InverseAutoregressive(
        param(f"{name}/hidden_weight", init.glorot_normal(), (size, units)),
        param(f"{name}/hidden_bias", np.zeros(units)),
        param(f"{name}/weight", np.zeros((units, 2 * size))),
        param(f"{name}/bias", np.zeros(2 * size)),
        reverse=reverse,
    )
