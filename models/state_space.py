"""A linear-Gaussian chain in a loop over time: variational bounds and the exact likelihood beside the Kalman filter.

z' ~ N(a z, q²), y ~ N(z, r²). `exact` is the Kalman filter as a model, predictive densities in a `ppl.scan`, fitted by
maximum likelihood. Two guides draw the states in the same loop. The filtering one, N(α_t z_{t-1} + β_t y_t, σ_t²) for
z_t, knows nothing of what is to come, so its bound stays below the likelihood. The smoothing one first runs backwards,
b_t = c_t b_{t+1} + y_t, and reads b_t in place of y_t; the exact posterior is of this form, so that the bound can reach
the likelihood. Kalman 1960; Rauch, Tung & Striebel 1965; Krishnan, Shalit & Sontag 2017.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import ppl
from ppl import Normal
from ppl.models import common, pictures

TRUE = {"a": 0.9, "q": 0.6, "r": 1.0}
SERIES, STEPS = 20, 50
START = 1.0
"""The standard deviation of the first state."""


def series(count: int = SERIES, steps: int = STEPS, seed: int = 0) -> np.ndarray:
    """Observations of the linear-Gaussian model at `TRUE`: (count, steps)."""
    rng = np.random.default_rng(seed)
    z, out = START * rng.normal(size=count), np.zeros((count, steps))
    for t in range(steps):
        out[:, t] = z + TRUE["r"] * rng.normal(size=count)
        z = TRUE["a"] * z + TRUE["q"] * rng.normal(size=count)
    return out


def _chain() -> tuple[Any, Any, Any]:
    a = ppl.param("a", 0.5)
    q, r = (ppl.param(name, 1.0, constraint="positive") for name in ("q", "r"))
    return a, q, r


@ppl.model
def linear(y: Any) -> None:
    """Series of a linear-Gaussian chain, one a row."""
    a, q, r = _chain()
    with ppl.plate("data", y) as y:

        def step(before: Any, now: Any) -> tuple[Any, None]:
            mean, scale = before
            z = ppl.sample("z", Normal(mean, scale))
            ppl.sample("y", Normal(z, r), obs=now)
            return (a * z, q), None

        ppl.scan(step, (0.0, START), y)


@ppl.model
def exact(y: Any) -> None:
    """The same chain with its states integrated out: what the Kalman filter predicts of every observation."""
    a, q, r = _chain()
    with ppl.plate("data", y) as y:

        def step(belief: Any, now: Any) -> tuple[Any, None]:
            mean, variance = belief
            total = variance + r**2
            ppl.sample("y", Normal(mean, np.sqrt(total)), obs=now)
            gain = variance / total
            return (a * (mean + gain * (now - mean)), a**2 * (1 - gain) * variance + q**2), None

        ppl.scan(step, (0.0, START**2), y)


@ppl.model
def filtering(y: Any, *, steps: int = STEPS) -> None:
    """z_t from z_{t-1} and y_t, with gains of every step's own."""
    kept, fresh, scale = _gains(steps)
    with ppl.plate("data", y) as y:

        def step(before: Any, x: Any) -> tuple[Any, None]:
            k, f, s, now = x
            return ppl.sample("z", Normal(k * before + f * now, s)), None

        ppl.scan(step, 0.0, (kept, fresh, scale, y))


@ppl.model
def smoothing(y: Any, *, steps: int = STEPS) -> None:
    """z_t from z_{t-1} and what the observations from t on say, with gains of every step's own."""
    kept, fresh, scale = _gains(steps)
    decay = ppl.param("decay", 0.0, shape=(steps,))
    with ppl.plate("data", y) as y:

        def back(ahead: Any, x: Any) -> tuple[Any, Any]:
            now, c = x
            ahead = c * ahead + now
            return ahead, ahead

        _, ahead = ppl.scan(back, 0.0, (y, decay), reverse=True, name="ahead")

        def step(before: Any, x: Any) -> tuple[Any, None]:
            k, f, s, b = x
            return ppl.sample("z", Normal(k * before + f * b, s)), None

        ppl.scan(step, 0.0, (kept, fresh, scale, ahead))


def _gains(steps: int) -> tuple[Any, Any, Any]:
    kept, fresh = (ppl.param(name, value, shape=(steps,)) for name, value in (("kept", 0.3), ("fresh", 0.3)))
    return kept, fresh, ppl.param("scale", 0.7, shape=(steps,), constraint="positive")


