"""A Gaussian–Bernoulli restricted Boltzmann machine with learned σ on grey 8×8 digits, by persistent chains.

E(v, h) = Σᵢ (vᵢ − bᵢ)² / (2σᵢ²) − cᵀh − Σᵢⱼ (vᵢ/σᵢ) Wᵢⱼ hⱼ: given h the pixels are Normal(b + σ Wh, σ), given v the
units are on with log-odds c + Wᵀ(v/σ). The free energy, h summed out, is
F(v) = Σᵢ (vᵢ − bᵢ)² / (2σᵢ²) − Σⱼ log(1 + exp(cⱼ + Σᵢ (vᵢ/σᵢ) Wᵢⱼ)), and the cost is F(v) − E[F(v')] as in `rbm`. Its
slope reaches σ like any other parameter; log σ is what moves.

Welling, Rosen-Zvi & Hinton 2004; Cho, Ilin & Raiko 2011 (learning σ); Tieleman 2008 (PCD).
"""

from __future__ import annotations

from typing import Any

import numpy as np

import ppl
from ppl import Bernoulli, Normal
from ppl.models import annealing, boltzmann, common, data, pictures
from ppl.models.annealing import sigmoid, softplus


def energy(v: Any, h: Any, weight: Any, visible: Any, hidden: Any, sigma: Any) -> Any:
    """E(v, h) of rows v (…, V) and h (…, H)."""
    squares = np.sum(((v - visible) / sigma) ** 2, axis=-1) / 2
    return squares - h @ hidden - np.sum(((v / sigma) @ weight) * h, axis=-1)


def free_energy(v: Any, weight: Any, visible: Any, hidden: Any, sigma: Any) -> Any:
    """F(v) = −log Σ_h exp(−E(v, h)), of symbolic values and of arrays (…, V)."""
    squares = np.sum(((v - visible) / sigma) ** 2, axis=-1) / 2
    return squares - np.sum(ppl.softplus(hidden + (v / sigma) @ weight), axis=-1)


def parameters(pixels: int, units: int) -> tuple[Any, Any, Any, Any]:
    """W, b, c and σ, for data of mean 0 and variance 1."""
    weight = ppl.param("weight", ppl.init.normal(0.01), shape=(pixels, units))
    visible, hidden = ppl.param("visible", 0.0, shape=pixels), ppl.param("hidden", 0.0, shape=units)
    return weight, visible, hidden, ppl.param("sigma", 1.0, shape=pixels, constraint="positive")


def gibbs(v: Any, weight: Any, visible: Any, hidden: Any, sigma: Any, steps: int) -> Any:
    """v after `steps` updates h ~ p(h | v), v ~ p(v | h)."""
    weight, visible, hidden, sigma = map(ppl.stop_gradient, (weight, visible, hidden, sigma))
    for t in range(steps):
        h = ppl.sample(f"h/{t}", Bernoulli(logits=hidden + (v / sigma) @ weight))
        v = ppl.sample(f"v/{t}", Normal(visible + sigma * (weight @ h), sigma))
    return ppl.stop_gradient(v)


@ppl.model
def contrastive(x: Any, *, pixels: int = 64, units: int = 16, steps: int = 1) -> None:
    """CD-k: every row's chain starts at the row."""
    theta = parameters(pixels, units)
    with ppl.plate("data", x) as x:
        fantasy = gibbs(x, *theta, steps)
        ppl.cost("gap", free_energy(x, *theta) - free_energy(fantasy, *theta))


@ppl.model
def persistent(x: Any, *, pixels: int = 64, units: int = 16, steps: int = 1, chains: int = 100) -> None:
    """PCD-k: chains of their own, which the state carries from step to step."""
    theta = parameters(pixels, units)
    start = ppl.carried("chains", ppl.init.normal(), shape=(chains, pixels))
    boltzmann.persistent_gap(x, start, lambda v: gibbs(v, *theta, steps), lambda v: free_energy(v, *theta))


def log_partition(weight: np.ndarray, visible: np.ndarray, hidden: np.ndarray, sigma: np.ndarray) -> float:
    """log Z exactly: Z = Σ_h e^{cᵀh} ∏ᵢ √(2π) σᵢ exp(bᵢ aᵢ/σᵢ + aᵢ²/2) with a = Wh."""
    parts = []
    for h in annealing.states(len(hidden)):
        a = h @ weight.T
        parts.append(h @ hidden + a @ (visible / sigma) + (a**2).sum(-1) / 2)
    return annealing.logsumexp(parts) + float(np.sum(np.log(2 * np.pi * sigma**2)) / 2)


