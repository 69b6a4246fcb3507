"""Estimators of gradients in PyTorch, written once for programs that draw and cost through a `Run`.

A program is a function of a run, parameters and data. It draws with `run.root` (laws without particles) and `run.draw`
(laws that depend on earlier draws, particles first), and adds up costs of shape (particles,) or (particles, rows) with
`run.cost`. A cost counts for the nodes that were drawn before it. Every estimator returns a scalar whose derivative is
the estimate, and the loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Distribution, Independent
from torch.nn.functional import softplus

Params = Mapping[str, Tensor]
Program = Callable[..., None]
Found = tuple[Tensor, Tensor]
TEMPERATURE = 0.5


class Run:
    """One evaluation of a program with so many particles; `path`: along paths where a law has them."""

    def __init__(self, particles: int, path: bool = False):
        self.particles, self.path = particles, path
        self.costs: list[Tensor] = []
        self.scores: list[tuple[int, Tensor]] = []
        self.known: Tensor | float = 0.0

    def root(self, law: Distribution) -> Tensor:
        """Draws of a law, particles first."""
        return self.draw(law.expand(torch.Size((self.particles, *law.batch_shape))))

    def draw(self, law: Distribution) -> Tensor:
        """Draws of a law that has particles."""
        if self.path and law.has_rsample:
            return law.rsample()
        value = law.sample()
        self.scores.append((len(self.costs), law.log_prob(value)))
        return value

    def cost(self, term: Tensor) -> None:
        """Add a cost of every particle, or of every row of every particle."""
        self.costs.append(term)

    def sure(self, term: Tensor) -> None:
        """Add what no draw changes: divergences in closed form."""
        self.known = self.known + term.sum()

    def total(self, like: Tensor | None = None) -> Tensor:
        """All costs of a particle; or of every row, where `like` has rows."""
        costs = self.costs
        if like is not None and like.ndim == 1:
            costs = [c.flatten(1).sum(1) if c.ndim > 1 else c for c in costs]
        elif like is not None:
            costs = [c if c.ndim > 1 else c[:, None] for c in costs]
        found = costs[0]
        for term in costs[1:]:
            found = found + term
        return found

    def loss(self) -> Tensor:
        """Costs summed over rows, averaged over particles."""
        terms = [c.sum() for c in self.costs]
        return sum(terms[1:], terms[0]) / len(self.costs[0]) + self.known


def centred(cost: Tensor) -> Tensor:
    """Costs less the mean of the other particles' costs."""
    return (cost - cost.mean(0)) * (len(cost) / (len(cost) - 1))


def sampled(program: Program, p: Params, data: tuple[Any, ...], particles: int, path: bool) -> Found:
    """Paths, and score functions with leave-one-out baselines where there is none."""
    run = Run(particles, path)
    program(run, p, *data)
    loss = surrogate = run.loss()
    later: dict[int, Tensor] = {}
    end = len(run.costs)
    for at, score in reversed(run.scores):
        for term in run.costs[at:end]:
            detached = term.detach()
            later[term.ndim] = later[term.ndim] + detached if term.ndim in later else detached
        end = at
        if not later:
            continue
        cost = torch.zeros((), dtype=score.dtype)
        for term in later.values():
            cost = cost + (term.flatten(1).sum(1) if term.ndim > score.ndim else
                           term[:, None] if term.ndim < score.ndim else term)  # fmt: skip
        surrogate = surrogate + (centred(cost) * score).sum() / particles
    return surrogate, loss


def pathwise(program: Program, p: Params, data: tuple[Any, ...], particles: int) -> Found:
    """`rsample` where a law has it, RLOO elsewhere."""
    return sampled(program, p, data, particles, True)


def leave_one_out(program: Program, p: Params, data: tuple[Any, ...], particles: int) -> Found:
    """RLOO for all nodes (Kool, van Hoof & Welling 2019)."""
    return sampled(program, p, data, particles, False)


def base_of(law: Distribution) -> tuple[Any, int]:
    """A law inside `Independent`, and the number of its event axes."""
    return (law.base_dist, law.reinterpreted_batch_ndims) if isinstance(law, Independent) else (law, 0)


