"""Models of these tests, and what is known of their posteriors by routes that share no code with the package."""

import numpy as np

import ppl
from ppl import Normal

EFFECTS = np.array([28.0, 8, -3, 7, -1, 1, 18, 12])
ERRORS = np.array([15.0, 10, 16, 11, 9, 11, 10, 18])


@ppl.model
def supports(y):
    """A latent on every support, each with a density of its own; the observation is of no consequence."""
    ppl.sample("real", Normal([0.3, -1.0], 0.8))
    ppl.sample("positive", ppl.Gamma(2.0, 1.5))
    ppl.sample("unit", ppl.Beta([2.0, 1.5], [3.0, 1.2]))
    low = ppl.sample("low", ppl.Exponential(1.0))
    ppl.sample("above", ppl.Uniform(low, low + 2.0))
    ppl.sample("half", ppl.TruncatedNormal(0.3, 1.2, high=1.0))
    ppl.sample("simplex", ppl.Dirichlet([2.0, 1.5, 3.0]))
    ppl.sample("factor", ppl.LKJCholesky(3, 2.0))
    ppl.sample("angle", ppl.VonMises(0.5, 1.5))
    ppl.sample("bent", ppl.Transformed(ppl.Gamma(2.0, 1.5), ppl.bijectors.Affine(1.0, -2.0)))
    cov = np.array([[1.0, 0.6], [0.6, 2.0]])
    ppl.sample("pair", ppl.MultivariateNormal([0.5, -0.5], covariance_matrix=cov))
    with ppl.plate("data", y) as y:
        ppl.sample("y", Normal(0.0, 1.0), obs=y)


@ppl.model
def rows(y, seen, *, mean):
    """Normal rows with a normal mean, some of them missing: all is normal, and known in closed form."""
    m = ppl.sample("m", Normal(mean, 2.0))
    with ppl.plate("data", y, seen) as (y, seen):
        z = ppl.sample("z", Normal(m, 1.5))
        ppl.deterministic("twice", 2.0 * z)
        ppl.sample("y", Normal(z, 0.5), obs=y, obs_mask=seen)


def rows_posterior(y, seen):
    """Means and standard deviations of (m, z_1, ..., z_n): the precision matrix is written out and inverted."""
    n = len(y)
    precision, shift = np.zeros((n + 1, n + 1)), np.zeros(n + 1)
    precision[0, 0], shift[0] = 1 / 4 + n / 1.5**2, 1.0 / 4
    for i in range(n):
        precision[0, 1 + i] = precision[1 + i, 0] = -1 / 1.5**2
        precision[1 + i, 1 + i] = 1 / 1.5**2 + seen[i] / 0.25
        shift[1 + i] = y[i] / 0.25 if seen[i] else 0.0
    covariance = np.linalg.inv(precision)
    return covariance @ shift, np.sqrt(np.diag(covariance))


@ppl.model
def mixture(x):
    """Rows of two components with a latent between component and data."""
    w = ppl.sample("w", ppl.Beta(2.0, 2.0))
    with ppl.plate("data", x) as x:
        k = ppl.sample("k", ppl.Bernoulli(probs=w))
        z = ppl.sample("z", Normal(2.0 * k - 1.0, 0.5))
        ppl.sample("x", Normal(z, 0.8), obs=x)


def mixture_posterior(x):
    """Mean of w, of its square, and of the rows' z, by quadrature over w."""
    w = np.linspace(0, 1, 4001)[1:-1, None]
    spread = np.sqrt(0.5**2 + 0.8**2)
    one, zero = (np.exp(-0.5 * ((x - c) / spread) ** 2) for c in (1.0, -1.0))
    logs = np.log(w * (1 - w))[:, 0] + np.log(w * one + (1 - w) * zero).sum(1)
    weights = np.exp(logs - logs.max())
    weights /= weights.sum()
    share = w * one / (w * one + (1 - w) * zero)
    up, down = ((c / 0.25 + x / 0.64) / (1 / 0.25 + 1 / 0.64) for c in (1.0, -1.0))
    return weights @ w[:, 0], weights @ w[:, 0] ** 2, weights @ (share * up + (1 - share) * down)


def within(draws, mean, most=4.5):
    """Whether the means of draws, of shape (chains, draws, ...), are within standard errors of what they should be.

    A standard error is the standard deviation over the root of the effective sample size, as ArviZ has it.
    """
    import arviz

    x = np.asarray(draws).reshape(*draws.shape[:2], -1)
    mean = np.broadcast_to(mean, draws.shape[2:]).reshape(-1)
    for i in range(x.shape[2]):
        error = x[:, :, i].std() / np.sqrt(float(arviz.ess(x[:, :, i], method="mean")))
        if abs(x[:, :, i].mean() - mean[i]) > most * error:
            return False
    return True
