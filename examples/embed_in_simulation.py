"""A trainable, random part inside your own compiled simulation: `program.njit` called from an `@njit` loop.

A walker drifts at random; at every time step a controller, a Normal policy, sees its position and velocity and pushes.
One call of the compiled program estimates the cost of a push and its gradient; the rest of the simulation is yours.

Run: python examples/embed_in_simulation.py
"""

import numba
import numpy as np

import ppl
from ppl import Normal


@ppl.model
def controller(seen):
    """Push ~ N(w · seen, σ²); it should stop the walker one time unit later, and it costs energy."""
    with ppl.plate("time", seen) as seen:
        w = ppl.param("w", np.zeros(2))
        push = ppl.sample("push", Normal(w @ seen, ppl.param("sigma", 0.5, constraint="positive")))
        position, velocity = seen[0], seen[1]
        ppl.cost("miss", (position + velocity + push) ** 2)
        ppl.cost("energy", 0.1 * push**2)


program = ppl.compile(controller, dtype="float64", data=ppl.spec((None, 2)))
learn = program.njit  # a nopython function: (params, grad, aux, hyper, seed, step, row0, scale, work, *data) -> loss


@numba.njit
def simulate(params, grad, aux, hyper, work, steps, rate):
    """The user's own loop: the walker moves by its own rules, the controller learns from every move."""
    np.random.seed(1)  # the simulation's own noise; the program's noise depends on (seed, step, row) alone
    seen, losses = np.zeros((1, 2)), np.zeros(steps)
    for t in range(steps):
        # The data of this call is one row: position and velocity. The work space is passed in, one per thread.
        losses[t] = learn(params, grad, aux, hyper, 7, t, 0, 1.0, work, seen)
        for i in range(params.size):
            params[i] -= rate * grad[i]
        push = params[0] * seen[0, 0] + params[1] * seen[0, 1]
        seen[0, 1] = 0.9 * seen[0, 1] + push + 0.3 * np.random.randn()
        seen[0, 0] += 0.1 * seen[0, 1]
    return losses


def main() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Simulate 20,000 time steps; return the losses and the learned parameters."""
    state = program.init(seed=0)
    params, grad, aux, hyper = program.arrays(state)  # flat vectors that the compiled function reads and writes
    losses = simulate(params, grad, aux, hyper, program.workspace(rows=1), 20_000, 0.002)
    learned = program.params(state.replace(params=program.unravel(params)))
    print("loss: first 500 steps", losses[:500].mean().round(3), "- last 500 steps", losses[-500:].mean().round(3))
    print("learned:", {name: value.round(3).tolist() for name, value in learned.items()})
    return losses, learned


if __name__ == "__main__":
    main()
