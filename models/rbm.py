"""A restricted Boltzmann machine of binary units on 8×8 digits, by contrastive divergence or persistent chains.

p(v, h) = e^{−E(v, h)} / Z with E = −bᵀv − cᵀh − vᵀWh. Summed over h, p(v) = e^{−F(v)} / Z with the free energy
F(v) = −bᵀv − Σⱼ log(1 + exp(cⱼ + Σᵢ vᵢ Wᵢⱼ)). The slope of −log p(v) is that of F(v) − E_{v'~p}[F(v')]: the cost is
that difference, with v' the end of a Gibbs chain of random nodes whose parameters are stopped, so that the compiler
gives them no estimator. CD-k starts the chain at the data; PCD goes on from where the last step left it, a value that
the state carries.

Hinton 2002 (CD); Tieleman 2008 (PCD); Salakhutdinov & Murray 2008 (log Z by annealing).
"""

from __future__ import annotations

from typing import Any

import numpy as np

import ppl
from ppl import Bernoulli
from ppl.models import annealing, boltzmann, common, data, pictures
from ppl.models.annealing import sigmoid, softplus


def energy(v: Any, h: Any, weight: Any, visible: Any, hidden: Any) -> Any:
    """E(v, h) of rows v (…, V) and h (…, H)."""
    return -(v @ visible) - h @ hidden - np.sum((v @ weight) * h, axis=-1)


def free_energy(v: Any, weight: Any, visible: Any, hidden: Any) -> Any:
    """F(v) = −log Σ_h exp(−E(v, h)), of symbolic values and of arrays (…, V)."""
    return -(v @ visible) - np.sum(ppl.softplus(hidden + v @ weight), axis=-1)


def parameters(rates: np.ndarray, units: int) -> tuple[Any, Any, Any]:
    """W, b and c; b starts at the log-odds of the pixels' `rates`: independent pixels, but for the noise in W."""
    weight = ppl.param("weight", ppl.init.normal(0.01), shape=(len(rates), units))
    return weight, ppl.param("visible", np.log(rates / (1 - rates))), ppl.param("hidden", 0.0, shape=units)


def gibbs(v: Any, weight: Any, visible: Any, hidden: Any, steps: int) -> Any:
    """v after `steps` updates h ~ p(h | v), v ~ p(v | h)."""
    weight, visible, hidden = map(ppl.stop_gradient, (weight, visible, hidden))
    for t in range(steps):
        h = ppl.sample(f"h/{t}", Bernoulli(logits=hidden + v @ weight))
        v = ppl.sample(f"v/{t}", Bernoulli(logits=visible + weight @ h))
    return ppl.stop_gradient(v)


@ppl.model
def contrastive(x: Any, *, rates: np.ndarray, units: int = 16, steps: int = 1) -> None:
    """CD-k: every row's chain starts at the row."""
    theta = parameters(rates, units)
    with ppl.plate("data", x) as x:
        fantasy = gibbs(x, *theta, steps)
        ppl.cost("gap", free_energy(x, *theta) - free_energy(fantasy, *theta))


@ppl.model
def persistent(x: Any, *, rates: np.ndarray, units: int = 16, steps: int = 1, chains: int = 100) -> None:
    """PCD-k: chains of their own, which the state carries from step to step."""
    theta = parameters(rates, units)
    start = ppl.carried("chains", lambda rng, shape: rng.random(shape) < rates, shape=(chains, len(rates)))
    boltzmann.persistent_gap(x, start, lambda v: gibbs(v, *theta, steps), lambda v: free_energy(v, *theta))


def log_partition(weight: np.ndarray, visible: np.ndarray, hidden: np.ndarray) -> float:
    """log Z exactly, summed over all states of the hidden units: Σ_h e^{cᵀh} ∏ᵢ (1 + exp(bᵢ + Σⱼ Wᵢⱼ hⱼ))."""
    bits = annealing.states(len(hidden))
    return annealing.logsumexp([h @ hidden + softplus(visible + h @ weight.T).sum(-1) for h in bits])


class Annealed:
    """From independent pixels at `rates` to the machine `theta`: E_β = −((1−β) b₀ + β b)ᵀv − β (cᵀh + vᵀWh)."""

    def __init__(self, theta: dict[str, np.ndarray], rates: np.ndarray):
        self.weight, self.visible, self.hidden = (
            np.asarray(theta[k], np.float64) for k in ("weight", "visible", "hidden")
        )
        self.rates, self.base = rates, np.log(rates / (1 - rates))
        self.log_base = float(softplus(self.base).sum() + len(self.hidden) * np.log(2))

    def start(self, rng: np.random.Generator, chains: int) -> np.ndarray:
        """Independent pixels."""
        return (rng.random((chains, len(self.rates))) < self.rates).astype(np.float64)

    def log_density(self, beta: float, v: np.ndarray) -> np.ndarray:
        """log Σ_h exp(−E_β(v, h))."""
        linear = v @ ((1 - beta) * self.base + beta * self.visible)
        return linear + softplus(beta * (self.hidden + v @ self.weight)).sum(-1)

    def move(self, rng: np.random.Generator, beta: float, v: np.ndarray) -> np.ndarray:
        """One Gibbs update at β."""
        h = rng.random((len(v), len(self.hidden))) < sigmoid(beta * (self.hidden + v @ self.weight))
        on = sigmoid((1 - beta) * self.base + beta * (self.visible + h @ self.weight.T))
        return (rng.random(v.shape) < on).astype(np.float64)


def smoothed(rows: np.ndarray) -> np.ndarray:
    """Rates of the pixels, one of each value added: (V,), inside (0, 1)."""
    return (rows.sum(0, dtype=np.float64) + 1) / (len(rows) + 2)


MACHINE = boltzmann.Machine(free_energy, log_partition)


def main(argv: common.Arguments = None) -> int:
    """Train, sum or anneal log Z, print log-likelihoods, draw filters and samples."""
    job = common.Job("rbm", __doc__, argv, epochs=200, lr=0.2, method=("pcd", "cd"), steps=5, units=16,
                     temperatures=2000, annealed=500)  # fmt: skip
    options = job.options
    rows, test_rows = data.digits()
    rates = smoothed(rows)
    static = {"rates": rates, "units": options.units, "steps": options.steps}
    chains = {"chains": options.batch_size} if options.method == "pcd" else {}
    model = persistent if chains else contrastive
    program = job.compile(model.bind(**static, **chains), data=rows)
    updates = options.epochs * -(-len(rows) // options.batch_size)
    curve = boltzmann.Curve(MACHINE, program, max(1, updates // 15), training=rows, held_out=test_rows)
    fit = job.fit(program, rows, optimizer=ppl.optim.SGD(ppl.optim.linear(options.lr, 0.0, updates)), callback=curve)
    theta = program.params(fit.state)
    path = Annealed(theta, rates)
    boltzmann.evaluate(job, MACHINE, theta, path, training=rows, held_out=test_rows)
    figure, axes = pictures.pyplot().subplots(1, 4, figsize=(15, 4))
    curve.show(axes[0], fit.history)
    reach = np.abs(theta["weight"]).max()
    pictures.show_images(axes[1], theta["weight"].T, 4, "filters W", -reach, reach)
    pictures.show_images(axes[2], test_rows[:48], 8, "held-out digits")
    pictures.show_images(axes[3], boltzmann.draw(path, 48, options.seed), 8, "samples")
    job.picture(figure)
    return job.finish()


if __name__ == "__main__":
    raise SystemExit(main())
