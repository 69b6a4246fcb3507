"""REBAR against RELAX: E[(b − t)²] for b ~ Bernoulli(σ(θ)), one sample a step, t = 0.499 and t = 0.501.

The exact gradient p(1 − p)(1 − 2t) is ±0.0005 at p = ½, single score-function estimates ±0.125. Draws learning curves
and the variance of the gradient along them. Tucker et al. 2017; Grathwohl et al. 2018; Dong et al. 2020 (DisARM).
Run: python examples/rebar_relax.py
"""

import numpy as np

import ppl
from ppl.estimators import DisARM, Rebar, Relax, ScoreFunction
from ppl.models import pictures

METHODS = {"score function": ScoreFunction(), "REBAR": Rebar(), "RELAX": Relax(), "DisARM": DisARM()}
TARGETS = (0.499, 0.501)


@ppl.model
def toy():
    """The target is a run-time scalar, so that one compiled program serves both."""
    b = ppl.sample("b", ppl.Bernoulli(logits=ppl.param("logit", 0.0)))
    ppl.cost("loss", (b - ppl.hyper("target", 0.499)) ** 2)


def train(name, target, seed, steps, checkpoints, repeats):
    """At checkpoints (step, expected loss above its minimum, variance of the gradient), and the final state."""
    program = ppl.compile(toy, estimators=METHODS[name])
    rows, state, at = [], program.init(seed), {"hyper": {"target": target}}
    for step in range(steps // checkpoints, steps + 1, steps // checkpoints):
        adam = ppl.optim.Adam(1e-2)
        state = ppl.fit(program, steps=step - state.step, state=state, optimizer=adam, progress=False, **at).state
        wrong = 1 / (1 + np.exp(np.sign(target - 0.5) * float(state.params["logit"])))  # chance of the worse value
        variance = program.diagnose(state, repeats=repeats, timing=False, backend="interpreter", **at).total.trace
        rows.append((step, abs(1 - 2 * target) * wrong, variance))
    return np.array(rows).T, state


def draw(results):
    """Medians over seeds, with bands from the least to the greatest."""
    figure, axes = pictures.pyplot().subplots(2, 2, figsize=(11, 7), sharex=True, sharey="row", layout="constrained")
    for (name, target), runs in results.items():
        step, loss, variance = np.array([curves for curves, _ in runs]).transpose(1, 0, 2)
        for ax, y in zip(axes[:, TARGETS.index(target)], (1e3 * loss, variance), strict=True):
            (line,) = ax.plot(step[0], np.median(y, 0), "--" if name == "REBAR" else "-", label=name)
            ax.fill_between(step[0], y.min(0), y.max(0), color=line.get_color(), alpha=0.13, lw=0)
        axes[0, TARGETS.index(target)].set(title=f"t = {target}", ylabel="expected loss above its minimum, 10⁻³")
        ax.set(yscale="log", xlabel="step", ylabel="variance of the gradient")
    axes[0, 0].legend(loc="upper left")
    return figure


def main(steps=10_000, seeds=range(5), checkpoints=50, repeats=4000):
    """Train with every method, target and seed, and draw; results[method, target] has one (curves, state) a seed."""
    results = {(n, t): [train(n, t, s, steps, checkpoints, repeats) for s in seeds] for n in METHODS for t in TARGETS}
    pictures.save(draw(results), "outputs", "rebar_relax")
    return results


if __name__ == "__main__":
    main()
