"""REINFORCE with leave-one-out, REBAR and DisARM in PyTorch, on the models of `benchmarks.estimator_models`.

How far estimates scatter and how long they take, at parameters and on a batch that the caller gives: variances must
agree with ours within sampling error, seconds stand beside ours. It needs torch and numpy, and nothing of ppl::

    python benchmarks/peers/estimators_torch.py point.npz --repeats 1000 --seed 0

with `model` ("sbn" or "vae"), the batch `x`, `param/NAME` and the weights `eta/NODE` of the control variates in
point.npz. It prints JSON: by estimator the trace of the gradient's variance, its standard error, and seconds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, log_softmax, one_hot, softmax, softplus

TEMPERATURE = 0.5
CLASSES = 10
Params = dict[str, Tensor]


def dense(p: Params, name: str, x: Tensor) -> Tensor:
    """x @ weight + bias."""
    return x @ p[f"{name}.weight"] + p[f"{name}.bias"]


def detached(p: Params) -> Params:
    """The same values without a gradient."""
    return {name: value.detach() for name, value in p.items()}


def log_bernoulli(logits: Tensor, b: Tensor) -> Tensor:
    """log p(b) summed over units; linear in b, so that it takes relaxed bits too."""
    return -binary_cross_entropy_with_logits(logits, b.expand_as(logits), reduction="none").sum(-1)


def centred(cost: Tensor) -> Tensor:
    """Costs less the mean of the other particles' costs."""
    return (cost - cost.mean(0)) * (len(cost) / (len(cost) - 1))


def uniform(like: Tensor, generator: torch.Generator) -> Tensor:
    """Uniforms in the open unit interval."""
    return torch.rand(like.shape, generator=generator).clamp(1e-7, 1 - 1e-7)


