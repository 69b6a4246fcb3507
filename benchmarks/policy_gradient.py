"""A policy gradient through a linear system, written on the IR's region op: graph, descent, exact expectation.

x' = x + v dt, v' = v + a dt, a ~ N(k·(x, v), σ²), cost x² + v² + a² / 10 at every time, from (x, v) = (1, 0). One loop
draws the actions, one that runs backwards adds up the costs to go; the gradient is that of Σ log p(a) · (cost to go),
with actions and costs stopped, averaged over environments."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ppl.compiler.emit.cpu.training import OPTIMIZER_RULES
from ppl.compiler.lower.request import Request
from ppl.ir import ops
from ppl.ir.differentiate import gradient
from ppl.ir.loop import trace_loop
from ppl.ir.node import Node, make
from ppl.ir.rewrites.simplify import erase_markers, simplify
from ppl.ir.types import Axis, Kind
from ppl.runtime.executable import Executable, compile_request

DT, EFFORT = 0.05, 0.1

ENVIRONMENTS = Axis("environments", Kind.PLATE)

SHAPES = (("gain", (2,)), ("log_sigma", ()))

Nodes = Sequence[Node]


def _simulate(t: Node, carries: Nodes, _: Nodes, consts: Nodes) -> tuple[list[Node], list[Node]]:
    """One time of all environments: the next state; the cost and log p of the action."""
    (x, v), (gain, log_sigma) = carries, consts
    noise = ops.ndtri(make("noise", t, name="action", purpose=0, axes=(ENVIRONMENTS,), shape=()))
    on_x, on_v = (ops.reshape(ops.window(gain, ((i, 1, 1),)), ()) for i in range(2))
    mean, sigma = ops.add(ops.mul(on_x, x), ops.mul(on_v, v)), ops.exp(log_sigma)
    action = ops.stop(ops.add(mean, ops.mul(sigma, noise)))
    z = ops.div(ops.sub(action, mean), sigma)
    log_prob = ops.sub(ops.mul(-0.5, ops.mul(z, z)), log_sigma)
    cost = ops.add(ops.add(ops.mul(x, x), ops.mul(v, v)), ops.mul(EFFORT, ops.mul(action, action)))
    return [ops.add(x, ops.mul(DT, v)), ops.add(v, ops.mul(DT, action))], [cost, log_prob]


def _ahead(t: Node, carries: Nodes, costs: Nodes, _: Nodes) -> tuple[list[Node], list[Node]]:
    total = ops.add(carries[0], costs[0])
    return [total], [total]


def request(times: int, simplified: bool = True) -> Request:
    """Mean cost of all `times` and its estimated gradient."""
    params = [make("param", name=name, shape=shape, dtype="float") for name, shape in SHAPES]
    start = [ops.expand(ops.const(value), (ENVIRONMENTS,), ()) for value in (1.0, 0.0, 0.0)]
    _, (costs, log_probs) = trace_loop(_simulate, start[:2], [], params, times)
    _, (ahead,) = trace_loop(_ahead, start[2:], [ops.stop(costs)], [], times, reverse=True)
    weighted = ops.mul(log_probs, ops.stop(ahead))
    mean, surrogate = (
        ops.div(ops.sum_axes(ops.reduce_sum(y), (ENVIRONMENTS,)), ops.size(ENVIRONMENTS)) for y in (costs, weighted)
    )
    nodes = [mean, *gradient(surrogate, params)]
    mean, *grads = simplify(erase_markers(nodes)) if simplified else nodes
    named = tuple((name, g) for (name, _), g in zip(SHAPES, grads, strict=True))
    return Request((("cost", mean),), named, (), (), SHAPES, (), (), ())


def expected_cost(params: np.ndarray, times: int) -> float:
    """The exact expectation, from the mean and the second moments of the state, at ``(gain_x, gain_v, log σ)``."""
    gain, variance = np.asarray(params[:2], np.float64), np.exp(2.0 * float(params[2]))
    move = np.array([[1.0, DT], DT * gain + [0.0, 1.0]])
    moment, total = np.diag([1.0, 0.0]), 0.0
    for _ in range(times):
        total += np.trace(moment) + EFFORT * (gain @ moment @ gain + variance)
        moment = move @ moment @ move.T + np.diag([0.0, DT * DT * variance])
    return float(total)


class Descent:
    """Gradient descent from a stable gain: `step` takes one step a call, `run` many in compiled code."""

    def __init__(self, environments: int, times: int, rate: float, threads: int | None = None):
        self.executable: Executable = compile_request(request(times))
        self.params = np.array([-1.0, -1.5, -1.0], np.float32)
        self.counter = np.zeros(2, np.int64)
        self.rate, self.rows, self.threads = np.float32(rate), {"environments": environments}, threads

    def step(self) -> float:
        """Fresh noise, gradient, update; the mean cost."""
        result = self.executable.run(self.params, rows=self.rows, step=int(self.counter[0]), threads=self.threads)
        self.params -= self.rate * result.grad
        self.counter[0] += 1
        return result.scalars["cost"]

    def run(self, steps: int) -> np.ndarray:
        """As many steps of `step`; the mean cost before each."""
        exe, none, ids = self.executable, self.params[:0], np.zeros(0, np.int64)
        sizes = exe._sizes(self.rows, 1, 1)
        slabs = exe._slabs(sizes)
        threads = exe._threads(slabs, self.threads)
        w, v = exe._work(sizes, slabs, threads)
        costs, rates, hypers = (
            np.zeros((steps, 1)),
            np.full(steps, self.rate, np.float64),
            np.zeros((steps, 0), np.float32),
        )
        state = (
            self.params,
            none,
            none,
            np.empty_like(self.params),
            OPTIMIZER_RULES["SGD"],
            rates,
            np.zeros(1),
            1.0,
            v,
            -1,
            exe.gradient_partition,
            none,
            w,
        )
        entry_points = exe.entry_points(threads)
        rest = costs, ids, 0, threads, entry_points, np.zeros((0, 0), np.int64)
        exe.module.train(*state, none, none, hypers, np.uint64(0), self.counter, *rest)
        return costs[:, 0]
