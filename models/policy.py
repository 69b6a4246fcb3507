"""Policy gradients over the trajectories of a small Markov decision process, checked by dynamic programming.

River swim: four states in a row; drifting left is safe and earns little at the left bank, swimming right may fail and
earns 1 at the right bank. The trajectory s₀ a₀ s₁ a₁ … is random nodes in a `ppl.scan`, the rewards are costs, and
nothing here knows about reinforcement learning: an action's advantage are the costs *downstream* of it,

    ∇J = Σ_t E[∇ log π(a_t | s_t) (R_t + … + R_{T-1} - b_t)],

so that earlier rewards never enter. The exact gradient is Σ_t d_t(s) π_t(a|s) (Q_t(s, a) - V_t(s)) with the state's
distribution d forwards and the values Q backwards. Williams 1992; Sutton et al. 2000; Strehl & Littman 2008.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import ppl
from ppl import Categorical
from ppl.models import common, pictures

STATES, ACTIONS, STEPS = 4, 2, 20
START = 1


def river() -> tuple[np.ndarray, np.ndarray]:
    """P(s' | s, a) of shape (S, A, S), and rewards (S, A)."""
    move, reward = np.zeros((STATES, ACTIONS, STATES)), np.zeros((STATES, ACTIONS))
    for s in range(STATES):
        left, right = max(s - 1, 0), min(s + 1, STATES - 1)
        move[s, 0, left] += 1.0
        for target, p in ((right, 0.6), (s, 0.35), (left, 0.05)):
            move[s, 1, target] += p
    reward[0, 0], reward[-1, 1] = 0.05, 1.0
    return move, reward


@ppl.model
def trajectory(*, steps: int = STEPS) -> None:
    """s₀ a₀ s₁ a₁ …, with a table of action logits for every step."""
    move, reward = (ppl.constant(x) for x in river())

    def step(state: Any, logits: Any) -> tuple[Any, None]:
        action = ppl.sample("action", Categorical(logits=logits[state]))
        ppl.cost("cost", -reward[state, action])
        return ppl.sample("state", Categorical(move[state, action])), None

    ppl.scan(step, START, ppl.param("logits", 0.0, shape=(steps, STATES, ACTIONS)))


def policy_of(logits: np.ndarray) -> np.ndarray:
    """Action probabilities (T, S, A)."""
    return np.asarray(ppl.softmax(np.asarray(logits, np.float64)))


def values(policy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Q (T, S, A) and V (T, S) of a policy: expected rewards from step t on, by backward induction."""
    move, reward = river()
    q, v = np.zeros(policy.shape), np.zeros(policy.shape[:2])
    after = np.zeros(STATES)
    for t in reversed(range(len(policy))):
        q[t] = reward + move @ after
        v[t] = after = (policy[t] * q[t]).sum(1)
    return q, v


def exact_gradient(logits: np.ndarray) -> np.ndarray:
    """The gradient of the expected cost -V₀(s₀) in the logits, by dynamic programming."""
    move, _ = river()
    policy = policy_of(logits)
    q, v = values(policy)
    out, at = np.zeros(policy.shape), np.eye(STATES)[START]
    for t, row in enumerate(policy):
        out[t] = -at[:, None] * row * (q[t] - v[t][:, None])
        at = np.einsum("s,sa,sab->b", at, row, move)
    return out


def optimal(steps: int) -> tuple[float, np.ndarray]:
    """The largest expected reward, and an optimal policy's actions (T, S)."""
    move, reward = river()
    best, after = np.zeros((steps, STATES), int), np.zeros(STATES)
    for t in reversed(range(steps)):
        q = reward + move @ after
        best[t], after = q.argmax(1), q.max(1)
    return float(after[START]), best


def episodes(program: Any, state: Any, count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """States, actions and rewards of `count` sampled trajectories: (count, T) each."""
    found = program.sample(state, particles=count, seed=seed)
    states = np.column_stack([np.full(count, START), found["state"][:, :-1]])
    return states, found["action"], river()[1][states, found["action"]]


def reward_to_go(logits: np.ndarray, states: np.ndarray, actions: np.ndarray, rewards: np.ndarray) -> np.ndarray:
    """Σ_t ∇(-log π(a_t | s_t)) (R_t + … + R_{T-1}), the mean over trajectories: the textbook formula."""
    policy, out = policy_of(logits), np.zeros(logits.shape)
    left = np.cumsum(rewards[:, ::-1], 1)[:, ::-1]
    for t in range(logits.shape[0]):
        for s, a, r in zip(states[:, t], actions[:, t], left[:, t], strict=True):
            out[t, s] -= (np.eye(ACTIONS)[a] - policy[t, s]) * r
    return out / len(states)


def main(argv: common.Arguments = None) -> int:
    """Check the gradient, learn the policy, compare its exact value with the optimum, draw both."""
    extras: dict[str, Any] = {"steps": 2000, "horizon": 6, "particles": 16}
    job = common.Job("policy", __doc__, argv, epochs=None, batch_size=None, lr=5e-2, **extras)
    options = job.options
    name = "ScoreFunction:leave_one_out" if options.estimator == "auto" else options.estimator
    pinned = {"action": common.estimator(name)}
    program = job.compile(trajectory.bind(steps=options.horizon), dtype="float64", estimators=pinned)
    curve: list[float] = []

    def keep(step: int, state: Any, metrics: Any) -> None:
        if step % 10 == 0:
            curve.append(float(values(policy_of(state.params["logits"]))[1][0, START]))

    start = program.init(options.seed)
    mean, error = mean_gradient(program, start, 2000)
    exact = exact_gradient(start.params["logits"])
    reached = np.abs(mean - exact)[error > 0] / error[error > 0]
    job.report("largest deviation of the mean gradient from the exact one", reached.max(), unit="standard errors")
    fit = job.fit(program, steps=options.steps, optimizer=ppl.optim.Adam(options.lr), callback=keep)
    best, actions = optimal(options.horizon)
    learned = policy_of(fit.params["logits"])
    job.report("expected reward at the start", values(policy_of(start.params["logits"]))[1][0, START])
    job.report("expected reward learned, exact", values(learned)[1][0, START])
    job.report("expected reward of the optimal policy", best)
    job.picture(draw(np.array(curve), best, learned, actions))
    return job.finish()


def mean_gradient(program: Any, state: Any, repeats: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean gradient over independent noise and its standard error."""
    found = program.diagnose(state, repeats=repeats, timing=False, backend="interpreter")["logits"]
    return found.mean, found.standard_error


def draw(curve: np.ndarray, best: float, learned: np.ndarray, actions: np.ndarray) -> Any:
    """The learning curve, and the learned policy with the optimal actions."""
    figure, (left, right) = pictures.pyplot().subplots(1, 2, figsize=(11, 4))
    left.plot(10 * np.arange(1, len(curve) + 1), curve, label="policy gradient (exact value of the policy)")
    left.axhline(best, color="k", ls=":", label="optimum, by dynamic programming")
    left.set(xlabel="step", ylabel="expected reward", title="learning", ylim=(0, None))
    left.legend(fontsize=8)
    shown = right.imshow(learned[:, :, 1].T, origin="lower", cmap="RdBu", vmin=0, vmax=1, aspect="auto")
    for t, s in np.ndindex(actions.shape):
        if abs(s - START) <= t:
            color = "w" if abs(learned[t, s, 1] - 0.5) > 0.3 else "k"
            right.text(t, s, "→" if actions[t, s] else "←", ha="center", va="center", fontsize=11, color=color)
    right.set(xlabel="time", ylabel="state", title="learned P(swim right); arrows: optimal where reachable")
    right.set_yticks(range(learned.shape[1]))
    figure.colorbar(shown, ax=right)
    figure.tight_layout()
    return figure


if __name__ == "__main__":
    raise SystemExit(main())
