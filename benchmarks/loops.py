"""Loops over time: ppl against JAX's `lax.scan` where that is installed.

(a) a policy gradient, 1000 environments × 200 steps; (b) 20,000 random walks x' = x ± 1 with P(+1) = exp(-x / 100), 50
steps, score function with costs to go; (c) the forward algorithm, 16 states, 500 steps, 64 sequences, log-likelihood
and gradient. Times are the best of several blocks, by turns.

    python -m benchmarks.loops"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.policy_gradient import Descent
from ppl.compiler.lower.request import Request
from ppl.ir import ops
from ppl.ir.differentiate import gradient
from ppl.ir.loop import trace_loop
from ppl.ir.node import Node, make
from ppl.ir.rewrites.simplify import erase_markers, simplify
from ppl.ir.types import Axis, Kind, Type
from ppl.runtime.executable import Executable, compile_request

ENVIRONMENTS, TIMES = 1000, 200

WALKS, STEPS = 20_000, 50

STATES, LENGTH, SEQUENCES = 16, 500, 64

WALKERS, SEQUENCE = Axis("walks", Kind.PLATE), Axis("sequences", Kind.PLATE)

Nodes = Sequence[Node]

Run = Callable[[], object]


def _request(cost: Node, surrogate: Node, params: Sequence[Node]) -> Request:
    cost, *grads = simplify(erase_markers([cost, *gradient(surrogate, params)]))
    shapes = tuple((p.attrs["name"], p.type.shape) for p in params)
    return Request((("cost", cost),), tuple(zip((n for n, _ in shapes), grads, strict=True)), params=shapes)


def walk_request(steps: int = STEPS) -> Request:
    """Random walks: the mean of the sum of |x - target| over steps, by its score with costs to go."""
    scale = make("param", name="scale", shape=(), dtype="float")

    def step(t: Node, carries: Nodes, _: Nodes, consts: Nodes) -> tuple[list[Node], list[Node]]:
        (x,), (rate,) = carries, consts
        log_up = ops.neg(ops.mul(ops.cast(x, "float"), rate))
        up = ops.less(make("noise", t, name="move", purpose=0, axes=(WALKERS,), shape=()), ops.exp(log_up))
        log_prob = ops.where(up, log_up, ops.log1mexp(log_up))
        x = ops.maximum(ops.add(x, ops.where(up, 1, -1)), 1)
        return [x], [ops.cast(x, "float"), log_prob]

    def ahead(t: Node, carries: Nodes, xs: Nodes, _: Nodes) -> tuple[list[Node], list[Node]]:
        new = ops.add(carries[0], xs[0])
        return [new], [new]

    start, zero = (ops.expand(ops.const(x), (WALKERS,)) for x in (10, 0.0))
    _, (costs, log_probs) = trace_loop(step, [start], [], [ops.exp(scale)], steps)
    _, (to_go,) = trace_loop(ahead, [zero], [ops.stop(costs)], [], steps, reverse=True)
    size = ops.size(WALKERS)
    cost, surrogate = (ops.div(ops.sum_axes(ops.reduce_sum(y), (WALKERS,)), size)
                       for y in (costs, ops.mul(log_probs, ops.stop(to_go))))  # fmt: skip
    return _request(cost, surrogate, [scale])


def forward_request(length: int = LENGTH) -> Request:
    """The negative log-likelihood of sequences of a hidden Markov model, by the forward algorithm."""
    moves = make("param", name="moves", shape=(STATES, STATES), dtype="float")
    means = make("param", name="means", shape=(STATES,), dtype="float")
    data = make("input", name="y", axes=(SEQUENCE,), shape=(length,), dtype="float")

    def step(t: Node, carries: Nodes, xs: Nodes, consts: Nodes) -> tuple[list[Node], list[Node]]:
        (alpha, total), (y,), (matrix, loc) = carries, xs, consts
        error = ops.sub(ops.expand(y, (), (STATES,)), loc)
        weight = ops.exp(ops.mul(-0.5, ops.mul(error, error)))
        alpha = ops.mul(ops.matmul(alpha, matrix), weight)
        mass = ops.reduce_sum(alpha)
        return [ops.div(alpha, mass), ops.add(total, ops.log(mass))], []

    start = [ops.expand(ops.const(np.full(STATES, 1 / STATES)), (SEQUENCE,)), ops.expand(ops.const(0.0), (SEQUENCE,))]
    (_, total), _ = trace_loop(step, start, [data], [ops.softmax(moves), means], length)
    loss = ops.neg(ops.sum_axes(total, (SEQUENCE,)))
    request = _request(loss, loss, [moves, means])
    kind = Type((SEQUENCE,), (length,))
    return Request(request.scalars, request.grads, params=request.params, inputs=(("y", kind),))


def walk(threads: int, rows: int = WALKS) -> tuple[Executable, Run]:
    """(b): the program, and one step."""
    executable = compile_request(walk_request())
    params = np.array([np.log(0.01)], np.float32)
    return executable, lambda: executable.run(params, rows={"walks": rows}, threads=threads)


def forward(threads: int) -> tuple[Executable, Run]:
    """(c): the program, and one step."""
    executable = compile_request(forward_request())
    rng = np.random.default_rng(0)
    params = rng.normal(size=STATES * STATES + STATES).astype(np.float32)
    data = rng.normal(size=(SEQUENCES, LENGTH)).astype(np.float32)
    return executable, lambda: executable.run(params, inputs=[data], threads=threads)


def seconds(runs: dict[str, tuple[Run, int]], blocks: int = 5) -> dict[str, float]:
    """Best seconds a call of each, in blocks of so many calls, by turns."""
    best = dict.fromkeys(runs, np.inf)
    for _ in range(blocks):
        for name, (run, calls) in runs.items():
            start = time.perf_counter()
            for _ in range(calls):
                run()
            best[name] = min(best[name], (time.perf_counter() - start) / calls)
    return best


def ours() -> dict[str, tuple[Run, int]]:
    """What is measured of ppl, by name, with the calls of a block."""
    found: dict[str, tuple[Run, int]] = {}
    for threads in (1, 2):
        descent = Descent(ENVIRONMENTS, TIMES, 1e-4, threads)
        found[f"(a) policy gradient, ppl, {threads} threads"] = (lambda d=descent: d.run(20), 1)  # type: ignore[misc]
        found[f"(b) random walks, ppl, {threads} threads"] = walk(threads)[1], 10
        found[f"(c) forward algorithm, ppl, {threads} threads"] = forward(threads)[1], 10
    return found


def of_jax() -> dict[str, tuple[Run, int]]:
    """The same of JAX, on its own number of threads; nothing where it is not installed."""
    if importlib.util.find_spec("jax") is None:
        return {}
    from benchmarks.peers import loops_jax

    return {
        "(a) policy gradient, JAX": (loops_jax.policy_gradient(ENVIRONMENTS, TIMES), 10),
        "(b) random walks, JAX": (loops_jax.walk(WALKS, STEPS), 3),
        "(c) forward algorithm, JAX": (loops_jax.forward(STATES, LENGTH, SEQUENCES), 3),
    }


def main() -> None:
    """Print seconds, and what they are of those of others."""
    runs = {**ours(), **of_jax()}
    for run, _ in runs.values():
        run()
    best = seconds(runs)
    for name in sorted(best):
        best[name] /= 20 if "gradient, ppl" in name else 1
    for name in sorted(best):
        peer = best.get(f"{name.split(',')[0]}, JAX")
        ratio = f", {best[name] / peer:.2f} of JAX" if peer and "ppl" in name else ""
        print(f"{name}: {best[name] * 1e3:.3f} ms{ratio}")


if __name__ == "__main__":
    main()
