"""Chains of PyMC, by its own NUTS or by nutpie: ``python -m benchmarks.peers.chains_pymc SEED FILE KIND MODEL...``."""

import sys

import numpy as np
import nutpie
import pymc as pm

from benchmarks import chains


def schools():
    with pm.Model() as model:
        mu, tau, t = pm.Normal("mu", 0.0, 5.0), pm.HalfNormal("tau", 5.0), pm.Normal("t", 0.0, 1.0, shape=8)
        pm.Normal("y", mu + tau * t, chains.ERRORS, observed=chains.EFFECTS)
    return model, ("mu", "tau", "t")


def logistic(x, y):
    with pm.Model() as model:
        w = pm.Normal("w", 0.0, 1.0, shape=x.shape[1])
        pm.Bernoulli("y", logit_p=pm.math.dot(x, w), observed=y)
    return model, ("w",)


def mixed(y, x, group):
    with pm.Model() as model:
        beta = pm.Normal("beta", 0.0, 5.0, shape=2)
        sd = pm.HalfNormal.dist(2.0, shape=2)
        factor, _, _ = pm.LKJCholeskyCov("cov", n=2, eta=2.0, sd_dist=sd, compute_corr=True)
        u = pm.Normal("u", 0.0, 1.0, shape=(chains.GROUPS, 2))
        own = (beta + u @ factor.T)[group]
        pm.Normal("y", own[:, 0] + own[:, 1] * x, 0.5, observed=y)
    return model, ("beta", "u", "cov_stds", "cov_corr")


def by_pymc(model, names):
    with model:
        _, step = pm.init_nuts(chains=chains.CHAINS, random_seed=0, progressbar=False, init="jitter+adapt_diag")

    def sampler(seed):
        with model:
            found = pm.sample(
                chains.DRAWS, tune=chains.WARMUP, chains=chains.CHAINS, cores=1, random_seed=seed, step=step,
                progressbar=False, compute_convergence_checks=False,
            )  # fmt: skip
        return {name: found.posterior[name].values for name in names}

    return sampler


def by_nutpie(model, names):
    compiled = nutpie.compile_pymc_model(model)

    def sampler(seed):
        found = nutpie.sample(
            compiled, draws=chains.DRAWS, tune=chains.WARMUP, chains=chains.CHAINS, cores=1, seed=seed,
            progress_bar=False,
        )  # fmt: skip
        return {name: found.posterior[name].values for name in names}

    return sampler


def main():
    given, kind = np.load(sys.argv[2]), {"pymc": by_pymc, "nutpie": by_nutpie}[sys.argv[3]]
    models = {
        "eight schools": lambda: kind(*schools()),
        "logistic regression": lambda: kind(*logistic(given["x"], given["y"])),
        "linear mixed model": lambda: kind(*mixed(*chains.mixed())),
    }
    chains.report(models, sys.argv[4:], int(sys.argv[1]))


if __name__ == "__main__":
    main()
