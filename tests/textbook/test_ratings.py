"""The factorisation beside coordinate ascent in closed form, in NumPy, on the bound of the same family."""

import numpy as np
import pytest

from tests.textbook.runs import run


def ascent(script, rounds=25):
    """Means of users and items after so many rounds, and the noise: one coordinate of all rows at a time."""
    rows, columns = np.nonzero(script.kept)
    things, rating = script.item[rows, columns], script.rating[rows, columns].astype(float)
    mean = [
        np.zeros((script.USERS, script.RANK)),
        0.3 * np.random.default_rng(0).normal(size=(script.ITEMS, script.RANK)),
    ]
    variance, index = [np.full_like(m, 0.01) for m in mean], (rows, things)
    sharpness = 1.0
    for _ in range(rounds):
        for own, other, prior in ((0, 1, 1.0), (1, 0, float(script.RANK))):
            left = rating - (mean[0][rows] * mean[1][things]).sum(1)
            for k in range(script.RANK):
                slope, size = mean[other][index[other], k], len(mean[own])
                square = slope**2 + variance[other][index[other], k]
                precision = prior + sharpness * np.bincount(index[own], square, size)
                whole = (left + mean[own][index[own], k] * slope) * slope
                new = sharpness * np.bincount(index[own], whole, size) / precision
                left -= (new - mean[own][:, k])[index[own]] * slope
                mean[own][:, k], variance[own][:, k] = new, 1 / precision
        (m, n), (s, t) = (
            (x[i] for x, i in zip(mean, index, strict=True)),
            (x[i] for x, i in zip(variance, index, strict=True)),
        )
        square = (rating - (m * n).sum(1)) ** 2 + (s * n**2 + m**2 * t + s * t).sum(1)
        sharpness = 1 / square.mean()
    return mean, sharpness**-0.5


@pytest.mark.slow
def test_ratings_are_found_as_by_coordinate_ascent():
    script = run("ratings")
    (users, things), noise = ascent(script)
    best = np.einsum("uk,ujk->uj", users, things[script.item])
    held = ~script.kept
    errors = [np.sqrt(np.mean((x - script.rating)[held] ** 2)) for x in (script.mean, best)]
    assert errors[0] == pytest.approx(errors[1], rel=0.01)
    assert script.drawn["noise"].mean() == pytest.approx(noise, rel=0.015)
    assert np.sqrt(np.mean((script.mean - best)[held] ** 2)) < 0.1
    inside = np.mean((script.low < script.rating[held]) & (script.rating[held] < script.high))
    assert 0.87 < inside < 0.92
