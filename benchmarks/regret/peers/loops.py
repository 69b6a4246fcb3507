"""Graphs of `graphs/loops.py`, as loops in Python."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Binomial, Categorical, Normal

from benchmarks.regret.peers.laws import single
from benchmarks.regret.peers.peer import BOTH, SCORE, peer
from benchmarks.regret.peers.run import Params, Run
from ppl.models import control, policy


@peer(*SCORE)
def random_walk(run: Run, p: Params) -> None:
    x = torch.zeros(run.particles, 100)
    for _ in range(50):
        x = x + 2.0 * run.draw(Bernoulli(probs=torch.exp(-x / p["p"]))) - 1.0
    run.cost(x**2 / 100)


@peer(*BOTH)
def mass(run: Run, p: Params) -> None:
    start, end, k = single(control.places(20)), single(control.riccati()[0]), p["gain"]
    x, v = (s.expand(run.particles, -1) for s in start.T)
    for _ in range(50):
        a = run.draw(Normal(-k[0] * x - k[1] * v, control.SIGMA))
        run.cost((x**2 + v**2 + control.EFFORT * a**2) / 20)
        x, v = x + control.DT * v, v + control.DT * a + control.JOLT * torch.randn_like(v)
    run.cost((end[0, 0] * x**2 + 2 * end[0, 1] * x * v + end[1, 1] * v**2) / 20)


@peer(*SCORE)
def river(run: Run, p: Params) -> None:
    move, reward = (single(a) for a in policy.river())
    state = torch.full((run.particles,), policy.START)
    for logits in p["logits"]:
        action = run.draw(Categorical(logits=logits[state]))
        run.cost(-reward[state, action])
        state = Categorical(move[state, action]).sample()


@peer(*SCORE)
def chain_guide(run: Run, p: Params, y: Tensor) -> None:
    z = torch.zeros((run.particles, len(y)), dtype=torch.long)
    for now in y.T:
        q = Categorical(logits=p["before"][z] + p["slope"] * now[:, None])
        prior, z = Categorical(logits=p["table"][z]), run.draw(q)
        seen = Normal(p["mean"][z], p["scale"].exp()[z]).log_prob(now)
        run.cost(q.log_prob(z) - prior.log_prob(z) - seen)


@peer(*BOTH)
def filtered(run: Run, p: Params, y: Tensor) -> None:
    z, prior = torch.zeros(run.particles, len(y)), Normal(0.0, 1.0)
    for now in y.T:
        q = Normal(p["keep"] * z + p["take"] * now, p["log_scale"].exp())
        z = run.draw(q)
        run.cost(q.log_prob(z) - prior.log_prob(z) - Normal(z, p["r"].exp()).log_prob(now))
        prior = Normal(p["a"] * z, p["q"].exp())


@peer(*SCORE)
def epidemic(run: Run, p: Params) -> None:
    s, i = torch.full((run.particles,), 27.0), torch.full((run.particles,), 3.0)
    beta, gamma = p["beta"].exp(), p["gamma"].exp()
    for seen in (2.0, 3.0, 4.0, 4.0, 3.0, 2.0, 2.0, 1.0):
        new = run.draw(Binomial(s, 1 - torch.exp(-beta * i / 30)))
        run.cost((new - seen) ** 2)
        well = run.draw(Binomial(i, (1 - torch.exp(-gamma)).expand_as(i)))
        s, i = s - new, i + new - well
