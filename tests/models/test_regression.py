"""The bound on the slope of the heteroscedastic log-density in z, as a property of random points and hard ones."""

import numpy as np

from ppl.models import regression


def test_the_slope_is_bounded_and_is_the_derivative():
    rng = np.random.default_rng(0)
    t, mean, z = (rng.normal(size=100_000) * 10.0 ** rng.uniform(-3, 3, 100_000) for _ in range(3))
    assert (np.abs(regression.slope(t, mean, z)) <= (t - mean) ** 2 + 1).all()
    grid = np.linspace(-5, 5, 10_001)
    assert (np.abs(regression.slope(3.0, 0.0, grid)) <= 10).all()

    def density(z):
        return -0.5 * np.log(2 * np.pi * (1 + z**2)) - 4.5 / (1 + z**2)

    gap = (density(grid + 1e-5) - density(grid - 1e-5)) / 2e-5
    np.testing.assert_allclose(regression.slope(3.0, 0.0, grid), gap, rtol=1e-6, atol=1e-8)
