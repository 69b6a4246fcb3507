"""A sum over rows of data that the rows of another plate read: every slab has to read the total, not its own share."""

import numpy as np

import ppl
from ppl import Normal

N, GROUPS = 40_000, 300
RNG = np.random.default_rng(0)
X, INDEX = RNG.normal(size=N), RNG.integers(0, GROUPS, N)


@ppl.model
def groups(x, index):
    with ppl.plate("groups", GROUPS):
        v = ppl.sample("v", Normal(0.0, 1.0))
    v = ppl.collect(v, "groups")
    with ppl.plate("data", x, index) as (x, index):
        ppl.sample("x", Normal(v[index], 1.0), obs=x)


def test_latents_of_groups_get_the_slopes_of_all_rows():
    """At a scale of 1e-9 a latent is its mean, whose gradient is m - Σ (x - m) over the rows of its group."""
    program = ppl.compile(ppl.elbo(groups, ppl.autoguide(groups)), data=(X, INDEX), dtype="float64")
    loc = RNG.normal(size=GROUPS)
    state = program.init(0, params={"guide/v/loc": loc, "guide/v/scale": 1e-9})
    exact = loc - np.bincount(INDEX, X - loc[INDEX], GROUPS)
    np.testing.assert_allclose(program.step(state, X, INDEX)[1]["guide/v/loc"], exact, atol=1e-4)
