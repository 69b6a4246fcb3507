"""The models on which gradient estimators are compared, their candidates, and a trained point of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import ppl
from ppl import Bernoulli, OneHotCategorical
from ppl.estimators import ARM, CategoricalDisARM, DisARM, Rebar, Relax, ScoreFunction
from ppl.estimators.base import Estimator
from ppl.models import data, sbn

UNITS, CLASSES, HIDDEN = 10, 10, 64
BATCH = 100

Setups = Mapping[str, tuple[Estimator, int]]
COMMON: Setups = {
    "score function": (ScoreFunction(), 1),
    "moving average": (ScoreFunction("moving_average"), 1),
    "learned baseline": (ScoreFunction("learned"), 1),
    "leave-one-out": (ScoreFunction("leave_one_out"), 2),
    "leave-one-out, 4 particles": (ScoreFunction("leave_one_out"), 4),
    "optimal, 4 particles": (ScoreFunction("optimal"), 4),
    "REBAR": (Rebar(), 1),
    "REBAR, λ trained": (Rebar(adapt_temperature=True), 1),
    "RELAX": (Relax(), 1),
}


@ppl.model
def generative(x: Any) -> None:
    """10 one-hot vectors of 10 classes → 64 tanh units → x."""
    with ppl.plate("data", x) as x:
        z = ppl.sample("z", OneHotCategorical(logits=np.zeros((UNITS, CLASSES))))
        h = ppl.dense("decoder", z.ravel(), HIDDEN, activation="tanh")
        ppl.sample("x", Bernoulli(logits=ppl.dense("logits", h, 64)), obs=x)


@ppl.model
def guide(x: Any) -> None:
    """x → 64 tanh units → 10 one-hot vectors."""
    with ppl.plate("data", x) as x:
        h = ppl.dense("encoder", x, HIDDEN, activation="tanh")
        logits = ppl.dense("classes", h, UNITS * CLASSES).reshape((UNITS, CLASSES))
        ppl.sample("z", OneHotCategorical(logits=logits))


@dataclass(frozen=True)
class Case:
    """A model with its candidates, (estimator, particles) by label, and how it is trained before measuring."""

    title: str
    objective: Any
    setups: Setups
    trainer: Estimator
    epochs: int


CASES = {
    "sbn": Case(
        "sigmoid belief network, digits 64-64-32, every term of the bound sampled",
        ppl.elbo(sbn.generative, sbn.guide, kl="sampled"),
        {**COMMON, "DisARM": (DisARM(), 1), "ARM": (ARM(), 1)},
        DisARM(),
        30,
    ),
    "vae": Case(
        "categorical VAE, digits 64-64-(10 × 10)-64-64, KL in closed form",
        ppl.elbo(generative, guide),
        {**COMMON, "DisARM-SB": (CategoricalDisARM(), 1)},
        CategoricalDisARM(),
        30,
    ),
}


def compile_setup(case: Case, label: str) -> Any:
    """The program of one candidate."""
    estimator, particles = case.setups[label]
    return ppl.compile(case.objective, estimators=estimator, particles=particles, data=ppl.spec((None, 64)))


def trained(case: Case, seed: int = 0) -> dict[str, np.ndarray]:
    """Parameters after `case.epochs` epochs of Adam 3e-3 with the case's own trainer."""
    rows, _ = data.digits()
    program = ppl.compile(case.objective, estimators=case.trainer, data=rows)
    adam = ppl.optim.Adam(3e-3)
    fit = ppl.fit(program, rows, epochs=case.epochs, batch_size=BATCH, optimizer=adam, seed=seed, progress=False)
    return dict(fit.state.params)


def adapted(program: Any, params: Mapping[str, np.ndarray], epochs: int = 60, seed: int = 0) -> Any:
    """A state at `params` whose baselines, η and networks have seen `epochs` passes of the training rows."""
    rows, _ = data.digits()
    state = program.init(seed).replace(params=params)
    if not state.aux:
        return state
    for _ in range(epochs):
        for start in range(0, len(rows), BATCH):
            _, _, state = program.step(state, rows[start : start + BATCH], rows=start)
    return state
