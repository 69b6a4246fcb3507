"""Posterior of the rates of a stochastic Lotka-Volterra system, from paths that Gillespie's algorithm draws.

Prey is born at rate a X, eaten at rate b X Y, predators die at rate c Y. The log-density of a path is one loop over its
events, with a gradient of its own; under Gamma priors the exact posterior is known, too. Gillespie 1977.
Run: python examples/gillespie_posterior.py
"""

import numba
import numpy as np
from scipy import stats

import ppl
from ppl import Gamma, LogNormal
from ppl.models import pictures

TRUE, START, CHANGE = np.array([1.0, 0.01, 0.6]), np.array([60, 60]), np.array([[1, 0], [-1, 1], [0, -1]])
PRIOR = np.full(3, 2.0), np.array([2.0, 200.0, 2.0])  # shapes and rates


@numba.njit
def path(rates, waits, kinds, seed=-1):
    """Log-density of a path and its derivative in the rates; a seed writes a new path first."""
    state, total, slope = START.copy(), 0.0, np.zeros(3)
    np.random.seed(max(seed, 0))
    for i in range(waits.size):
        hazards = np.array([state[0], state[0] * state[1], state[1]]) * 1.0
        speed = np.cumsum(rates * hazards)
        if seed >= 0:
            waits[i] = np.random.exponential(1 / speed[2])
            kinds[i] = np.searchsorted(speed, np.random.random() * speed[2])
        total += np.log(rates[kinds[i]] * hazards[kinds[i]]) - speed[2] * waits[i]
        slope -= hazards * waits[i]
        slope[kinds[i]] += 1 / rates[kinds[i]]
        state += CHANGE[kinds[i]]
    return total, slope


log_density = numba.njit(lambda rates, waits, kinds: path(rates, waits, kinds)[0])
gradient = numba.njit(lambda rates, waits, kinds, g: (path(rates, waits, kinds)[1] * g, np.zeros_like(waits), 0))


@ppl.model
def model(waits, kinds):
    """Rates with Gamma priors, and the paths that are seen."""
    rates = ppl.sample("rates", Gamma(*PRIOR))
    with ppl.plate("paths", waits, kinds) as (waits, kinds):
        ppl.factor("path", ppl.external(log_density, rates, waits, kinds, gradient=gradient))


@ppl.model
def guide():
    """Log-normal rates."""
    scale = ppl.param("scale", np.full(3, 0.1), constraint="positive")
    ppl.sample("rates", LogNormal(ppl.param("loc", np.log(TRUE) + 0.5), scale))


def main(steps=1500, shape=(4, 400)):
    """Draw paths, fit the guide, and draw it beside the exact posterior; returns both."""
    waits, kinds = np.zeros(shape), np.zeros(shape, np.int64)
    slopes = sum(path(TRUE, waits[i], kinds[i], i)[1] for i in range(len(waits)))
    counts = np.bincount(kinds.ravel(), minlength=3)
    exact = stats.gamma(PRIOR[0] + counts, scale=1 / (PRIOR[1] + counts / TRUE - slopes))
    program = ppl.compile(ppl.elbo(model, guide), dtype="float64", particles=4, data=(waits, kinds))
    adam = ppl.optim.Adam(lambda t: 0.03 / (1 + t / 100))
    fit = ppl.fit(program, waits, kinds, steps=steps, optimizer=adam, progress=False)
    found = stats.lognorm(fit.params["scale"], scale=np.exp(fit.params["loc"]))
    figure, axes = pictures.pyplot().subplots(1, 3, figsize=(11, 3), layout="constrained")
    x = np.linspace(0.7, 1.3, 200)[:, None] * TRUE
    for i, name in enumerate(("birth", "eating", "death")):
        axes[i].plot(x[:, i], exact.pdf(x)[:, i], x[:, i], found.pdf(x)[:, i], "--")
        axes[i].set(xlabel=f"rate of {name}")
    axes[0].legend(["exact posterior", "guide"], fontsize=8, loc="upper left")
    pictures.save(figure, "outputs", "gillespie_posterior")
    return found, exact


if __name__ == "__main__":
    main()
