"""Law graphs with loops over time; their exact losses go from step to step in plain NumPy.

A `Paths` holds every way in which the random nodes so far can have come out, with its weight: all states of discrete
nodes, and points of a quadrature for normal ones.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.polynomial.hermite_e import hermegauss

import ppl
from ppl import Bernoulli, Categorical, Normal
from tests.helpers.law_bounds import bernoulli_log, negative_bound, normal_log
from tests.helpers.law_graphs import law
from tests.helpers.laws import Graph, Params, arrays

SEQUENCES = np.array([[0.7, -0.4, 1.1], [-0.3, 0.9, 0.2]])
BITS = np.array([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
COPIES = 10_000
"""Enough for estimators that unroll these loops."""
LENGTHS = np.array([2, 1, 2])


class Paths:
    """Weighted outcomes: columns by name, and the weight of each."""

    def __init__(self, **start: float):
        self.weight = np.ones(1)
        self.columns = {name: np.full(1, value, float) for name, value in start.items()}

    def __getattr__(self, name: str) -> np.ndarray:
        return self.columns[name]

    def set(self, **values: np.ndarray | float) -> None:
        """Add or replace columns."""
        for name, value in values.items():
            self.columns[name] = np.broadcast_to(np.asarray(value, float), self.weight.shape)

    def mean(self, values: np.ndarray | float) -> float:
        """The expectation of a column."""
        return float(np.sum(self.weight * values))

    def choose(self, name: str, probs: np.ndarray, values: np.ndarray) -> None:
        """Go on with every one of `values`, one a column of `probs`."""
        count = len(values)
        self.columns = {k: np.repeat(v, count) for k, v in self.columns.items()}
        self.columns[name] = np.tile(np.asarray(values, float), len(self.weight))
        self.weight = (self.weight[:, None] * probs).ravel()

    def bit(self, name: str, logits: np.ndarray | float) -> None:
        """A Bernoulli variable."""
        p = np.broadcast_to(1 / (1 + np.exp(-np.asarray(logits, float))), self.weight.shape)
        self.choose(name, np.stack([1 - p, p], 1), np.array([0.0, 1.0]))

    def normal(self, name: str, loc: np.ndarray | float, scale: np.ndarray | float, points: int = 40) -> None:
        """A normal variable."""
        e, w = hermegauss(points)
        probs = np.broadcast_to(w / w.sum(), (len(self.weight), points))
        self.set(_loc=loc, _scale=scale)
        self.choose("_noise", probs, e)
        self.set(**{name: self.columns["_loc"] + self.columns["_scale"] * self.columns["_noise"]})


def _slopes(length: int) -> np.ndarray:
    return np.array([0.4, -0.3, 0.8, -0.6, 0.2])[:length]


def _bits(length: int) -> Graph:
    """A unit a step, whose logit follows the carry; costs in every step, of the last carry, and of all results."""
    given = _slopes(length)

    @ppl.model
    def model():
        p, q = ppl.param("p", 0.3), ppl.param("q", np.zeros(length))

        def step(x, at):
            qt, s = at
            b = ppl.sample("b", Bernoulli(logits=p * x + qt))
            ppl.cost("inside", (x - b - s) ** 2)
            return 0.6 * x + b - 0.3, b * s

        x, ys = ppl.scan(step, 0.5, (q, given))
        ppl.cost("last", x * np.sum(ys) + p * x)

    def loss(p):
        paths = Paths(x=0.5, y=0.0, total=0.0)
        for qt, s in zip(p["q"], given, strict=True):
            paths.bit("b", p["p"] * paths.x + qt)
            paths.set(total=paths.total + (paths.x - paths.b - s) ** 2, y=paths.y + paths.b * s)
            paths.set(x=0.6 * paths.x + paths.b - 0.3)
        return paths.mean(paths.total + paths.x * paths.y + p["p"] * paths.x)

    return Graph(model, arrays(p=0.9, q=[0.4, -0.7, 0.5, 0.3, -0.5][:length]), loss=loss, max_copies=COPIES)


@law
def loop_of_one() -> Graph:
    """A single step."""
    return _bits(1)


@law
def loop_of_two() -> Graph:
    """Two steps."""
    return _bits(2)


@law
def loop_of_five() -> Graph:
    """Five steps."""
    return _bits(5)


@law
def loop_normal() -> Graph:
    """A normal node a step, on whose path the carry is; the learned scale is shared over the steps."""

    @ppl.model
    def model():
        a, s = ppl.param("a", 0.7), ppl.param("s", 0.0)

        def step(x, t):
            z = ppl.sample("z", Normal(a * x + 0.2 * t, np.exp(s)))
            ppl.cost("inside", 0.3 * z * z - a * z)
            return np.tanh(z), z

        x, zs = ppl.scan(step, 1.0, length=2)
        ppl.cost("last", np.cos(x) + zs[0] * zs[1])

    def loss(p):
        paths = Paths(x=1.0, total=0.0)
        for t in range(2):
            paths.normal("z", p["a"] * paths.x + 0.2 * t, np.exp(p["s"]))
            paths.set(total=paths.total + 0.3 * paths.z**2 - p["a"] * paths.z, x=np.tanh(paths.z))
            paths.set(**{f"z{t}": paths.z})
        return paths.mean(paths.total + np.cos(paths.x) + paths.z0 * paths.z1)

    return Graph(model, arrays(a=0.8, s=-0.6), loss=loss, max_copies=COPIES)


@law
def loop_mixed() -> Graph:
    """A unit and a normal node in every step, each above the other of the next step."""

    @ppl.model
    def model():
        a, p, m = ppl.param("a", 0.0), ppl.param("p", 0.0), ppl.param("m", 0.0)

        def step(carry, t):
            x, k = carry
            b = ppl.sample("b", Bernoulli(logits=p * x - 0.4))
            z = ppl.sample("z", Normal(a * x + m * b, 0.6))
            ppl.cost("inside", 0.4 * z * z + b * k)
            return (z, k + b), None

        (x, k), _ = ppl.scan(step, (0.8, 0.5), length=2)
        ppl.cost("last", np.sin(x) * k)

    def loss(p):
        paths = Paths(x=0.8, k=0.5, total=0.0)
        for _ in range(2):
            paths.bit("b", p["p"] * paths.x - 0.4)
            paths.normal("z", p["a"] * paths.x + p["m"] * paths.b, 0.6)
            paths.set(total=paths.total + 0.4 * paths.z**2 + paths.b * paths.k)
            paths.set(x=paths.z, k=paths.k + paths.b)
        return paths.mean(paths.total + np.sin(paths.x) * paths.k)

    return Graph(model, arrays(a=0.7, p=0.9, m=1.1), loss=loss, max_copies=COPIES)


@law
def loop_classes() -> Graph:
    """A whole number as carry: a chain of classes, with a learned table of transitions and of costs."""

    @ppl.model
    def model():
        table, cost = ppl.param("table", np.zeros((3, 3))), ppl.param("cost", np.zeros(3))

        def step(k, t):
            new = ppl.sample("k", Categorical(logits=table[k]))
            ppl.cost("inside", cost[new] * (1.0 + 0.5 * t))
            return new, None

        k, _ = ppl.scan(step, 0, length=2)
        ppl.cost("last", ppl.constant([0.3, -0.8, 1.4])[k])

    def loss(p):
        weights = np.exp(p["table"])
        weights = weights / weights.sum(1, keepdims=True)
        now, total = np.array([1.0, 0.0, 0.0]), 0.0
        for t in range(2):
            now = now @ weights
            total += now @ p["cost"] * (1.0 + 0.5 * t)
        return total + now @ np.array([0.3, -0.8, 1.4])

    table = [[0.3, -0.4, 0.6], [-0.5, 0.2, 0.1], [0.4, 0.7, -0.2]]
    return Graph(model, arrays(table=table, cost=[0.5, -1.2, 0.9]), loss=loss, max_copies=COPIES)


@law
def loop_rows() -> Graph:
    """Sequences in a minibatch; a node of the row before the loop, and one after it."""

    @ppl.model
    def model(x):
        p, a = ppl.param("p", 0.0), ppl.param("a", 0.0)
        with ppl.plate("data", x) as x:
            g = ppl.sample("g", Bernoulli(logits=a))

            def step(k, xt):
                b = ppl.sample("b", Bernoulli(logits=p * k + g - xt))
                ppl.cost("inside", (b - xt) ** 2 * (1.0 + 0.5 * k))
                return k + b, None

            k, _ = ppl.scan(step, 0.0, x[:2])
            w = ppl.sample("w", Bernoulli(logits=p * k - 0.5))
            ppl.cost("last", w * k + 0.4 * g)

    def loss(p):
        total = 0.0
        for row in SEQUENCES:
            paths = Paths(k=0.0, total=0.0)
            paths.bit("g", p["a"])
            for xt in row[:2]:
                paths.bit("b", p["p"] * paths.k + paths.g - xt)
                paths.set(total=paths.total + (paths.b - xt) ** 2 * (1.0 + 0.5 * paths.k), k=paths.k + paths.b)
            paths.bit("w", p["p"] * paths.k - 0.5)
            total += paths.mean(paths.total + paths.w * paths.k + 0.4 * paths.g)
        return 2.5 * total

    return Graph(model, arrays(p=0.8, a=-0.3), (SEQUENCES,), total_rows=5, loss=loss, max_copies=COPIES)


@law
def loop_around_a_plate() -> Graph:
    """Rows inside of a step, which the carry couples."""

    @ppl.model
    def model():
        p, m = ppl.param("p", 0.0), ppl.param("m", np.zeros(2))

        def step(x, t):
            with ppl.plate("k", m) as mk:
                b = ppl.sample("b", Bernoulli(logits=p * x + mk))
                ppl.cost("inside", (b - x) ** 2)
            n = np.sum(ppl.collect(b, "k"))
            return 0.5 * x + n, n

        x, ns = ppl.scan(step, 0.7, length=2)
        ppl.cost("last", x * x - ns[0])

    def loss(p):
        paths = Paths(x=0.7, total=0.0)
        for t in range(2):
            paths.set(n=0.0)
            for mk in p["m"]:
                paths.bit("b", p["p"] * paths.x + mk)
                paths.set(total=paths.total + (paths.b - paths.x) ** 2, n=paths.n + paths.b)
            paths.set(x=0.5 * paths.x + paths.n, **{f"n{t}": paths.n})
        return paths.mean(paths.total + paths.x**2 - paths.n0)

    return Graph(model, arrays(p=0.6, m=[0.4, -0.7]), loss=loss, max_copies=COPIES)


@law
def loop_in_a_loop() -> Graph:
    """A node in every step of an inner loop, and one in every step of the outer one."""

    @ppl.model
    def model():
        p, q = ppl.param("p", 0.0), ppl.param("q", 0.0)

        def outer(x, s):
            d = ppl.sample("d", Bernoulli(logits=q - p * x))

            def inner(y, t):
                b = ppl.sample("b", Bernoulli(logits=p * y + d - 0.3 * s))
                ppl.cost("inner", (y + b - 0.4) ** 2)
                return 0.7 * y + b - 0.4, b

            y, bs = ppl.scan(inner, x, length=2, name="inner")
            ppl.cost("outer", y * np.sum(bs) - 0.5 * d)
            return y - 0.5 * d, y

        x, ys = ppl.scan(outer, 0.5, length=2)
        ppl.cost("last", x * np.sum(ys))

    def loss(p):
        paths = Paths(x=0.5, total=0.0, ys=0.0)
        for s in range(2):
            paths.bit("d", p["q"] - p["p"] * paths.x)
            paths.set(y=paths.x, n=0.0)
            for _ in range(2):
                paths.bit("b", p["p"] * paths.y + paths.d - 0.3 * s)
                paths.set(total=paths.total + (paths.y + paths.b - 0.4) ** 2, n=paths.n + paths.b)
                paths.set(y=0.7 * paths.y + paths.b - 0.4)
            paths.set(total=paths.total + paths.y * paths.n - 0.5 * paths.d, ys=paths.ys + paths.y)
            paths.set(x=paths.y - 0.5 * paths.d)
        return paths.mean(paths.total + paths.x * paths.ys)

    return Graph(model, arrays(p=0.7, q=0.3), loss=loss, max_copies=COPIES)


@law
def loop_backwards() -> Graph:
    """The last slice first, then a loop over the results, which stay in their order."""

    @ppl.model
    def model():
        p, q = ppl.param("p", 0.0), ppl.param("q", np.zeros(2))

        def back(x, qt):
            b = ppl.sample("b", Bernoulli(logits=p * x + qt))
            ppl.cost("back", (x - b) ** 2 * (1.0 + qt))
            return 0.5 * x + b, b

        def ahead(y, bt):
            d = ppl.sample("d", Bernoulli(logits=p * y - bt))
            ppl.cost("ahead", d * (y + bt))
            return y + d - 0.4, None

        x, bs = ppl.scan(back, 0.6, q, reverse=True)
        y, _ = ppl.scan(ahead, x, bs, name="ahead")
        ppl.cost("last", y * y)

    def loss(p):
        paths = Paths(x=0.6, total=0.0)
        for t in (1, 0):
            paths.bit("b", p["p"] * paths.x + p["q"][t])
            paths.set(total=paths.total + (paths.x - paths.b) ** 2 * (1.0 + p["q"][t]), x=0.5 * paths.x + paths.b)
            paths.set(**{f"b{t}": paths.b})
        paths.set(y=paths.x)
        for bt in ("b0", "b1"):
            paths.bit("d", p["p"] * paths.y - paths.columns[bt])
            paths.set(total=paths.total + paths.d * (paths.y + paths.columns[bt]), y=paths.y + paths.d - 0.4)
        return paths.mean(paths.total + paths.y**2)

    return Graph(model, arrays(p=0.8, q=[0.5, -0.4]), loss=loss, max_copies=COPIES)


@law
def loop_until() -> Graph:
    """Rows that stop at times of their own; nothing counts after that."""

    @ppl.model
    def model(x):
        p = ppl.param("p", 0.0)
        with ppl.plate("data", x) as x:

            def step(carry, xt):
                k, n = carry
                b = ppl.sample("b", Bernoulli(logits=p * k - xt))
                ppl.cost("inside", k + b * xt - 0.2 * p)
                return (k + b + 0.2, n + 1.0), 1.0 + b

            (k, n), ys = ppl.scan(step, (0.4, 0.0), x, until=lambda c: c[0] > 1.0)
            ppl.cost("last", k * n + np.sum(ys))

    def loss(p):
        total = 0.0
        for row in SEQUENCES:
            paths = Paths(k=0.4, n=0.0, total=0.0)
            for xt in row:
                runs = paths.k <= 1.0
                paths.set(runs=runs, total=paths.total + np.where(runs, paths.k - 0.2 * p["p"], 0.0))
                paths.bit("b", p["p"] * paths.k - xt)
                paths.set(total=paths.total + paths.runs * (paths.b * xt + 1.0 + paths.b), n=paths.n + paths.runs)
                paths.set(k=paths.k + paths.runs * (paths.b + 0.2))
            total += paths.mean(paths.total + paths.k * paths.n)
        return total

    return Graph(model, arrays(p=0.7), (SEQUENCES,), loss=loss, max_copies=COPIES)


def _chain(p: Params, log_q: Callable, row: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Log-weights and probabilities of all paths of two hidden bits, of which the first `length` are observed."""
    paths = Paths(h=0.0, log_w=0.0)
    for t, x in enumerate(row):
        paths.set(before=paths.h)
        paths.bit("h", log_q(p, paths.before, x))
        paths.set(log_w=paths.log_w + bernoulli_log(paths.h, p["a"] * paths.before - 0.3))
        paths.set(log_w=paths.log_w - bernoulli_log(paths.h, log_q(p, paths.before, x)))
        if t < length:
            paths.set(log_w=paths.log_w + bernoulli_log(np.array(x), p["w"] * paths.h - 0.6))
    return paths.log_w, paths.weight