def kalman(y: np.ndarray, a: float, q: float, r: float) -> tuple[float, np.ndarray, np.ndarray]:
    """log p(y), and means and variances of p(z_t | y_1 … y_t), the latter the same for all series."""
    mean, variance, log_prob = np.zeros(len(y)), START**2, 0.0
    means, variances = np.zeros(y.shape), np.zeros(y.shape[1])
    for t, now in enumerate(y.T):
        total = variance + r**2
        log_prob -= 0.5 * np.sum(np.log(2 * np.pi * total) + (now - mean) ** 2 / total)
        means[:, t] = mean + variance / total * (now - mean)
        variances[t] = variance * r**2 / total
        mean, variance = a * means[:, t], a**2 * variances[t] + q**2
    return float(log_prob), means, variances


def smoother(y: np.ndarray, a: float, q: float, r: float) -> tuple[np.ndarray, np.ndarray]:
    """Means and variances of p(z_t | y), by Rauch, Tung and Striebel's recursion."""
    _, means, variances = kalman(y, a, q, r)
    means, variances = means.copy(), variances.copy()
    for t in range(y.shape[1] - 2, -1, -1):
        ahead = a**2 * variances[t] + q**2
        gain = a * variances[t] / ahead
        means[:, t] += gain * (means[:, t + 1] - a * means[:, t])
        variances[t] += gain**2 * (variances[t + 1] - ahead)
    return means, variances


def maximum_likelihood(y: np.ndarray) -> dict[str, float]:
    """a, q, r of the largest likelihood, by Nelder and Mead on the Kalman filter, and the negative logarithm there."""
    from scipy.optimize import minimize

    found = minimize(lambda x: -kalman(y, x[0], *np.exp(x[1:]))[0], [0.5, 0.0, 0.0], method="Nelder-Mead",
                     options={"xatol": 1e-8, "fatol": 1e-8, "maxiter": 4000})  # fmt: skip
    return {"a": found.x[0], "q": np.exp(found.x[1]), "r": np.exp(found.x[2]), "loss": found.fun}


def main(argv: common.Arguments = None) -> int:
    """Fit the likelihood and both bounds, compare with the Kalman filter, draw a series and its smoothed states."""
    job = common.Job("state_space", __doc__, argv, epochs=3000, lr=2e-2)
    y = series(seed=job.options.seed)
    best, per = maximum_likelihood(y), y.size
    job.report("negative log-likelihood, maximum by Nelder and Mead", best["loss"] / per, unit="nats per observation")
    found = {"exact": ppl.likelihood(exact), "filtering": ppl.elbo(linear, filtering),
             "smoothing": ppl.elbo(linear, smoothing)}  # fmt: skip
    fits = {}
    for name, objective in found.items():
        program = job.compile(objective, data=y, dtype="float64")
        rate = ppl.optim.Adam(ppl.optim.exponential(job.options.lr, 0.999))
        fits[name] = fit = job.fit(program, y, batch_size=None, optimizer=rate, label=name)
        many = 1 if name == "exact" else 200
        loss = float(program.value(fit.state, y, particles=many, seed=1)) / per
        truth = -kalman(y, *(float(fit.params[k]) for k in "aqr"))[0] / per
        job.report(f"negative log-likelihood or bound, {name}", loss, unit="nats per observation")
        job.report(f"negative log-likelihood at its parameters by the Kalman filter, {name}", truth)
        job.report(f"distance of a from maximum likelihood, {name}", abs(float(fit.params["a"]) - best["a"]))
    program = ppl.compile(found["smoothing"], data=y, dtype="float64")
    z = program.sample(fits["smoothing"].state, y, sites=["z"], particles=500, seed=1)["z"][:, 0]
    means, variances = smoother(y[:1], *(float(fits["smoothing"].params[k]) for k in "aqr"))
    away = np.abs(z.mean(0) - means[0]) / np.sqrt(variances)
    job.report("largest distance of a smoothed state", away.max(), unit="posterior standard deviations")
    job.picture(draw(y[0], z, means[0], np.sqrt(variances)))
    return job.finish()


def draw(y: np.ndarray, z: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> Any:
    """One series, the states that the guide draws, and the exact posterior."""
    figure, ax = pictures.pyplot().subplots(figsize=(9, 4))
    times = np.arange(len(y))
    ax.plot(times, y, ".", color="0.6", label="observations")
    ax.plot(times, z[:20].T, color="C0", lw=0.4, alpha=0.6)
    ax.plot(times, z.mean(0), "C0", lw=1.5, label="smoothing guide: mean, 20 draws")
    for sign in (-2, 0, 2):
        ax.plot(times, mean + sign * scale, "k--", lw=0.9, label=None if sign else "exact posterior, ± 2σ")
    ax.set(xlabel="time", ylabel="z, y", title="a linear-Gaussian chain")
    ax.legend(fontsize=8)
    figure.tight_layout()
    return figure


if __name__ == "__main__":
    raise SystemExit(main())
