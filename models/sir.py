"""An epidemic in tau-leaps, calibrated to a curve of new cases: gradients through binomial draws.

Of S susceptible people, Binomial(S, 1 - exp(-β I / N)) fall ill in a day, and Binomial(I, 1 - exp(-γ)) of those who are
ill recover. The cost is the expected squared distance of the daily new cases from an observed curve. No path goes
through the counts; the score function weighs every draw by the distances of its own and later days, against those of
the other runs. In a small population the law of (S, I) is a table, so the expectation is exact, by going through all
pairs of draws day by day. Kermack & McKendrick 1927; Gillespie 2001.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

import ppl
from ppl import Binomial
from ppl.models import common, pictures

PEOPLE, ILL, DAYS = 30, 3, 15


class Rates(NamedTuple):
    """New cases per ill person and day among susceptible people only, and recoveries per ill person and day."""

    beta: float
    gamma: float


TRUE, START = Rates(0.7, 0.25), Rates(0.4, 0.5)


@ppl.model
def epidemic(*, cases: tuple[float, ...], people: int = PEOPLE, ill: int = ILL) -> None:
    """The squared distance of new cases from `cases`, day by day."""
    beta, gamma = (ppl.param(name, getattr(START, name), constraint="positive") for name in Rates._fields)

    def step(now: Any, observed: Any) -> tuple[Any, None]:
        s, i = now
        new = ppl.sample("new", Binomial(s, 1 - np.exp(-beta * i / people)))
        well = ppl.sample("well", Binomial(i, 1 - np.exp(-gamma)))
        ppl.cost("distance", (new - observed) ** 2)
        return (s - new, i + new - well), None

    ppl.scan(step, (people - ill, ill), np.array(cases))


def _binomials(most: int, probs: np.ndarray) -> np.ndarray:
    """P(k of n) for n up to `most` at every probability: (probabilities, n, k)."""
    out = np.zeros((len(probs), most + 1, most + 1))
    out[:, 0, 0] = 1.0
    for n in range(most):
        out[:, n + 1] = out[:, n] * (1 - probs[:, None])
        out[:, n + 1, 1:] += out[:, n, :-1] * probs[:, None]
    return out


def laws(rates: Rates, people: int = PEOPLE, ill: int = ILL, days: int = DAYS) -> np.ndarray:
    """P(new cases = k) on every day, (days, people + 1): all states (S, I) and draws, day by day."""
    infect = _binomials(people, 1 - np.exp(-rates.beta * np.arange(people + 1) / people))
    recover = _binomials(people, np.array([1 - np.exp(-rates.gamma)]))[0]
    law, out = np.zeros((people + 1, people + 1)), np.zeros((days, people + 1))
    law[people - ill, ill] = 1.0
    for day in range(days):
        after = np.zeros_like(law)
        for s, i in zip(*np.nonzero(law), strict=True):
            chance = law[s, i] * infect[i, s, : s + 1]
            out[day, : s + 1] += chance
            for new in range(s + 1):
                after[s - new, new : new + i + 1] += chance[new] * recover[i, i::-1]
        law = after
    return out


def expected_cost(cases: np.ndarray, rates: Rates, people: int = PEOPLE, ill: int = ILL) -> float:
    """The expected squared distance, exactly."""
    law = laws(rates, people, ill, len(cases))
    return float((law * (np.arange(people + 1) - cases[:, None]) ** 2).sum())


def curve(rates: Rates, people: int = PEOPLE, ill: int = ILL, days: int = DAYS) -> np.ndarray:
    """Expected new cases on every day."""
    return laws(rates, people, ill, days) @ np.arange(people + 1.0)


def best(cases: np.ndarray) -> tuple[Rates, float]:
    """The parameters of the smallest expected cost and that cost, by Nelder and Mead."""
    from scipy.optimize import minimize

    found = minimize(lambda x: expected_cost(cases, Rates(*np.exp(x))), np.log(START), method="Nelder-Mead",
                     options={"xatol": 1e-4, "fatol": 1e-6})  # fmt: skip
    return Rates(*np.exp(found.x).tolist()), float(found.fun)


def main(argv: common.Arguments = None) -> int:
    """Calibrate, compare with the exact optimum, draw the curves."""
    extras: dict[str, Any] = {"steps": 1500, "particles": 64}
    job = common.Job("sir", __doc__, argv, epochs=None, batch_size=None, lr=3e-2, **extras)
    options = job.options
    cases = curve(TRUE)
    name = "ScoreFunction:leave_one_out" if options.estimator == "auto" else options.estimator
    model = epidemic.bind(cases=tuple(float(x) for x in cases))
    program = job.compile(model, dtype="float64", estimators=common.estimator(name))
    rate = ppl.optim.Adam(ppl.optim.exponential(options.lr, 0.997))
    fit = job.fit(program, steps=options.steps, optimizer=rate)
    learned = Rates(*(float(fit.params[name]) for name in Rates._fields))
    found, least = best(cases)
    job.report("expected squared distance at the start, exact", expected_cost(cases, START))
    job.report("expected squared distance learned, exact", expected_cost(cases, learned))
    job.report("expected squared distance, least", least)
    for name in Rates._fields:
        job.report(f"{name} learned", getattr(learned, name))
        job.report(f"{name} of the least distance", getattr(found, name))
    runs = program.sample(fit.state, sites=["new"], particles=200, seed=1)["new"]
    job.picture(draw(cases, runs, curve(learned), curve(START)))
    return job.finish()


def draw(cases: np.ndarray, runs: np.ndarray, learned: np.ndarray, start: np.ndarray) -> Any:
    """The observed curve, simulated epidemics, and expected curves before and after."""
    figure, ax = pictures.pyplot().subplots(figsize=(7.5, 4.2))
    days = np.arange(1, len(cases) + 1)
    ax.plot(days, runs[:40].T, color="C0", lw=0.4, alpha=0.4)
    ax.plot(days, learned, "C0", lw=1.8, label="expected, calibrated; thin: 40 epidemics")
    ax.plot(days, start, "C1--", lw=1.2, label="expected, at the start")
    ax.plot(days, cases, "ko", ms=4, label="observed")
    ax.set(xlabel="day", ylabel="new cases", title=f"an epidemic among {PEOPLE} people")
    ax.legend(fontsize=8)
    figure.tight_layout()
    return figure


if __name__ == "__main__":
    raise SystemExit(main())