def _hidden_bits():
    """A chain of hidden bits, its guide, and the guide's logit. Sequences are as long as `n` says."""

    @ppl.model
    def chain(x, n):
        a, w = ppl.param("a", 0.0), ppl.param("w", 0.0)
        with ppl.plate("data", x, n) as (x, n):

            def step(h, at):
                xt, t = at
                new = ppl.sample("h", Bernoulli(logits=a * h - 0.3))
                ppl.sample("x", Bernoulli(logits=w * new - 0.6), obs=xt, obs_mask=t < n)
                return new, None

            ppl.scan(step, 0.0, (x, np.arange(2)))

    @ppl.model
    def guide(x, n):
        v, u = ppl.param("v", 0.0), ppl.param("u", 0.0)
        with ppl.plate("data", x, n) as (x, n):

            def step(h, xt):
                new = ppl.sample("h", Bernoulli(logits=v * xt + u * h))
                return new, None

            ppl.scan(step, 0.0, x)

    return chain, guide, lambda p, h, x: p["v"] * x + p["u"] * h


HIDDEN = arrays(a=1.1, w=1.6, v=0.9, u=-0.7)


@law
def loop_elbo() -> Graph:
    """Hidden bits of sequences of different lengths, in a minibatch."""
    chain, guide, log_q = _hidden_bits()

    def loss(p):
        found = [_chain(p, log_q, x, n) for x, n in zip(BITS, LENGTHS, strict=True)]
        return -2.0 * sum(float(w @ log_w) for log_w, w in found)

    return Graph(ppl.elbo(chain, guide), HIDDEN, (BITS, LENGTHS), total_rows=6, loss=loss, max_copies=COPIES)


