"""The categorical distribution with one-hot samples, and its Gumbel-softmax relaxation."""

from __future__ import annotations

import math

import numpy as np

from ppl.distributions.domain.simplex import on_simplex
from ppl.distributions.domain.support import Support, is_constant, is_exact
from ppl.distributions.parts.classes import Classes
from ppl.distributions.parts.formulas import finite, frozen, gumbel, simplex_covariance
from ppl.ir import ops
from ppl.ir.node import Node


class OneHotCategorical(Classes):
    """OneHotCategorical(probs) or OneHotCategorical(logits=...): support the K unit vectors, one unit per
    row.

    With one uniform per class, G = -log(-log u): the sample is one_hot(argmax(logits + G)), its relaxation
    softmax((logits + G) / temperature) (Jang et al. 2017, Maddison et al. 2017), and the relaxation given the
    sample truncates the Gumbel variables below the winner's (Tucker et al. 2017).

    `log_prob` of rows of numbers that are not one-hot is -inf. That of values that a model computes, or observes,
    extends linearly to the simplex: minus the cross-entropy of soft targets, and what a relaxed sample sees.

    Parameters
    ----------
    probs : shape (…, K), non-negative, rows sum to 1; computed rows are divided by their sum.
    logits : shape (…, K), finite or -inf, not necessarily normalised.
    """

    relaxable = True
    unit_rank = 1

    @property
    def support(self) -> Support:
        """Unit vectors."""
        return Support.ONE_HOT

    def unit_log_prob(self, value: Node) -> Node:
        """Sum over classes of x log p with 0 * (-inf) = 0: the multilinear extension on the simplex.

        Numbers of `log_prob` that are not one-hot have -inf, and constants off the simplex; symbolic values are taken
        to lie on it, so that no jump is introduced.
        """
        value = ops.cast(value, "float")
        out = self.expected_log_prob(value)
        if is_exact(value) or is_constant(value):
            wanted = one_hot_rows(value) if is_exact(value) else _weights(value)
            out = ops.where(wanted, out, -math.inf)
        return out

    def draw(self, *u: Node) -> Node:
        """one_hot(argmax(logits + G))."""
        return ops.one_hot(ops.argmax(ops.add(self.logits, gumbel(u[0]))), self.count)

    def relax(self, temperature: Node, *u: Node) -> Node:
        """softmax((logits + G) / temperature)."""
        return ops.softmax(ops.div(ops.add(finite(self.logits), gumbel(u[0])), temperature))

    def relax_given(self, temperature: Node, value: Node, *v: Node) -> Node:
        """softmax(z / temperature) with z given `value`: z_b = -log(-log v_b), z_i = -log(-log(v_i) / p_i -
        log v_b).

        With E = log(-log v) the latter is -E_b - softplus(E_i - log p_i - E_b), which no logit overflows.
        """
        wins = ops.less(0.5, frozen(ops.cast(value, "float")))
        e = ops.neg(gumbel(v[0]))
        winner = ops.reduce_sum(ops.where(wins, e, 0.0), -1, keepdims=True)
        gap = ops.sub(ops.sub(e, finite(self.log_probs())), winner)
        z = ops.neg(ops.add(winner, ops.where(wins, 0.0, ops.softplus(gap))))
        return ops.softmax(ops.div(z, temperature))

    def unit_support(self) -> np.ndarray:
        """The K unit vectors."""
        return np.eye(self.count)

    def node_mean(self) -> Node:
        """probs."""
        return self.class_probs()

    def node_mode(self) -> Node:
        """The class of largest probability, of several the first."""
        return ops.one_hot(ops.argmax(self.weights), self.count)

    def unit_covariance(self) -> Node:
        """diag(p) - p p^T."""
        return simplex_covariance(self.class_probs())


def one_hot_rows(value: Node) -> Node:
    """Whether each row has one 1 and no other number but 0."""
    ones, zeros = (ops.reduce_sum(ops.cast(ops.equal(value, x), "int"), -1) for x in (1.0, 0.0))
    return ops.logical_and(ops.equal(ones, 1), ops.equal(zeros, value.type.shape[-1] - 1))


def _weights(value: Node) -> Node:
    """Whether each row is on the simplex, its edges included."""
    found = on_simplex(value, False)
    return ops.reshape(found, found.type.shape[:-1])
