"""A stochastic recurrent network of binary units that writes 8×8 digits row by row, bounded and counted exactly.

h_t ~ Bernoulli(σ(W h_{t-1} + U x_{t-1} + a)), row x_t ~ Bernoulli(σ(V h_t + c)), in a `ppl.scan` over the eight rows of
a picture; the guide draws h_t from h_{t-1} and x_t. The units are discrete, so that nothing can be differentiated
through time: the score function weighs the units of every row by the costs of that row and of later ones, and those
alone. With eight units there are 256 states, and the forward algorithm in NumPy gives log p(x) itself. Boulanger-
Lewandowski, Bengio & Vincent 2012; Gan, Li, Henao, Carlson & Carin 2015.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import ppl
from ppl import Bernoulli
from ppl.models import common, data, pictures

UNITS, SIDE = 8, 8
Arrays = dict[str, np.ndarray]


@ppl.model
def generative(x: Any, *, units: int = UNITS) -> None:
    """Rows of a picture from top to bottom: (rows, pixels)."""
    with ppl.plate("data", x) as x:

        def step(before: Any, row: Any) -> tuple[Any, Any]:
            h, above = before
            h = ppl.sample("h", Bernoulli(logits=ppl.dense("recur", h, units) + ppl.dense("read", above, units)))
            logits = ppl.dense("write", h, row.shape[0])
            ppl.sample("x", Bernoulli(logits=logits), obs=row)
            return (h, row), ppl.sigmoid(logits)

        _, pixels = ppl.scan(step, (np.zeros(units), np.zeros(x.shape[1])), x)
        ppl.deterministic("pixels", pixels)


@ppl.model
def guide(x: Any, *, units: int = UNITS) -> None:
    """h_t from h_{t-1} and the row that it has to write."""
    with ppl.plate("data", x) as x:

        def step(h: Any, row: Any) -> tuple[Any, None]:
            logits = ppl.dense("guide/recur", h, units) + ppl.dense("guide/read", row, units)
            return ppl.sample("h", Bernoulli(logits=logits)), None

        ppl.scan(step, np.zeros(units), x)


def network(units: int = UNITS) -> tuple[Any, Any]:
    """Model and guide with so many units."""
    return generative.bind(units=units), guide.bind(units=units)


def strips(rows: np.ndarray) -> np.ndarray:
    """Pictures as sequences of rows of pixels: (pictures, 8, 8)."""
    return rows.reshape(len(rows), SIDE, SIDE)


def log_prob(params: Arrays, x: np.ndarray, chunk: int = 50) -> np.ndarray:
    """log p(x) of every picture, by the forward algorithm over all states of the units."""
    return np.concatenate([_log_prob(params, x[i : i + chunk]) for i in range(0, len(x), chunk)])


def _log_prob(params: Arrays, x: np.ndarray) -> np.ndarray:
    units = params["recur.bias"].shape[0]
    states = (np.arange(1 << units)[:, None] >> np.arange(units) & 1).astype(float)

    def of(name: str, value: np.ndarray) -> np.ndarray:
        return value @ np.asarray(params[f"{name}.weight"], float) + params[f"{name}.bias"]

    def mass(logits: np.ndarray, bits: np.ndarray) -> np.ndarray:
        return logits @ bits.T - np.logaddexp(0, logits).sum(-1)[..., None]

    written = of("write", states)
    weight = np.zeros((len(x), len(states)))
    weight[:, 0], total, above = 1.0, np.zeros(len(x)), np.zeros_like(x[:, 0])
    for row in np.moveaxis(x, 1, 0):
        moves = np.exp(mass(of("recur", states) + of("read", above)[:, None], states))
        weight = np.einsum("ni,nij->nj", weight, moves) * np.exp(mass(written, row).T)
        total += np.log(weight.sum(1))
        weight /= weight.sum(1, keepdims=True)
        above = row
    return total


def main(argv: common.Arguments = None) -> int:
    """Train, compare bounds with the exact likelihood of held-out pictures, draw pictures that the network writes."""
    job = common.Job("rnn", __doc__, argv, epochs=50, lr=3e-3, particles=4, units=UNITS)
    options, nets = job.options, network(job.options.units)
    rows, held_out = (strips(x) for x in data.digits())
    name = "ScoreFunction:leave_one_out" if options.estimator == "auto" else options.estimator
    program = job.compile(ppl.elbo(*nets), data=rows, estimators=common.estimator(name))
    fit = job.fit(program, rows)
    params = program.params(fit.state)
    for label, part in (("training", rows), ("held-out", held_out)):
        job.report(f"negative bound on {label} rows", *common.per_row(program, fit.state, part), "nats per row")
    many = ppl.compile(ppl.iwae(*nets, 50), data=rows, estimators=ppl.estimators.ScoreFunction())
    found = common.per_row(many, common.share(many, params), held_out, particles=1)
    job.report("negative 50-sample bound on held-out rows", *found, "nats per row")
    if options.units <= UNITS:
        exact = -log_prob(params, held_out)
        error = float(exact.std() / np.sqrt(len(exact)))
        job.report("exact negative log-likelihood of held-out rows", float(exact.mean()), error, "nats per row")
    job.picture(draw(fit, params, options.seed))
    return job.finish()


def write(params: Arrays, count: int, seed: int) -> np.ndarray:
    """`count` pictures that the network writes, each row drawn from what it reads of the row above."""
    rng = np.random.default_rng(seed)
    units = params["recur.bias"].shape[0]

    def draws(**given: np.ndarray) -> np.ndarray:
        logits = np.sum([x @ params[f"{n}.weight"] + params[f"{n}.bias"] for n, x in given.items()], 0)
        return (rng.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(float)

    h, row, out = np.zeros((count, units)), np.zeros((count, SIDE)), []
    for _ in range(SIDE):
        h = draws(recur=h, read=row)
        row = draws(write=h)
        out.append(row)
    return np.stack(out, 1).reshape(count, -1)


def draw(fit: Any, params: Arrays, seed: int) -> Any:
    """Training curve, held-out digits, pictures that the network writes."""
    figure, axes = pictures.pyplot().subplots(1, 3, figsize=(13, 4))
    pictures.show_training(axes[0], fit.history, "negative bound (nats per row)")
    losses = fit.history["loss"]
    axes[0].set_ylim(np.min(losses) - 0.3, np.quantile(losses, 0.98))
    pictures.show_images(axes[1], data.digits()[1][:48], 8, "held-out digits")
    pictures.show_images(axes[2], write(params, 48, seed), 8, "written by the network")
    return figure


if __name__ == "__main__":
    raise SystemExit(main())
