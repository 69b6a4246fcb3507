"""Stochastic volatility: returns whose log-variance is a hidden autoregression, by a bound beside a particle filter.

h' ~ N(m + φ (h - m), s²), y ~ N(0, e^h). The guide collects discounted log-squares of the returns from t on in a loop
backwards, and draws h_t from h_{t-1} and that in a loop forwards; paths go through both. The likelihood has no closed
form; the bootstrap particle filter estimates it without bias. Kim, Shephard & Chib 1998; Gordon, Salmond & Smith 1993.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import ppl
from ppl import Normal
from ppl.models import common, pictures

TRUE = {"m": -1.0, "phi": 0.95, "s": 0.3}
SERIES, STEPS = 20, 200


def returns(count: int = SERIES, steps: int = STEPS, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Returns of the volatility model at `TRUE`, and the log-variances behind them: (count, steps) each."""
    rng = np.random.default_rng(seed)
    m, phi, s = TRUE["m"], TRUE["phi"], TRUE["s"]
    h = m + s / np.sqrt(1 - phi**2) * rng.normal(size=count)
    out, behind = np.zeros((count, steps)), np.zeros((count, steps))
    for t in range(steps):
        behind[:, t], out[:, t] = h, np.exp(h / 2) * rng.normal(size=count)
        h = m + phi * (h - m) + s * rng.normal(size=count)
    return out, behind


@ppl.model
def returns_model(y: Any) -> None:
    """Returns whose log-variance is an autoregression, one series a row."""
    m, phi = ppl.param("m", 0.0), ppl.param("phi", 0.5, constraint="unit_interval")
    s = ppl.param("s", 0.5, constraint="positive")
    with ppl.plate("data", y) as y:

        def step(before: Any, now: Any) -> tuple[Any, None]:
            mean, scale = before
            h = ppl.sample("h", Normal(mean, scale))
            ppl.sample("y", Normal(0.0, np.exp(0.5 * h)), obs=now)
            return (m + phi * (h - m), s), None

        ppl.scan(step, (m, s / np.sqrt(1 - phi**2)), y)


@ppl.model
def guide(y: Any) -> None:
    """h_t from h_{t-1} and discounted log-squares of the returns from t on, above a floor that is learned."""
    kept, fresh = ppl.param("kept", 0.5), ppl.param("fresh", 0.1)
    base, first = ppl.param("base", 0.0), ppl.param("first", 0.0)
    decay = ppl.param("decay", 0.8, constraint="unit_interval")
    scale, floor = (ppl.param(name, 0.5, constraint="positive") for name in ("scale", "floor"))
    with ppl.plate("data", y) as y:

        def back(ahead: Any, now: Any) -> tuple[Any, Any]:
            ahead = decay * ahead + (1 - decay) * np.log(now**2 + floor)
            return ahead, ahead

        _, ahead = ppl.scan(back, 0.0, y, reverse=True, name="ahead")

        def step(before: Any, b: Any) -> tuple[Any, None]:
            return ppl.sample("h", Normal(kept * before + fresh * b + base, scale)), None

        ppl.scan(step, first, ahead)


def particle_filter(y: np.ndarray, m: float, phi: float, s: float, particles: int, seed: int) -> float:
    """log p(y), estimated by the bootstrap filter."""
    rng = np.random.default_rng(seed)
    shape, total = (len(y), particles), 0.0
    h = m + s / np.sqrt(1 - phi**2) * rng.normal(size=shape)
    for now in y.T:
        weights = -0.5 * (np.log(2 * np.pi) + h + now[:, None] ** 2 * np.exp(-h))
        peak = weights.max(1, keepdims=True)
        likely = np.exp(weights - peak)
        total += float(np.sum(np.log(likely.mean(1)) + peak[:, 0]))
        cut = np.cumsum(likely, 1) / likely.sum(1, keepdims=True)
        at = (np.arange(particles) + rng.random((len(y), 1))) / particles
        kept = np.array([np.searchsorted(c, u) for c, u in zip(cut, at, strict=True)]).clip(max=particles - 1)
        h = m + phi * (np.take_along_axis(h, kept, 1) - m) + s * rng.normal(size=shape)
    return total


def main(argv: common.Arguments = None) -> int:
    """Fit the bound, compare it with the particle filter's likelihood, draw a series' volatility."""
    job = common.Job("volatility", __doc__, argv, epochs=2000, lr=2e-2)
    y, behind = returns(seed=job.options.seed)
    program = job.compile(ppl.elbo(returns_model, guide), data=y, dtype="float64")
    rate = ppl.optim.Adam(ppl.optim.exponential(job.options.lr, 0.998))
    fit = job.fit(program, y, batch_size=None, optimizer=rate)
    params = {name: float(fit.params[name]) for name in TRUE}
    bound = float(program.value(fit.state, y, particles=50, seed=1)) / y.size
    job.report("negative bound", bound, unit="nats per return")
    for label, at in (("at the learned parameters", params), ("at the true parameters", TRUE)):
        runs = [-particle_filter(y, **at, particles=2000, seed=seed) / y.size for seed in range(5)]
        job.report(
            f"negative log-likelihood by a particle filter, {label}",
            float(np.mean(runs)),
            float(np.std(runs) / np.sqrt(5)),
        )
    for name, value in params.items():
        job.report(f"{name} learned", value)
    h = program.sample(fit.state, y, sites=["h"], particles=200, seed=1)["h"][:, 0]
    gap = np.sqrt(np.mean((h.mean(0) - behind[0]) ** 2))
    job.report("root mean square distance of the log-variance, first series", gap)
    job.picture(draw(y[0], behind[0], h))
    return job.finish()


def draw(y: np.ndarray, behind: np.ndarray, h: np.ndarray) -> Any:
    """Returns, and the standard deviation behind them with what the guide says of it."""
    figure, (top, bottom) = pictures.pyplot().subplots(2, 1, figsize=(9, 5), sharex=True)
    times = np.arange(len(y))
    top.plot(times, y, "k", lw=0.6)
    top.set(ylabel="return", title="stochastic volatility, one series")
    low, middle, high = np.exp(np.quantile(h, [0.05, 0.5, 0.95], axis=0) / 2)
    bottom.fill_between(times, low, high, color="C0", alpha=0.3, label="guide, 90 %")
    bottom.plot(times, middle, "C0", lw=1.2, label="guide, median")
    bottom.plot(times, np.exp(behind / 2), "k", lw=0.9, label="truth")
    bottom.set(xlabel="time", ylabel="standard deviation")
    bottom.legend(fontsize=8)
    figure.tight_layout()
    return figure


if __name__ == "__main__":
    raise SystemExit(main())
