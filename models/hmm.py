"""A hidden Markov model: the states of a loop summed out, beside Baum and Welch's algorithm.

z' ~ Categorical(table[z]), y ~ N(mean[z], scale[z]²). `ppl.likelihood(..., marginalize=["z"])` sums a chain in a
`ppl.scan` by the forward algorithm, in T K² operations, and its gradient is the backward pass. The independent figures
are NumPy's forward and backward recursions and their expectation-maximisation. Rabiner 1989; Baum et al. 1970.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import ppl
from ppl import Categorical, Normal
from ppl.models import common, pictures

TABLE = np.array([[0.95, 0.04, 0.01], [0.05, 0.9, 0.05], [0.02, 0.08, 0.9]])
MEAN, SCALE = np.array([-1.5, 0.0, 2.0]), np.array([0.5, 0.8, 0.6])
SEQUENCES, STEPS = 32, 100
Law = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Transition probabilities (K, K), means (K,), standard deviations (K,). Chains begin in state 0's row of the table."""


def sequences(count: int = SEQUENCES, steps: int = STEPS, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Observations at `TABLE`, `MEAN` and `SCALE`, and the states behind them: (count, steps) each."""
    rng = np.random.default_rng(seed)
    z, out, states = np.zeros(count, int), np.zeros((count, steps)), np.zeros((count, steps), int)
    for t in range(steps):
        z = (rng.random((count, 1)) > np.cumsum(TABLE, 1)[z]).sum(1).clip(max=len(MEAN) - 1)
        states[:, t], out[:, t] = z, MEAN[z] + SCALE[z] * rng.normal(size=count)
    return out, states


@ppl.model
def hidden(y: Any, *, states: int = 3) -> None:
    """Sequences of one chain's law, one a row."""
    table = ppl.param("table", 2.0 * np.eye(states))
    mean = ppl.param("mean", np.linspace(-1.0, 1.0, states))
    scale = ppl.param("scale", 1.0, shape=(states,), constraint="positive")
    with ppl.plate("data", y) as y:

        def step(z: Any, now: Any) -> tuple[Any, None]:
            z = ppl.sample("z", Categorical(logits=table[z]))
            ppl.sample("y", Normal(mean[z], scale[z]), obs=now)
            return z, None

        ppl.scan(step, 0, y)


def law_of(params: dict[str, np.ndarray]) -> Law:
    """The law of a state's parameters."""
    return np.asarray(ppl.softmax(np.asarray(params["table"], np.float64))), params["mean"], params["scale"]


def forward_backward(y: np.ndarray, law: Law) -> tuple[float, np.ndarray, np.ndarray]:
    """log p(y), P(z_t | y) of shape (N, T, K), and expected numbers of transitions (K, K), the first included."""
    table, mean, scale = law
    n, steps, k = *y.shape, len(mean)
    dense = np.exp(-0.5 * ((y[..., None] - mean) / scale) ** 2) / (np.sqrt(2 * np.pi) * scale)
    ahead, mass = np.zeros((n, steps, k)), np.zeros((n, steps))
    before = np.tile(np.eye(k)[0], (n, 1))
    for t in range(steps):
        found = before @ table * dense[:, t]
        mass[:, t] = found.sum(1)
        ahead[:, t] = before = found / mass[:, t, None]
    behind, counts, later = np.zeros((n, steps, k)), np.zeros((k, k)), np.ones((n, k))
    for t in range(steps - 1, -1, -1):
        behind[:, t] = later
        weighed = dense[:, t] * later / mass[:, t, None]
        first = ahead[:, t - 1] if t else np.tile(np.eye(k)[0], (n, 1))
        counts += table * (first.T @ weighed)
        later = weighed @ table.T
    return float(np.log(mass).sum()), ahead * behind, counts


def baum_welch(y: np.ndarray, law: Law, rounds: int = 500) -> tuple[float, Law]:
    """The law that expectation-maximisation reaches from `law`, and log p(y) there."""
    for _ in range(rounds):
        _, probs, counts = forward_backward(y, law)
        weight = probs.sum((0, 1))
        mean = np.einsum("ntk,nt->k", probs, y) / weight
        variance = np.einsum("ntk,ntk->k", probs, (y[..., None] - mean) ** 2) / weight
        law = counts / counts.sum(1, keepdims=True), mean, np.sqrt(variance)
    return forward_backward(y, law)[0], law


def main(argv: common.Arguments = None) -> int:
    """Maximise the likelihood, compare with expectation-maximisation, draw a sequence with its states."""
    job = common.Job("hmm", __doc__, argv, epochs=600, lr=5e-2)
    y, states = sequences(seed=job.options.seed)
    program = job.compile(ppl.likelihood(hidden, marginalize=["z"]), data=y, dtype="float64")
    start = program.init(job.options.seed, y)
    best, (table, mean, scale) = baum_welch(y, law_of(program.params(start)))
    rate = ppl.optim.Adam(ppl.optim.exponential(job.options.lr, 0.993))
    fit = job.fit(program, y, batch_size=None, optimizer=rate)
    loss = float(program.value(fit.state, y)) / y.size
    job.report("negative log-likelihood", loss, unit="nats per observation")
    job.report("negative log-likelihood, expectation-maximisation", -best / y.size, unit="nats per observation")
    learned, means, scales = law_of(fit.params)
    pairs = ("transitions", learned, table), ("means", means, mean), ("standard deviations", scales, scale)
    for what, ours, theirs in pairs:
        job.report(f"largest distance of {what} from expectation-maximisation", float(np.abs(ours - theirs).max()))
    probs = forward_backward(y, (learned, means, scales))[1]
    job.report("share of states that the likeliest ones are", float((probs.argmax(-1) == states).mean()))
    shown = int((np.diff(states) != 0).sum(1).argmax())
    job.picture(draw(y[shown], probs[shown], states[shown], means))
    return job.finish()


def draw(y: np.ndarray, probs: np.ndarray, states: np.ndarray, mean: np.ndarray) -> Any:
    """One sequence, the probabilities of its states, and the true ones."""
    figure, (top, bottom) = pictures.pyplot().subplots(2, 1, figsize=(9, 5), sharex=True)
    times = np.arange(len(y))
    top.plot(times, y, "k.", ms=4, label="observations")
    top.step(times, mean[states], "C3", where="mid", lw=1.0, label="learned mean of the true state")
    top.set(ylabel="y", title="a hidden Markov model, one sequence")
    top.legend(fontsize=8)
    bottom.stackplot(times, probs.T, colors=["#1f77b4", "#c7c7c7", "#ff7f0e"], step="mid", alpha=0.8)
    bottom.set(xlabel="time", ylabel="P(state | y)", ylim=(0, 1))
    for k in range(probs.shape[1]):
        bottom.plot(times[states == k], np.full(int((states == k).sum()), 1.03), "s", ms=3, clip_on=False,
                    color=["#1f77b4", "#7f7f7f", "#ff7f0e"][k])  # fmt: skip
    figure.tight_layout()
    return figure


if __name__ == "__main__":
    raise SystemExit(main())
