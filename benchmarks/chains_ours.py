"""Our side of the comparison of chains: ``python -m benchmarks.chains_ours SEED MODEL...``."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

import ppl
from benchmarks import chains
from ppl import Normal
from ppl.chains import nuts
from ppl.chains.arviz_data import evaluate_sites, group_sites
from ppl.chains.log_density import CompiledDensity
from ppl.chains.mcmc import prepare_density
from ppl.models import bayes_logistic


@ppl.model
def schools(y: Any, e: Any) -> None:
    """Eight schools, standard normals scaled."""
    mu, tau = ppl.sample("mu", Normal(0.0, 5.0)), ppl.sample("tau", ppl.HalfNormal(5.0))
    with ppl.plate("school", y, e) as (y, e):
        ppl.sample("y", Normal(mu + tau * ppl.sample("t", Normal(0.0, 1.0)), e), obs=y)


@ppl.model
def mixed(y: Any, x: Any, group: Any) -> None:
    """Intercepts and slopes by group, correlated."""
    beta = ppl.sample("beta", Normal(np.zeros(2), 5.0))
    scales = ppl.sample("scales", ppl.HalfNormal(np.full(2, 2.0)))
    factor = ppl.sample("factor", ppl.LKJCholesky(2, 2.0))
    u = ppl.sample("u", Normal(np.zeros((chains.GROUPS, 2)), 1.0))
    effects = beta + u @ (np.reshape(scales, (2, 1)) * factor).T
    with ppl.plate("data", y, x, group) as (y, x, group):
        own = effects[group]
        ppl.sample("y", Normal(own[0] + own[1] * x, 0.5), obs=y)


def made(model: Any, *data: Any) -> chains.Sampler:
    """A sampler that compiles in its first run."""
    _, bound, _ = prepare_density(model, data, (), None, 0, None)
    walk = CompiledDensity(bound, 2)

    def sampler(seed: int) -> chains.Sampled:
        options = nuts.NutsSettings(chains.DRAWS, chains.WARMUP, chains.CHAINS, seed, 1, 0.8, 10)
        reals = nuts.run_chains(walk, options, False).reals
        values = evaluate_sites(bound, reals.reshape(-1, walk.size), group_sites(bound.compiled.trace).posterior)
        return {name: x.reshape(*reals.shape[:2], *x.shape[1:]) for name, x in values.items()}

    return sampler


MODELS = {
    "eight schools": lambda: made(schools, chains.EFFECTS, chains.ERRORS),
    "logistic regression": lambda: made(bayes_logistic.generative, *bayes_logistic.rows()[:2]),
    "linear mixed model": lambda: made(mixed, *chains.mixed()),
}

if __name__ == "__main__":
    chains.report(MODELS, sys.argv[2:], int(sys.argv[1]))
