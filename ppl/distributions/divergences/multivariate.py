"""Closed KL divergences of Gaussians in every form of their covariance: full, diagonal, independent, of low rank.

With Sigma_p = sum_j c_j c_j^T, KL = (sum_j |c_j|^2 + |loc_p - loc_q|^2 - d) / 2 + H(q) - H(p), lengths in the metric
Sigma_q^-1 and H the entropies, whose difference is that of the log-determinants.
"""

from __future__ import annotations

import itertools

from ppl.distributions.base import Distribution
from ppl.distributions.divergences.registry import register_kl
from ppl.distributions.low_rank_multivariate_normal import LowRankMultivariateNormal
from ppl.distributions.multivariate_normal import MultivariateNormal, diagonal_matrix
from ppl.distributions.normal import Normal
from ppl.ir import ops
from ppl.ir.node import Node


def _leading(matrix: Node) -> Node:
    """The columns of matrices (…, d, k) as (k, …, d)."""
    rank = len(matrix.type.shape)
    return ops.transpose(matrix, (rank - 1, *range(rank - 1)))


def _columns(p: Distribution) -> Node:
    """c_j along a new first dimension."""
    if isinstance(p, LowRankMultivariateNormal):
        common, own = p.params["cov_factor"], diagonal_matrix(ops.sqrt(p.params["cov_diag"]))
        return ops.concat([_leading(common), _leading(own)], 0)
    if isinstance(p, MultivariateNormal):
        return _leading(p.lower())
    return _leading(diagonal_matrix(p.params["scale"]))


def _lengths(q: Distribution, vectors: Node) -> Node:
    """Squared lengths in the metric of the precision of `q`; one leading dimension before its event."""
    repeated = q.expand((vectors.type.shape[0], *q.batch_of_units))
    centre = repeated.params["loc"]
    if isinstance(repeated, MultivariateNormal):
        white = repeated.standardized(ops.add(centre, vectors))
        return ops.reduce_sum(ops.mul(white, white), -1)
    fall = ops.sub(repeated.unit_log_prob(centre), repeated.unit_log_prob(ops.add(centre, vectors)))
    return ops.mul(2.0, fall)


def _vectors(p: Distribution) -> Distribution:
    """Independent normals as one vector per row."""
    if isinstance(p, Normal):
        return MultivariateNormal(p.params["loc"], scale_diag=p.params["scale"])
    return p


def _gaussian(p: Distribution, q: Distribution) -> Node:
    """See the module."""
    first, second = _vectors(p), _vectors(q)
    columns, shift = _columns(first), ops.sub(first.params["loc"], second.params["loc"])
    every = ops.concat([columns, ops.reshape(shift, (1, *shift.type.shape))], 0)
    spread = ops.sub(ops.reduce_sum(_lengths(second, every), 0), float(p.event_shape[-1]))
    return ops.add(ops.mul(0.5, spread), ops.sub(second.unit_entropy(), first.unit_entropy()))


for _pair in itertools.product((Normal, MultivariateNormal, LowRankMultivariateNormal), repeat=2):
    if _pair != (Normal, Normal):
        register_kl(*_pair)(_gaussian)
