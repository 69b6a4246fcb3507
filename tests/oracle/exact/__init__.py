"""Expected losses and their gradients from a trace, by enumeration, quadrature and differences.

Only `ppl.lang` (what traces a model) and the plain classes of nodes and axes are imported; every number is NumPy's or
SciPy's. `solve` is the one entry.
"""

from tests.oracle.exact.errors import Cannot, TooLarge, Unstated, Unsupported
from tests.oracle.exact.gradient import Answer, solve

__all__ = ["Answer", "Cannot", "TooLarge", "Unstated", "Unsupported", "solve"]