@law
def loop_iwae() -> Graph:
    """Two importance samples of a whole path of hidden bits."""
    chain, guide, log_q = _hidden_bits()

    def loss(p):
        return sum(negative_bound(*_chain(p, log_q, x, n), 2) for x, n in zip(BITS[:2], LENGTHS[:2], strict=True))

    return Graph(ppl.iwae(chain, guide, 2), HIDDEN, (BITS[:2], LENGTHS[:2]), loss=loss, max_copies=COPIES)


@law
def loop_likelihood() -> Graph:
    """E[-log p(x | h)] of hidden bits that are not summed out, and a factor in every step."""

    @ppl.model
    def model(x):
        a, w = ppl.param("a", 0.0), ppl.param("w", 0.0)
        with ppl.plate("data", x) as x:

            def step(h, xt):
                new = ppl.sample("h", Bernoulli(logits=a * h - 0.3))
                ppl.sample("x", Normal(w * new, 0.8), obs=xt)
                ppl.factor("f", -0.3 * (w - new) ** 2)
                return new, None

            ppl.scan(step, 0.0, x[:2])

    def loss(p):
        total = 0.0
        for row in SEQUENCES:
            paths = Paths(h=0.0, total=0.0)
            for x in row[:2]:
                paths.bit("h", p["a"] * paths.h - 0.3)
                paths.set(total=paths.total - normal_log(x, p["w"] * paths.h, 0.8) + 0.3 * (p["w"] - paths.h) ** 2)
            total += paths.mean(paths.total)
        return total

    return Graph(ppl.likelihood(model), arrays(a=0.8, w=1.2), (SEQUENCES,), loss=loss, max_copies=COPIES)


