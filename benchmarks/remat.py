"""Gradients through long loops: everything stored, against carries stored every n-th step (`remat`).

x' = x + tanh(w x + u) / 10 for many states, u uniform noise; the cost is the mean square of the last state. Times are
the best of several, by turns; memory is that of the program's workspace.

    python -m benchmarks.remat"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from ppl.compiler.lower.request import Request
from ppl.ir import ops
from ppl.ir.differentiate import gradient
from ppl.ir.loop import Remat, trace_loop
from ppl.ir.node import Node, make
from ppl.ir.rewrites.simplify import erase_markers, simplify
from ppl.runtime.executable import Executable, compile_request

Nodes = Sequence[Node]

SIZES = ((100_000, 1000), (10_000, 1000), (1000, 1000), (1000, 100), (1000, 10), (100_000, 10))
"""Steps and states."""


def request(steps: int, states: int, remat: Remat) -> Request:
    """The mean square of the last state, and its gradient in w."""
    w = make("param", name="w", shape=(states,), dtype="float")

    def step(t: Node, carries: Nodes, _: Nodes, consts: Nodes) -> tuple[list[Node], list[Node]]:
        noise = make("noise", t, name="u", purpose=0, axes=(), shape=(states,))
        slope = ops.tanh(ops.add(ops.mul(consts[0], carries[0]), noise))
        return [ops.add(carries[0], ops.mul(0.1, slope))], []

    (x,), _ = trace_loop(step, [ops.const(np.zeros(states))], [], [w], steps, remat=remat)
    cost = ops.div(ops.reduce_sum(ops.mul(x, x)), float(states))
    nodes = simplify(erase_markers([cost, *gradient(cost, [w])]))
    return Request((("cost", nodes[0]),), (("w", nodes[1]),), params=(("w", (states,)),))


def megabytes(executable: Executable) -> float:
    """Memory of the workspace."""
    return sum(x.nbytes for x in executable._work(executable._sizes({}, 1, 1), 1, 1)) / 1e6


def compared(steps: int, states: int, repeats: int = 3) -> str:
    """A row of the table: seconds and memory with everything stored, and in segments."""
    w = np.full(states, -0.5, np.float32)
    executables = [compile_request(request(steps, states, remat)) for remat in (None, round(steps**0.5), "auto")]
    results = [e.run(w) for e in executables]
    assert all(r.scalars == results[0].scalars and np.array_equal(r.grad, results[0].grad) for r in results)
    best = [np.inf] * len(executables)
    for _ in range(repeats):
        for i, e in enumerate(executables):
            start = time.perf_counter()
            e.run(w)
            best[i] = min(best[i], time.perf_counter() - start)
    cells = [f"{t * 1e3:.2f} ms, {megabytes(e):.2f} MB" for t, e in zip(best, executables, strict=True)]
    return f"| {steps} | {states} | {' | '.join(cells)} | {best[1] / best[0]:.2f} | {best[2] / best[0]:.2f} |"


def main() -> None:
    """Print the table."""
    print('| steps | states | all stored | in segments of √T steps | "auto" | segments to stored | auto to stored |')
    print("|---|---|---|---|---|---|---|")
    for steps, states in SIZES:
        print(compared(steps, states), flush=True)


if __name__ == "__main__":
    main()
