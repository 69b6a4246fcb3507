"""A Numba-accelerated probabilistic programming framework."""
