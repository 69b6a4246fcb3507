"""A Gaussian mixture by marginal likelihood, by enumerated and by relaxed assignments, on the iris data.

    z ~ Categorical(π),  x | z ~ N(μ_z, diag σ_z²)

* marginal: log Σ_k π_k N(x; μ_k, σ_k²), the assignment summed out by log-sum-exp;
* enumerated: the bound E_q[log p(x, z) - log q(z | x)] with q summed exactly. The true posterior is a softmax of an
  affine function of (x, x²), and so is the guide here: at the optimum the bound is the likelihood;
* relaxed: the same bound with one-hot assignments relaxed to softmax((logits + Gumbel)/τ), τ annealed. Biased.

All three are judged by the exact likelihood of their components, best of several starts, as scikit-learn's EM is.
Dempster, Laird & Rubin 1977; Jang et al. 2017; Maddison et al. 2017.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import ppl
from ppl import Categorical, Normal, OneHotCategorical, estimators
from ppl.models import common, data, pictures

K = 3
TEMPERATURE = ppl.hyper("temperature", 1.0)


def _components(features: int) -> tuple[Any, Any, Any]:
    weights = ppl.param("weights", np.full(K, 1 / K), constraint="simplex")
    loc = ppl.param("loc", ppl.init.normal(1.0), shape=(K, features))
    return weights, loc, ppl.param("scale", 1.0, shape=(K, features), constraint="positive")


def _assignment(x: Any) -> Any:
    return ppl.dense("guide", np.concatenate([x, x**2]), K)


@ppl.model
def mixture(x: Any) -> None:
    """z → x with an integer assignment."""
    weights, loc, scale = _components(x.shape[1])
    with ppl.plate("data", x) as x:
        z = ppl.sample("z", Categorical(weights))
        ppl.sample("x", Normal(loc[z], scale[z]), obs=x)


@ppl.model
def guide(x: Any) -> None:
    """q(z | x), a softmax of an affine function of (x, x²)."""
    with ppl.plate("data", x) as x:
        ppl.sample("z", Categorical(logits=_assignment(x)))


@ppl.model
def one_hot_mixture(x: Any) -> None:
    """z → x with a one-hot assignment: between its corners the log-density is interpolated."""
    weights, loc, scale = _components(x.shape[1])
    with ppl.plate("data", x) as x:
        z = ppl.sample("z", OneHotCategorical(weights))
        standard = (x - loc) / scale
        log_density = -np.sum(0.5 * standard**2 + np.log(scale) + 0.5 * np.log(2 * np.pi), axis=1)
        ppl.cost("-log p(x | z)", -(z @ log_density))


@ppl.model
def one_hot_guide(x: Any) -> None:
    """q(z | x) over one-hot assignments."""
    with ppl.plate("data", x) as x:
        ppl.sample("z", OneHotCategorical(logits=_assignment(x)))


METHODS: dict[str, tuple[Any, Any]] = {
    "marginal": (ppl.likelihood(mixture, marginalize="z"), "auto"),
    "enumerated": (ppl.elbo(mixture, guide), estimators.Enumerate()),
    "relaxed": (ppl.elbo(one_hot_mixture, one_hot_guide), estimators.Relaxed(temperature=TEMPERATURE)),
}


def negative_log_likelihood(params: Any, x: np.ndarray) -> float:
    """Per row, exactly."""
    standard = (x[:, None] - params["loc"]) / params["scale"]
    joint = np.log(params["weights"]) - (0.5 * standard**2 + np.log(params["scale"]) + 0.5 * np.log(2 * np.pi)).sum(2)
    return -float(ppl.logsumexp(joint, axis=1).mean())


def iris() -> np.ndarray:
    """150 standardised rows of 4 measurements."""
    return data.standardised(data.sklearn("iris").data)


def train(job: common.Job, name: str, x: np.ndarray) -> tuple[float, Any, float]:
    """The best of several starts by exact likelihood: that likelihood, the components, the loss of the objective."""
    objective, estimator = METHODS.get(name) or (ppl.elbo(mixture, guide), common.estimator(name))
    program = job.compile(
        objective, data=(x,), dtype="float64", estimators=estimator, **({"particles": 1} if name in METHODS else {})
    )
    hyper = {"temperature": ppl.optim.exponential(1.0, 0.3, job.options.epochs)} if name == "relaxed" else None
    found = []
    for start in range(job.options.starts):
        rng = np.random.default_rng([job.options.seed, start])
        state = program.init(job.options.seed + start, x, params={"loc": x[rng.choice(len(x), K, replace=False)]})
        rate = ppl.optim.cosine(job.options.lr, 0.01 * job.options.lr, job.options.epochs)
        settings = {"state": state, "hyper": hyper, "batch_size": len(x), "optimizer": ppl.optim.Adam(rate)}
        fit = job.fit(program, x, label=f"{name}-{start}", **settings)
        found.append((negative_log_likelihood(fit.params, x), fit.params, float(fit.history["loss"][-1])))
    return min(found, key=lambda f: f[0])


def expectation_maximisation(x: np.ndarray, starts: int, seed: int) -> dict[str, np.ndarray]:
    """Weights, loc and scale of scikit-learn's mixture, best of several starts."""
    from sklearn.mixture import GaussianMixture

    em = GaussianMixture(K, covariance_type="diag", n_init=starts, tol=1e-8, max_iter=5000, random_state=seed).fit(x)
    return {"weights": em.weights_, "loc": em.means_, "scale": np.sqrt(em.covariances_)}


def main(argv: common.Arguments = None) -> int:
    """Train by all three objectives, compare with scikit-learn's mixture, draw the components."""
    job = common.Job("gmm", __doc__, argv, epochs=1500, lr=2e-2, batch_size=None, starts=5, particles=2)
    x = iris()
    methods = [*METHODS, *({job.options.estimator} - {"auto"})]
    found = {name: train(job, name, x) for name in methods}
    em = expectation_maximisation(x, 20, job.options.seed)
    for name, (value, _, loss) in found.items():
        job.report(f"negative log-likelihood, {name}", value, unit="nats per row")
        job.report(f"objective, {name}", loss, unit="nats per row")
    job.report("negative log-likelihood, scikit-learn's EM", negative_log_likelihood(em, x), unit="nats per row")
    figure, axes = pictures.pyplot().subplots(1, len(methods) + 1, figsize=(4 * len(methods) + 3, 3.8), sharey=True)
    drawn = {**{name: params for name, (_, params, _) in found.items()}, "scikit-learn's EM": em}
    for ax, (name, params) in zip(axes, drawn.items(), strict=True):
        draw(ax, name, params, x)
    figure.tight_layout()
    job.picture(figure)
    return job.finish()


def draw(ax: Any, name: str, params: Any, x: np.ndarray) -> None:
    """Sepal width and petal length, with one and two standard deviations of every component."""
    ax.scatter(x[:, 1], x[:, 2], s=8, c=data.sklearn("iris").target, cmap="Dark2", alpha=0.8)
    angle = np.linspace(0, 2 * np.pi, 100)
    for k in np.argsort(params["loc"][:, 2]):
        for width in (1, 2):
            reach = width * params["scale"][k]
            ax.plot(params["loc"][k, 1] + reach[1] * np.cos(angle), params["loc"][k, 2] + reach[2] * np.sin(angle),
                    "k", lw=1.2 / width)  # fmt: skip
    ax.set(xlabel="sepal width", title=f"{name}: {negative_log_likelihood(params, x):.4f} nats per row")
    ax.set_ylabel("petal length")


if __name__ == "__main__":
    raise SystemExit(main())
