"""How fast should a server be? An M/M/1 queue as one loop of events, tuned by its score and by its path.

Customers come at rate 1. Time costs 1 a unit, a server of rate μ costs μ/4: μ = 3 is best. Glynn 1987; Ho & Cao 1983.
Run: python examples/tune_queue.py
"""

import numba
import numpy as np

import ppl
from ppl.models import pictures


@numba.njit
def queue(key, mu, customers=20):
    """Mean time in the system from the steady state on, the score, and the derivative along the path."""
    u, rho, wait, slope, score = ppl.random.uniform(key, 0), 1 / mu, 0.0, 0.0, 1 / (mu * (mu - 1))
    if u < rho:  # the first customer finds others: P(wait > w) = ρ e^(-(μ - 1) w)
        wait = np.log(rho / u) / (mu - 1)
        slope, score = -(rho + wait) / (mu - 1), 1 / (mu - 1) - rho - wait
    total = moved = 0.0
    for i in range(customers):
        service, gap = -np.log(ppl.random.uniform(key, 2 * i + 1)) / mu, -np.log(ppl.random.uniform(key, 2 * i + 2))
        total, score, moved = total + wait + service, score + 1 / mu - service, moved + slope - service / mu
        left = wait + service - gap  # for the next one, who comes after the gap
        wait, slope = max(left, 0.0), slope - service / mu if left > 0 else 0.0
    return total / customers, score, moved / customers


with_score = numba.njit(lambda key, mu: queue(key, mu)[:2])
alone = numba.njit(lambda key, mu: queue(key, mu)[0])  # differentiated along the path: the same events, moved
along_the_path = numba.njit(lambda key, mu, g: (queue(key, mu)[2] * g,))
WAYS = {"score": (with_score, {"score": True}), "path": (alone, {"key": True, "gradient": along_the_path})}


@ppl.model
def tune(*, way):
    """The mean cost of a hundred runs."""
    mu = 1.0 + ppl.param("spare", 0.8, constraint="positive")
    with ppl.plate("runs", 100):
        ppl.cost("cost", (ppl.external(WAYS[way][0], mu, name="queue", **WAYS[way][1]) + mu / 4) / 100)


def main(steps=1500):
    """Train in both ways and draw; returns the programs, and the rates over the steps."""
    programs, rates = {way: ppl.compile(tune.bind(way=way), dtype="float64") for way in WAYS}, {}
    figure, ax = pictures.pyplot().subplots(figsize=(7, 3.5), layout="constrained")
    for way, program in programs.items():
        state, rates[way], adam = program.init(seed=0), [], ppl.optim.Adam(lambda t: 0.05 / (1 + t / 300))
        for _ in range(steps):
            state, _ = program.update(state, optimizer=adam)
            rates[way].append(1 + float(program.params(state)["spare"]))
        ax.plot(rates[way], label=f"by its {way}: {np.mean(rates[way][-300:]):.3f}")
    ax.axhline(3.0, color="k", lw=0.8, label="best: 3")
    ax.set(xlabel="step", ylabel="rate of the server")
    ax.legend()
    pictures.save(figure, "outputs", "tune_queue")
    return programs, rates


if __name__ == "__main__":
    main()
