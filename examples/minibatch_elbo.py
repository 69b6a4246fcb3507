"""Variational inference on minibatches, with the KL term annealed from 0 to 1 while training.

Factor analysis: a row x has two hidden factors z ~ N(0, I), and x ~ N(z W + b, σ²). Models never mention a batch axis:
a plate opens over rows, and inside it every value is that of one row.

Run: python examples/minibatch_elbo.py
"""

import numpy as np

import ppl
from ppl import Normal


@ppl.model
def generative(x):
    """z → x. W, b and σ are parameters, shared by all rows."""
    with ppl.plate("data", x) as x:
        z = ppl.sample("z", Normal(np.zeros(2), 1.0))
        mean = ppl.dense("loading", z, 6)
        ppl.sample("x", Normal(mean, ppl.param("sigma", 1.0, constraint="positive")), obs=x)


@ppl.model
def guide(x):
    """An approximate posterior of z for every row, computed from x."""
    with ppl.plate("data", x) as x:
        scale = ppl.param("scale", np.ones(2), constraint="positive")
        ppl.sample("z", Normal(ppl.dense("encoder", x, 2), scale))


def rows(count: int, seed: int) -> np.ndarray:
    """Data from two factors and noise of standard deviation 0.3."""
    loading = np.random.default_rng(1).normal(size=(2, 6))
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, 2)) @ loading + 0.3 * rng.normal(size=(count, 6))


def main(epochs: int = 60) -> ppl.Fit:
    """Train on 600 rows, watch the bound on 200 others, print what was learned."""
    train, held_out = rows(600, seed=2), rows(200, seed=3)
    beta = ppl.hyper("beta", 1.0)  # a run-time scalar: setting it never recompiles
    program = ppl.compile(ppl.elbo(generative, guide, kl_weight=beta), data=train)
    print(program.explain())
    fit = ppl.fit(
        program, train, epochs=epochs, batch_size=50, seed=0, optimizer=ppl.optim.Adam(1e-2),
        hyper={"beta": ppl.optim.linear(0.0, 1.0, steps=200)},  # a schedule of the step
    )  # fmt: skip
    # `beta` is 1, its default, unless a call sets it; the noise of 20 particles a row is averaged.
    bound = program.value(fit.state, held_out, particles=20) / len(held_out)
    print(f"negative bound on held-out rows: {bound:.3f} nats per row")
    print(f"KL per row: {fit.history['KL(z)'][0]:.2f} (weight 0) … {fit.history['KL(z)'][-1]:.2f} (weight 1)")
    print(f"noise: {float(fit.params['sigma']):.3f} (the data have 0.3)")
    return fit


if __name__ == "__main__":
    main()
