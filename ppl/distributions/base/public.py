"""The methods of a distribution for users: symbolic values inside a model, NumPy arrays outside."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ppl.arguments import dimensions, flag
from ppl.distributions.base.units import drawn, per_unit
from ppl.distributions.domain.support import exact
from ppl.distributions.parts.eager import present
from ppl.errors import ShapeError

if TYPE_CHECKING:
    from ppl.distributions.base.distribution import Distribution

_fitting: list[Callable[..., Any]] = []


def fit_by(function: Callable[..., Any]) -> None:
    """Say what `Distribution.fit` calls: the exponential families build on the distributions."""
    _fitting[:] = [function]


class Public:
    """Methods of `Distribution` that show the results of its formulas."""

    def log_prob(self: Any, value: Any, summed: bool = True) -> Any:
        """The log-density of `value`, summed over the event; -inf outside the support.

        Parameters
        ----------
        value : a symbolic value or an array of shape (..., *event). A discrete distribution has -inf at numbers between
            those of its support.
        summed : False for one number per unit: then value and parameters broadcast as in SciPy, whichever is larger.

        Returns
        -------
        Inside a model, one number per plate row. Outside, an array of shape (...). With ``summed=False`` the shape to
        which batches of value and distribution broadcast, less the dimensions of a unit (a vector of a
        MultivariateNormal); units that a mask drops have 0.

        Raises
        ------
        ShapeError
            The value's event shape does not broadcast to that of the distribution; without the sum, neither to the
            other.
        """
        if flag("log_prob: summed", summed, ShapeError):
            return present((self,), lambda x: self.node_log_prob(exact(x)), value)
        return per_unit(self, value)

    def sample(self: Any, rng: Any, shape: int | tuple[int, ...] = ()) -> Any:
        """Draws outside of a model, in float64; inside one, `ppl.sample` declares a random node.

        Parameters
        ----------
        rng : a `numpy.random.Generator`, or the seed of a new one.
        shape : how many draws, before the event.

        Returns
        -------
        An array of shape (*shape, *event): floats, or integers where the support is one of categories or counts.

        Raises
        ------
        ModelError
            A parameter is symbolic, or the distribution cannot be sampled.
        OptionError
            `rng` is neither a generator nor a seed.
        """
        return drawn(self, rng, dimensions("sample: shape", shape, ShapeError))

    @property
    def mean(self: Any) -> Any:
        """The mean, of the event's shape; a ModelError if it has no closed form."""
        return present((self,), self.node_mean)

    @property
    def mode(self: Any) -> Any:
        """The value of largest density or probability, of the event's shape; NaN if there is none.

        A ModelError if it has no closed form.
        """
        return present((self,), self.node_mode)

    @property
    def variance(self: Any) -> Any:
        """The variance of every entry, of the event's shape; a ModelError if it has no closed form."""
        return present((self,), self.node_variance)

    def entropy(self: Any) -> Any:
        """Entropy of the whole event in nats, a scalar per plate row; a ModelError if it has no closed form."""
        return present((self,), lambda: self.masked_sum(self.unit_entropy()))

    @classmethod
    def fit(cls, x: Any, weights: Any = None, **fixed: Any) -> Distribution:
        """The maximum-likelihood member of this exponential family.

        Parameters
        ----------
        x : observations, shape (n, *event). Every unit of the event is fitted by itself.
        weights : weights of the observations, shape (n,), not negative.
        fixed : parameters that are not fitted: `Binomial.fit(x, total_count=10)`.

        Raises
        ------
        ModelError
            The class is no exponential family.
        DataError
            Data lie outside the support, weights are negative, or the likelihood has no maximum in the family, for
            instance because all observations are equal.
        """
        return _fitting[0](cls, x, weights, **fixed)
