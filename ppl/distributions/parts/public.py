"""What users ask a distribution for: symbolic values inside a model, NumPy arrays outside."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ppl.distributions.domain.support import exact
from ppl.distributions.parts.eager import present

if TYPE_CHECKING:
    from ppl.distributions.base import Distribution

_fitting: list[Callable[..., Any]] = []


def fit_by(function: Callable[..., Any]) -> None:
    """Say what `Distribution.fit` calls: the exponential families build on the distributions."""
    _fitting[:] = [function]


class Public:
    """Methods of `Distribution` that show the results of its formulas."""

    def log_prob(self: Any, value: Any) -> Any:
        """Log-density of `value`, one number per plate row (eagerly: per leading index beyond the event).

        -inf where a value lies outside the support: discrete families take the numbers of theirs only, nothing between.
        """
        return present((self,), lambda x: self.node_log_prob(exact(x)), value)

    @property
    def mean(self: Any) -> Any:
        """The mean, of the event's shape."""
        return present((self,), self.node_mean)

    @property
    def mode(self: Any) -> Any:
        """The value of largest density or probability, of the event's shape; NaN where there is none."""
        return present((self,), self.node_mode)

    @property
    def variance(self: Any) -> Any:
        """The variance of every entry, of the event's shape."""
        return present((self,), self.node_variance)

    def entropy(self: Any) -> Any:
        """Entropy of the whole event, a scalar per plate row."""
        return present((self,), lambda: self.masked_sum(self.unit_entropy()))

    @classmethod
    def fit(cls, x: Any, weights: Any = None, **fixed: Any) -> Distribution:
        """The member of this exponential family that is likeliest given `x`, observations along its first axis.

        `fixed` holds what is not fitted: `Binomial.fit(x, total_count=10)`.

        See `ppl.distributions.families.fit.fit`.
        """
        return _fitting[0](cls, x, weights, **fixed)
