"""Chains of NumPyro's NUTS: ``python -m benchmarks.peers.chains_numpyro SEED FILE MODEL...``."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

from benchmarks import chains

numpyro.enable_x64()


def schools(y, e):
    mu, tau = numpyro.sample("mu", dist.Normal(0.0, 5.0)), numpyro.sample("tau", dist.HalfNormal(5.0))
    with numpyro.plate("school", 8):
        t = numpyro.sample("t", dist.Normal(0.0, 1.0))
        numpyro.sample("y", dist.Normal(mu + tau * t, e), obs=y)


def logistic(x, y):
    w = numpyro.sample("w", dist.Normal(jnp.zeros(x.shape[1]), 1.0).to_event(1))
    with numpyro.plate("data", len(x)):
        numpyro.sample("y", dist.Bernoulli(logits=x @ w), obs=y)


def mixed(y, x, group):
    beta = numpyro.sample("beta", dist.Normal(jnp.zeros(2), 5.0).to_event(1))
    scales = numpyro.sample("scales", dist.HalfNormal(jnp.full(2, 2.0)).to_event(1))
    factor = numpyro.sample("factor", dist.LKJCholesky(2, 2.0))
    u = numpyro.sample("u", dist.Normal(jnp.zeros((chains.GROUPS, 2)), 1.0).to_event(2))
    own = (beta + u @ (scales[:, None] * factor).T)[group]
    with numpyro.plate("data", len(x)):
        numpyro.sample("y", dist.Normal(own[:, 0] + own[:, 1] * x, 0.5), obs=y)


def made(model, *data):
    kernel = numpyro.infer.NUTS(model)
    run = numpyro.infer.MCMC(
        kernel, num_warmup=chains.WARMUP, num_samples=chains.DRAWS, num_chains=chains.CHAINS,
        chain_method="sequential", progress_bar=False,
    )  # fmt: skip

    def sampler(seed):
        run.run(jax.random.PRNGKey(seed), *data)
        return {name: np.asarray(x) for name, x in run.get_samples(group_by_chain=True).items()}

    return sampler


def main():
    given = np.load(sys.argv[2])
    models = {
        "eight schools": lambda: made(schools, chains.EFFECTS, chains.ERRORS),
        "logistic regression": lambda: made(logistic, given["x"], given["y"]),
        "linear mixed model": lambda: made(mixed, *chains.mixed()),
    }
    chains.report(models, sys.argv[3:], int(sys.argv[1]))


if __name__ == "__main__":
    main()