def _gaussian(kl: str, reverse: bool) -> Graph:
    """A hidden Gaussian walk; the guide runs ahead or backwards."""

    @ppl.model
    def walk(x):
        a = ppl.param("a", 0.0)
        with ppl.plate("data", x) as x:

            def step(z, xt):
                new = ppl.sample("z", Normal(a * z, 1.0))
                ppl.sample("x", Normal(new, 0.7), obs=xt)
                return new, None

            ppl.scan(step, 0.5, x[:2])

    @ppl.model
    def guide(x):
        v, u, s = ppl.param("v", 0.0), ppl.param("u", 0.0), ppl.param("s", 0.0)
        with ppl.plate("data", x) as x:

            def step(z, xt):
                new = ppl.sample("z", Normal(v * xt + u * z, np.exp(s)))
                return new, None

            ppl.scan(step, 0.2, x[:2], reverse=reverse)

    def loss(p):
        total, scale = 0.0, np.exp(p["s"])
        for row in SEQUENCES:
            paths = Paths(z=0.2, total=0.0)
            for t in (1, 0) if reverse else (0, 1):
                loc = p["v"] * row[t] + p["u"] * paths.z
                paths.set(loc=loc)
                paths.normal("z", loc, scale)
                paths.set(total=paths.total + normal_log(paths.z, paths.loc, scale), **{f"z{t}": paths.z})
            prior = normal_log(paths.z0, 0.5 * p["a"], 1.0) + normal_log(paths.z1, p["a"] * paths.z0, 1.0)
            data = normal_log(row[0], paths.z0, 0.7) + normal_log(row[1], paths.z1, 0.7)
            total += paths.mean(paths.total - prior - data)
        return 1.5 * total

    params = arrays(a=0.8, v=0.5, u=0.4, s=-0.7)
    return Graph(ppl.elbo(walk, guide, kl=kl), params, (SEQUENCES,), total_rows=3, loss=loss, max_copies=COPIES)


@law
def loop_gaussian_elbo() -> Graph:
    """Divergences in closed form, given the steps before."""
    return _gaussian("auto", False)


@law
def loop_gaussian_elbo_backwards() -> Graph:
    """A guide that runs backwards, as the smoothing law does."""
    return _gaussian("sampled", True)