class SBN:
    """x → h¹ → h² and back: log q − log p in two parts, and estimators of the gradient of its mean."""

    def __init__(self, p: Params, x: Tensor, eta: dict[str, float], generator: torch.Generator):
        self.p, self.x, self.generator = p, x, generator
        self.eta = (eta.get("h/0", 1.0), eta.get("h/1", 1.0))

    def first(self, p: Params, logits: Tensor, h1: Tensor) -> Tensor:
        """log q(h¹|x) − log p(x|h¹)."""
        return log_bernoulli(logits, h1) - log_bernoulli(dense(p, "down/0", h1), self.x)

    def second(self, p: Params, logits: Tensor, h1: Tensor, h2: Tensor) -> Tensor:
        """log q(h²|h¹) − log p(h²) − log p(h¹|h²): what depends on h²."""
        prior = p["prior"].expand(h2.shape)
        return log_bernoulli(logits, h2) - log_bernoulli(prior, h2) - log_bernoulli(dense(p, "down/1", h2), h1)

    def draw(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Hard bits and the logistic noise they come from."""
        noise = torch.logit(uniform(logits, self.generator))
        return (logits.detach() + noise > 0).float(), noise

    def leave_one_out(self, particles: int = 2) -> Tensor:
        """Each particle has the mean of the others as its baseline."""
        a1 = dense(self.p, "up/0", self.x).expand(particles, -1, -1)
        h1, _ = self.draw(a1)
        a2 = dense(self.p, "up/1", h1)
        h2, _ = self.draw(a2)
        first, second = self.first(self.p, a1, h1), self.second(self.p, a2, h1, h2)
        cost, below = (first + second).detach(), second.detach()
        score = centred(cost) * log_bernoulli(a1, h1) + centred(below) * log_bernoulli(a2, h2)
        return (first + second + score).mean(0).sum()

    def disarm(self) -> Tensor:
        """An antithetic pair for each layer; the partner of h¹ has its own h², from the same noise."""
        d = detached(self.p)
        a1 = dense(self.p, "up/0", self.x)
        h1, noise1 = self.draw(a1)
        a2 = dense(self.p, "up/1", h1)
        h2, noise2 = self.draw(a2)
        cost = self.first(self.p, a1, h1) + self.second(self.p, a2, h1, h2)
        with torch.no_grad():
            other1, other2 = (a1 - noise1 > 0).float(), (a2 - noise2 > 0).float()
            b2 = dense(d, "up/1", other1)
            partner = self.first(d, a1, other1) + self.second(d, b2, other1, (b2 + noise2 > 0).float())
            weight1 = 0.5 * (cost - partner)[:, None] * (h1 - other1) * torch.sigmoid(a1.abs())
            difference = self.second(d, a2, h1, h2) - self.second(d, a2, h1, other2)
            weight2 = 0.5 * difference[:, None] * (h2 - other2) * torch.sigmoid(a2.abs())
        return cost.sum() + (weight1 * a1).sum() + (weight2 * a2).sum()

    def rebar(self) -> Tensor:
        """The relaxed cost as control variate, layer by layer; relaxed h¹ lead to relaxed h² on the same noise."""
        d = detached(self.p)
        a1 = dense(self.p, "up/0", self.x)
        h1, noise1 = self.draw(a1)
        a2 = dense(self.p, "up/1", h1)
        h2, noise2 = self.draw(a2)
        first, second = self.first(self.p, a1, h1), self.second(self.p, a2, h1, h2)

        def soft1(z: Tensor) -> Tensor:
            s1 = torch.sigmoid(z / TEMPERATURE)
            b2 = dense(d, "up/1", s1)
            return self.first(d, a1.detach(), s1) + self.second(d, b2, s1, torch.sigmoid((b2 + noise2) / TEMPERATURE))

        def soft2(z: Tensor) -> Tensor:
            return self.second(d, a2.detach(), h1, torch.sigmoid(z / TEMPERATURE))

        total = first + second
        layers = ((a1, h1, noise1, soft1, total), (a2, h2, noise2, soft2, second))
        for eta, (a, h, noise, soft, cost) in zip(self.eta, layers, strict=True):
            given = soft(self.conditional(a, h))
            score = (cost.detach() - eta * given.detach()) * log_bernoulli(a, h)
            total = total + score + eta * (soft(a + noise) - given)
        return total.sum()

    def conditional(self, a: Tensor, h: Tensor) -> Tensor:
        """A logistic variable around a, given that its sign is that of h."""
        v = uniform(a, self.generator)
        yes = softplus(a + v.log()) - torch.log1p(-v)
        no = v.log() - softplus(torch.log1p(-v) - a)
        return torch.where(h > 0.5, yes, no)


class VAE:
    """x → 10 one-hot vectors of 10 classes → x, the divergence from the uniform prior in closed form."""

    def __init__(self, p: Params, x: Tensor, eta: dict[str, float], generator: torch.Generator):
        self.p, self.x, self.generator, self.eta = p, x, generator, eta.get("z", 1.0)

    def encode(self) -> Tensor:
        """log q of each class: (rows, 10, 10)."""
        logits = dense(self.p, "classes", torch.tanh(dense(self.p, "encoder", self.x)))
        return log_softmax(logits.unflatten(-1, (-1, CLASSES)), -1)

    def misfit(self, p: Params, z: Tensor) -> Tensor:
        """−log p(x|z) of each row."""
        return -log_bernoulli(dense(p, "logits", torch.tanh(dense(p, "decoder", z.flatten(-2)))), self.x)

    def divergence(self, log_q: Tensor) -> Tensor:
        """KL(q ‖ uniform) of each row."""
        return (log_q.exp() * (log_q + np.log(CLASSES))).sum((-1, -2))

    def draw(self, log_q: Tensor) -> tuple[Tensor, Tensor]:
        """One-hot samples by Gumbel-max, and the Gumbel variables."""
        gumbel = -(-uniform(log_q, self.generator).log()).log()
        return one_hot((log_q.detach() + gumbel).argmax(-1), CLASSES).float(), gumbel

    def leave_one_out(self, particles: int = 2) -> Tensor:
        """Each particle has the mean of the others as its baseline."""
        log_q = self.encode()
        z, _ = self.draw(log_q.expand(particles, -1, -1, -1))
        misfit = self.misfit(self.p, z)
        score = centred(misfit.detach()) * (z * log_q).sum((-1, -2))
        return (misfit + score).mean(0).sum() + self.divergence(log_q).sum()

    def rebar(self) -> Tensor:
        """The cost at the Gumbel-softmax relaxation as control variate."""
        d, log_q = detached(self.p), self.encode()
        z, gumbel = self.draw(log_q)
        misfit = self.misfit(self.p, z)
        soft = self.misfit(d, softmax((log_q + gumbel) / TEMPERATURE, -1))
        given = self.misfit(d, softmax(self.conditional(log_q, z) / TEMPERATURE, -1))
        score = (misfit.detach() - self.eta * given.detach()) * (z * log_q).sum((-1, -2))
        return (misfit + score + self.eta * (soft - given) + self.divergence(log_q)).sum()

    def conditional(self, log_q: Tensor, z: Tensor) -> Tensor:
        """Gumbel variables around log q, given that the greatest is the class of z."""
        e = -uniform(log_q, self.generator).log()
        winner = (z * e).sum(-1, keepdim=True)
        return torch.where(z > 0.5, -winner.log(), -(e / log_q.exp().clamp_min(1e-30) + winner).log())


def gradient(surrogate: Callable[[], Tensor], p: Params) -> Tensor:
    """One estimate, flat."""
    for value in p.values():
        value.grad = None
    surrogate().backward()
    return torch.cat([value.grad.reshape(-1) for value in p.values() if value.grad is not None])


def measure(surrogate: Callable[[], Tensor], p: Params, repeats: int) -> dict[str, float]:
    """Trace of the variance with its standard error, and median seconds of an estimate."""
    found, seconds = [], []
    for _ in range(repeats):
        begin = time.perf_counter()
        estimate = gradient(surrogate, p)
        seconds.append(time.perf_counter() - begin)
        found.append(estimate.numpy())
    estimates = np.array(found)
    distance = ((estimates - estimates.mean(0, dtype=np.float64)) ** 2).sum(1)
    trace = float(distance.sum() / (repeats - 1))
    return {
        "variance": trace,
        "variance_error": float(distance.std() / repeats**0.5),
        "seconds": statistics.median(seconds),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measure every estimator of the model; print JSON."""
    parser = argparse.ArgumentParser(description="Variance and time of gradient estimators in PyTorch.")
    parser.add_argument("point", help=".npz with model, x, param/NAME and eta/NODE")
    parser.add_argument("--repeats", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    with np.load(options.point) as point:
        given = {name: point[name] for name in point.files}
    params = {k.removeprefix("param/"): torch.tensor(v, requires_grad=True) for k, v in given.items() if "param/" in k}
    eta = {k.removeprefix("eta/"): float(v) for k, v in given.items() if k.startswith("eta/")}
    kind = {"sbn": SBN, "vae": VAE}[str(given["model"])]
    model = kind(params, torch.tensor(given["x"]), eta, torch.Generator().manual_seed(options.seed))
    surrogates = {"leave-one-out": model.leave_one_out, "REBAR": model.rebar}
    if isinstance(model, SBN):
        surrogates["DisARM"] = model.disarm
    found = {label: measure(surrogate, params, options.repeats) for label, surrogate in surrogates.items()}
    json.dump({"torch": torch.__version__, "threads": torch.get_num_threads(), "estimators": found}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