class Annealed:
    """From independent Normal(loc, scale) pixels to the machine: E_β = (1−β) Σ (v − loc)²/(2 scale²) + β E."""

    def __init__(self, theta: dict[str, np.ndarray], loc: Any = 0.0, scale: Any = 1.0):
        names = ("weight", "visible", "hidden", "sigma")
        self.weight, self.visible, self.hidden, self.sigma = (np.asarray(theta[k], np.float64) for k in names)
        self.loc, self.scale = (np.broadcast_to(np.asarray(x, float), self.sigma.shape) for x in (loc, scale))
        normal = float(np.sum(np.log(2 * np.pi * self.scale**2)) / 2)
        self.log_base = normal + len(self.hidden) * float(np.log(2))

    def start(self, rng: np.random.Generator, chains: int) -> np.ndarray:
        """Independent pixels."""
        return self.loc + self.scale * rng.standard_normal((chains, len(self.loc)))

    def log_density(self, beta: float, v: np.ndarray) -> np.ndarray:
        """log Σ_h exp(−E_β(v, h))."""
        base = (((v - self.loc) / self.scale) ** 2).sum(-1) / 2
        own = (((v - self.visible) / self.sigma) ** 2).sum(-1) / 2
        inputs = self.hidden + (v / self.sigma) @ self.weight
        return -(1 - beta) * base - beta * own + softplus(beta * inputs).sum(-1)

    def move(self, rng: np.random.Generator, beta: float, v: np.ndarray) -> np.ndarray:
        """One Gibbs update at β."""
        inputs = self.hidden + (v / self.sigma) @ self.weight
        h = rng.random((len(v), len(self.hidden))) < sigmoid(beta * inputs)
        precision = (1 - beta) / self.scale**2 + beta / self.sigma**2
        pull = beta * (self.visible / self.sigma**2 + (h @ self.weight.T) / self.sigma)
        mean = ((1 - beta) * self.loc / self.scale**2 + pull) / precision
        return mean + rng.standard_normal(v.shape) / np.sqrt(precision)


MACHINE = boltzmann.Machine(free_energy, log_partition)


def main(argv: common.Arguments = None) -> int:
    """Train, sum or anneal log Z, print log-likelihoods, draw filters, σ and samples."""
    job = common.Job("gb_rbm", __doc__, argv, epochs=200, lr=0.03, method=("pcd", "cd"), steps=5, units=16,
                     temperatures=2000, annealed=500)  # fmt: skip
    options = job.options
    rows, test_rows, mean, spread = data.continuous_digits()
    static = {"units": options.units, "steps": options.steps}
    chains = {"chains": options.batch_size} if options.method == "pcd" else {}
    model = persistent if chains else contrastive
    program = job.compile(model.bind(**static, **chains), data=rows)
    updates = options.epochs * -(-len(rows) // options.batch_size)
    curve = boltzmann.Curve(MACHINE, program, max(1, updates // 15), training=rows, held_out=test_rows)
    fit = job.fit(program, rows, optimizer=ppl.optim.Adam(ppl.optim.linear(options.lr, 0.0, updates)), callback=curve)
    theta = program.params(fit.state)
    path = Annealed(theta)
    boltzmann.evaluate(job, MACHINE, theta, path, training=rows, held_out=test_rows)
    job.report("mean of σ", theta["sigma"].mean())
    figure, axes = pictures.pyplot().subplots(1, 5, figsize=(18, 3.6))
    filters = (theta["weight"] * (theta["sigma"] * spread)[:, None]).T
    reach = np.abs(filters).max()
    curve.show(axes[0], fit.history)
    pictures.show_images(axes[1], filters, 4, "filters σW", -reach, reach)
    pictures.show_images(axes[2], theta["sigma"][None], 1, "learned σ (data have 1)")
    pictures.show_images(axes[3], test_rows[:48] * spread + mean, 8, "held-out digits")
    pictures.show_images(axes[4], boltzmann.draw(path, 48, options.seed) * spread + mean, 8, "samples")
    job.picture(figure)
    return job.finish()


if __name__ == "__main__":
    raise SystemExit(main())
