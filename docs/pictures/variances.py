"""The pictures of docs/choosing.md, from gradients that are drawn here.

Run: python docs/pictures/variances.py            (about a minute; writes the three pictures beside itself)
"""

from pathlib import Path

import numpy as np

import ppl
from ppl import Bernoulli, Normal
from ppl.estimators import ARM, DisARM, Pathwise, Rebar, ScoreFunction
from ppl.models.pictures import pyplot

FOLDER = Path(__file__).parent
PLAIN, MOVING, OTHERS = ScoreFunction(), ScoreFunction("moving_average"), ScoreFunction("leave_one_out")
BINARY = {
    "score function": (PLAIN, 1),
    "moving average": (MOVING, 1),
    "ARM": (ARM(), 1),
    "leave-one-out (2)": (OTHERS, 2),
    "REBAR": (Rebar(), 1),
    "DisARM": (DisARM(), 1),
}


@ppl.model
def coins(*, n):
    """A cost of n fair coins: how far the share of heads is from 0.45, and 5 that no coin changes."""
    b = ppl.sample("b", Bernoulli(logits=ppl.param("a", np.zeros(n))))
    ppl.cost("c", 5.0 + n * (np.mean(b) - 0.45) ** 2)


@ppl.model
def bump(*, width):
    """A bump of the given width at 0, seen from Normal(1, 1)."""
    x = ppl.sample("x", Normal(ppl.param("m", 1.0), 1.0))
    ppl.cost("c", np.exp(-0.5 * (x / width) ** 2))


def adapted(model, estimator, particles):
    """A program, and a state whose baselines and control variates had 300 steps to adapt."""
    program = ppl.compile(model, estimators=estimator, particles=particles, dtype="float64")
    state = program.init(0)
    if not isinstance(estimator, Pathwise) and state.aux:
        for _ in range(300):
            _, _, state = program.step(state)
    return program, state


def variance(model, estimator, particles=1, repeats=4000):
    """The variance of a gradient, summed over its entries, and its standard error."""
    program, state = adapted(model, estimator, particles)
    total = program.diagnose(state, repeats=repeats, timing=False, backend="interpreter").total
    return total.trace, total.trace_error


def draw_estimates(plt, draws=2000):
    """Single estimates of one number, by estimator, as clouds of points; the plain score function by itself."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained", width_ratios=[1, 4.5])
    rng = np.random.default_rng(0)
    for place, (label, (estimator, particles)) in enumerate(BINARY.items()):
        program, state = adapted(coins.bind(n=4), estimator, particles)
        found = np.array([program.value_and_grad(state, seed=s)[1]["a"][0] for s in range(draws)])
        ax = axes[min(place, 1)]
        ax.plot(place + rng.uniform(-0.32, 0.32, draws), found, ".", ms=2.5, alpha=0.35, color=f"C{place}")
        ax.annotate(f"{label}\nσ = {found.std():.2g}", (place, 1.02), xycoords=("data", "axes fraction"), ha="center")
    for ax, limit in zip(axes, (4.0, 0.8), strict=True):
        ax.axhline(EXACT, color="k", lw=0.8)
        ax.set(xticks=[], ylim=(-limit, limit))
    axes[0].set(xlim=(-0.6, 0.6), ylabel="one estimate of dE[cost] / da₁")
    figure.savefig(FOLDER / "estimates.png", dpi=110)


EXACT = 0.025
"""dE/da₁ of n fair coins: of n (Var(mean b) + (E mean b − 0.45)²) only n · 2 (0.5 − 0.45) · ¼ / n is left at ½."""


def draw_units(plt):
    """The variance against the number of units."""
    figure, ax = plt.subplots(figsize=(8, 4), layout="constrained")
    counts = [1, 2, 4, 8, 16, 32, 64]
    for label, (estimator, particles) in BINARY.items():
        found = np.array([variance(coins.bind(n=n), estimator, particles) for n in counts])
        found[found[:, 0] < 1e-12] = np.nan  # DisARM on one coin is exact
        ax.errorbar(counts, found[:, 0], found[:, 1], marker="o", ms=4, label=label)
    ax.set(xscale="log", yscale="log", xlabel="units", ylabel="variance of the gradient (trace)")
    ax.set_xticks(counts, [str(n) for n in counts])
    ax.legend(fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(FOLDER / "units.png", dpi=110)


def draw_bump(plt):
    """Pathwise against score function, as the cost gets sharper."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    widths = np.geomspace(0.05, 5.0, 13)
    for label, estimator in (("pathwise", Pathwise()), ("score function", PLAIN), ("moving average", MOVING)):
        found = np.array([variance(bump.bind(width=float(w)), estimator) for w in widths])
        right.errorbar(widths, found[:, 0], found[:, 1], marker="o", ms=4, label=label)
    x = np.linspace(-3, 4, 600)
    for width, style in ((2.0, "-"), (0.5, "--"), (0.1, ":")):
        left.plot(x, np.exp(-0.5 * (x / width) ** 2), "C7" + style, label=f"cost, width {width:g}")
    left.fill_between(x, 0.4 * np.exp(-0.5 * (x - 1) ** 2), color="C0", alpha=0.25, lw=0, label="Normal(1, 1)")
    left.set(xlabel="x", ylim=(0, 1.45))
    left.legend(fontsize=8.5, loc="upper right")
    right.set(xscale="log", yscale="log", xlabel="width of the cost", ylabel="variance of the gradient")
    right.set_xticks([0.05, 0.2, 1, 5], ["0.05", "0.2", "1", "5"])
    right.legend(fontsize=9)
    figure.savefig(FOLDER / "sharpness.png", dpi=110)


if __name__ == "__main__":
    pyplot = pyplot()
    draw_estimates(pyplot)
    draw_units(pyplot)
    draw_bump(pyplot)
