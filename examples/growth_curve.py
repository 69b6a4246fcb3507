"""A growth curve by SciPy's `solve_ivp`, fitted by gradients: a plain Python function in a compiled program.

dy/dt = r y (1 − y/K). The gradient integrates how y moves with r and K along with y. The function runs in the Python
interpreter, and may use any library; everything around it is compiled.
Run: python examples/growth_curve.py
"""

import numpy as np
from scipy.integrate import solve_ivp

import ppl
from ppl import Normal
from ppl.models import pictures

TIMES, START, TRUE, NOISE = np.linspace(1.0, 12.0, 15), 0.2, np.array([0.9, 5.0]), 0.15


def solved(p):
    """y and its derivatives in r and K at the times that are measured, shape (3, 15)."""

    def speed(t, state):
        y, along = state[0], 1 - state[0] / p[1]
        slope = p[0] * (along - y / p[1])
        return [p[0] * y * along, slope * state[1] + y * along, slope * state[2] + p[0] * (y / p[1]) ** 2]

    return solve_ivp(speed, (0.0, TIMES[-1]), [START, 0.0, 0.0], t_eval=TIMES, rtol=1e-9, atol=1e-9).y


def curve(p):
    """y at the times that are measured."""
    return solved(p)[0]


def curve_vjp(p, g):
    """The cotangent of (r, K), given that of the curve."""
    return solved(p)[1:] @ g


@ppl.model
def model(seen):
    """A curve with noise of unknown size."""
    p = ppl.param("p", np.array([0.5, 3.0]), constraint="positive")
    y = ppl.external(curve, p, shape=TIMES.shape, gradient=curve_vjp, python=True)
    ppl.sample("seen", Normal(y, ppl.param("noise", 1.0, constraint="positive")), obs=seen)


def exact(t, rate, capacity):
    """The solution in closed form."""
    return capacity / (1 + (capacity / START - 1) * np.exp(-rate * t))


def main(steps=600):
    """Fit; draws the curve; returns the parameters and what was seen."""
    seen = exact(TIMES, *TRUE) + NOISE * np.random.default_rng(0).normal(size=TIMES.shape)
    program = ppl.compile(ppl.likelihood(model), dtype="float64", data=seen)
    adam = ppl.optim.Adam(lambda t: 0.05 / (1 + t / 100))
    fit = ppl.fit(program, seen, steps=steps, optimizer=adam, progress=False)
    figure, ax = pictures.pyplot().subplots(figsize=(7, 3.5), layout="constrained")
    ax.plot(TIMES, seen, "o", label="seen")
    ax.plot(TIMES, curve(fit.params["p"]), label=f"r = {fit.params['p'][0]:.2f}, K = {fit.params['p'][1]:.2f}")
    ax.set(xlabel="time", ylabel="size")
    ax.legend()
    pictures.save(figure, "outputs", "growth_curve")
    return fit.params, seen


if __name__ == "__main__":
    main()