class Pairs(Run):
    """One Bernoulli node, drawn in antithetic pairs: the first half of the particles, and their partners."""

    def draw(self, law: Distribution) -> Tensor:
        law, self.events = base_of(law)
        self.logits = law.logits[: self.particles // 2]
        noise = torch.logit(torch.rand_like(self.logits), eps=1e-7)
        self.value = torch.cat([self.logits + noise > 0, self.logits - noise > 0]).to(noise.dtype).detach()
        return self.value


def disarm(program: Program, p: Params, data: tuple[Any, ...], particles: int) -> Found:
    """DisARM of so many pairs (Dong, Mnih & Tucker 2020)."""
    run = Pairs(2 * particles)
    program(run, p, *data)
    loss = run.loss()
    with torch.no_grad():
        one, other = run.value.chunk(2)
        rows = one if not run.events else one.flatten(-run.events).sum(-1)
        cost = run.total(rows)
        difference = cost[:particles] - cost[particles:]
        difference = difference.reshape(difference.shape + (1,) * run.events)
        weight = 0.5 * difference * (one - other) * torch.sigmoid(run.logits.abs())
    return loss + (weight * run.logits).sum() / particles, loss


class Forced(Run):
    """A run whose only node has a given value."""

    def __init__(self, particles: int, value: Tensor):
        super().__init__(particles)
        self.value = value

    def draw(self, law: Distribution) -> Tensor:
        return self.value


class Relaxing(Run):
    """One node of Bernoulli or one-hot units, its relaxed value, and that given the draw."""

    def draw(self, law: Distribution) -> Tensor:
        base, _ = base_of(law)
        u, v = (torch.rand(base.logits.shape).clamp(1e-7, 1 - 1e-7) for _ in range(2))
        make = self._bits if isinstance(base, Bernoulli) else self._classes
        value, self.soft, self.given = make(base.logits, u, v)
        self.score = law.log_prob(value)
        return value

    def _bits(self, a: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        z = a + torch.logit(u)
        value = (z > 0).to(a.dtype).detach()
        yes, no = softplus(a + v.log()) - torch.log1p(-v), v.log() - softplus(torch.log1p(-v) - a)
        return value, torch.sigmoid(z / TEMPERATURE), torch.sigmoid(torch.where(z > 0, yes, no) / TEMPERATURE)

    def _classes(self, log_q: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        z = log_q - (-u.log()).log()
        value = torch.nn.functional.one_hot(z.argmax(-1), z.shape[-1]).to(z.dtype)
        e = -v.log()
        winner = (value * e).sum(-1, keepdim=True)
        given = torch.where(value > 0.5, -winner.log(), -(e / log_q.exp().clamp_min(1e-30) + winner).log())
        return value, torch.softmax(z / TEMPERATURE, -1), torch.softmax(given / TEMPERATURE, -1)


def rebar(program: Program, p: Params, data: tuple[Any, ...], particles: int) -> Found:
    """REBAR with weight 1 and a fixed temperature (Tucker et al. 2017)."""
    hard = Relaxing(particles)
    program(hard, p, *data)
    still = {name: value.detach() for name, value in p.items()}
    soft, given = Forced(particles, hard.soft), Forced(particles, hard.given)
    for run in (soft, given):
        program(run, still, *data)
    score, loss = hard.score, hard.loss()
    relaxed = given.total(score)
    weight = (hard.total(score) - relaxed).detach()
    return loss + ((weight * score).sum() + soft.total(score).sum() - relaxed.sum()) / particles, loss


class Sums(Run):
    """One node, whose particles are all its values."""

    def root(self, law: Distribution) -> Tensor:
        base, events = base_of(law)
        support = base.enumerate_support(expand=False).reshape(-1, *base.event_shape)
        if events:
            units = base.batch_shape[-1]
            support = torch.cartesian_prod(*[support] * units).reshape(-1, units)
        ones = (1,) * len(law.batch_shape)
        value = support.reshape(len(support), *ones, *law.event_shape)
        value = value.expand(len(support), *law.batch_shape, *law.event_shape)
        self.weights = law.log_prob(value).exp()
        return value


def enumerated(program: Program, p: Params, data: tuple[Any, ...], particles: int) -> Found:
    """The sum over all values of one node: exact."""
    run = Sums(particles)
    program(run, p, *data)
    loss = (run.weights * run.total(run.weights)).sum() + run.known
    return loss, loss


ESTIMATORS: dict[str, Callable[[Program, Params, tuple[Any, ...], int], Found]] = {
    "rsample": pathwise,
    "RLOO": leave_one_out,
    "DisARM": disarm,
    "REBAR": rebar,
    "sum": enumerated,
}
