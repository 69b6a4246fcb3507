"""The contract of a distribution, and the methods that users see."""

from ppl.distributions.base.distribution import KEY, Distribution, require_distribution

__all__ = ["KEY", "Distribution", "require_distribution"]
