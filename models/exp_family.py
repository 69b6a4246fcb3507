"""Maximum likelihood in exponential families: natural parameters, the log-partition function, and two gradients.

p(x | η) = h(x) exp(ηᵀu(x) - A(η)). The cost of a row is A(η) - ηᵀu(x); its gradient ∇A(η) - u(x) vanishes on average
where the moments match, E[u] = mean of u. Its Hessian ∇²A = Cov[u] is the Fisher information, positive definite, so the
problem is convex in η and the natural gradient F⁻¹∇ is Newton's step. Gaussian, gamma, Bernoulli and Poisson on real
data.

Amari 1998; Wainwright & Jordan 2008.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy import optimize
from scipy.special import digamma, logit

import ppl
from ppl.distributions.families import family as families
from ppl.models import common, data, pictures


class Family(NamedTuple):
    """A class of distributions, whose u and A are the library's, and a start in natural parameters."""

    cls: type
    start: np.ndarray

    def statistics(self, x: np.ndarray) -> np.ndarray:
        """u(x), one row per observation."""
        return np.stack(families.sufficient_statistics(self.cls, x), -1)

    def inside(self, eta: np.ndarray) -> bool:
        """Whether η is a natural parameter."""
        try:
            families.from_natural(self.cls, *eta)
        except ppl.errors.ModelError:
            return False
        return True

    def moments(self, eta: np.ndarray) -> np.ndarray:
        """∇A."""
        return np.stack(families.mean_parameters(families.from_natural(self.cls, *eta)))


FAMILIES: dict[str, Family] = {
    "Gaussian": Family(ppl.Normal, np.array([0.0, -0.05])),
    "gamma": Family(ppl.Gamma, np.array([0.0, -1.0])),
    "Bernoulli": Family(ppl.Bernoulli, np.array([-3.0])),
    "Poisson": Family(ppl.Poisson, np.array([-1.0])),
}


@ppl.model
def exponential_family(u: Any, *, family: str) -> None:
    """A(η) - ηᵀu for every row of statistics."""
    eta = ppl.param("eta", FAMILIES[family].start)
    with ppl.plate("data", u) as u:
        parts = [eta[i] for i in range(len(FAMILIES[family].start))]
        ppl.cost("loss", families.log_partition_at(FAMILIES[family].cls, *parts) - eta @ u)


def observations() -> dict[str, np.ndarray]:
    """Real data for each family: disease progression, colour of wines, malignancy, the ink of one pixel."""
    return {
        "Gaussian": data.sklearn("diabetes").target / 50.0,
        "gamma": data.sklearn("wine").data[:, 9],
        "Bernoulli": data.breast_cancer()[1],
        "Poisson": data.sklearn("digits").data[:, 5],
    }


def analytic(family: str, x: np.ndarray) -> np.ndarray:
    """The maximum-likelihood η without gradients: in closed form, for the gamma by a one-dimensional root."""
    mean = x.mean()
    if family == "Gaussian":
        return np.array([mean, -0.5]) / x.var()
    if family == "gamma":
        gap = np.log(mean) - np.log(x).mean()
        shape = optimize.brentq(lambda a: np.log(a) - digamma(a) - gap, 1e-3, 1e4, xtol=1e-12)
        return np.array([shape - 1, -shape / mean])
    return np.array([logit(mean) if family == "Bernoulli" else np.log(mean)])


class Problem:
    """The mean cost of one family's data as a function of η, with gradient and Fisher information from the program."""

    def __init__(self, job: common.Job, name: str, x: np.ndarray):
        self.family, self.u = FAMILIES[name], FAMILIES[name].statistics(x)
        self.program = job.compile(exponential_family.bind(family=name), data=self.u, dtype="float64")
        self.state = self.program.init(0)

    def loss(self, eta: np.ndarray) -> float:
        """Mean cost; infinite outside the family."""
        if not self.family.inside(eta):
            return float("inf")
        return float(self.program.value(self._at(eta), self.u)) / len(self.u)

    def gradient(self, eta: np.ndarray) -> np.ndarray:
        """∇A(η) - mean u."""
        return self.program.value_and_grad(self._at(eta), self.u)[1]["eta"] / len(self.u)

    def fisher(self, eta: np.ndarray) -> np.ndarray:
        """∇²A(η), column by column as Hessian-vector products."""
        at = self._at(eta)
        columns = [self.program.hvp(at, {"eta": e}, self.u)["eta"] for e in np.eye(len(eta))]
        return np.stack(columns, 1) / len(self.u)

    def _at(self, eta: np.ndarray) -> Any:
        return self.state.replace(params={"eta": eta})


class Path(NamedTuple):
    """η after 0 … n steps of a descent, and the size of the last one."""

    etas: np.ndarray
    size: np.ndarray


def descend(problem: Problem, natural: bool, steps: int, begun: Path | None = None) -> Path:
    """Gradient descent with Armijo's rule (the first trial doubles the last step, 1 if natural), or the rest of it."""
    path, size = ([problem.family.start], 1.0) if begun is None else (list(begun.etas), float(begun.size))
    eta, loss = path[-1], problem.loss(path[-1])
    for _ in range(steps + 1 - len(path)):
        gradient = problem.gradient(eta)
        direction = np.linalg.solve(problem.fisher(eta), gradient) if natural else gradient
        slope = float(gradient @ direction)
        if slope < 1e-20:
            break
        size = 1.0 if natural else 2.0 * size
        while (trial := problem.loss(eta - size * direction)) > loss - 0.3 * size * slope + 1e-15 * abs(loss):
            size *= 0.5
        eta, loss = eta - size * direction, trial
        path.append(eta)
    return Path(np.array(path), np.array(size))


def convexity(problem: Problem, best: np.ndarray, seed: int, points: int = 100) -> tuple[float, float]:
    """Over random η: the smallest eigenvalue of ∇²A, and the largest A(middle) - chord.

    The chord is taken between consecutive points; A is convex where that is nowhere positive.
    """
    rng, spread = np.random.default_rng(seed), np.maximum(np.abs(best), 0.3)
    etas = [eta for eta in best + rng.normal(size=(points, len(best))) * spread if problem.family.inside(eta)]
    values = [np.linalg.eigvalsh(problem.fisher(eta)) for eta in etas]
    losses = [problem.loss(eta) for eta in etas]
    above = [
        problem.loss(0.5 * (a + b)) - 0.5 * (la + lb)
        for a, b, la, lb in zip(etas[:-1], etas[1:], losses[:-1], losses[1:], strict=True)
    ]
    return min(v[0] for v in values), max(above)


def main(argv: common.Arguments = None) -> int:
    """Fit all four families both ways; print moments, convexity and steps; draw losses and the gamma's paths."""
    job = common.Job("exp_family", __doc__, argv, epochs=None, batch_size=None, lr=None, steps=300)
    figure, (left, middle, right) = pictures.pyplot().subplots(1, 3, figsize=(17, 4.5))
    for i, (name, x) in enumerate(observations().items()):
        problem = Problem(job, name, x)
        best = analytic(name, x)
        natural, ordinary = (resumed(job, problem, name, kind) for kind in (True, False))
        eta, mean = natural[-1], problem.u.mean(0)
        job.report(f"{name}: largest |∇A(η̂) / mean u - 1|", np.abs(problem.family.moments(eta) / mean - 1).max())
        job.report(f"{name}: largest |η̂ / η_ML - 1|", np.abs(eta / best - 1).max())
        smallest, above = convexity(problem, best, job.options.seed)
        job.report(f"{name}: smallest eigenvalue of ∇²A", smallest)
        job.report(f"{name}: largest A(middle) - chord", above)
        least = problem.loss(best)
        for label, path, style in (("natural", natural, "-"), ("ordinary", ordinary, ":")):
            gaps = np.array([problem.loss(eta) for eta in path]) - least
            job.report(f"{name}: steps to 1e-6 nat, {label} gradient", len(gaps) if gaps[-1] > 1e-6 else _first(gaps))
            job.report(f"{name}: nats above the minimum at the end, {label} gradient", gaps[-1])
            left.semilogy(np.maximum(gaps, 1e-14), style, color=f"C{i}", label=f"{name}, {label}")
        draw_chord(middle, problem, best, name)
        if name == "gamma":
            draw_paths(right, problem, natural, ordinary)
    left.set(xscale="symlog", xlabel="step", ylabel="loss - minimum (nats per row)", title="gradient descent in η")
    left.legend(fontsize=8)
    middle.axhline(0.0, color="k", lw=0.8, ls=":")
    middle.set(xlabel="t", ylabel="relative to its depth", title="A((1 - t) η₀ + t η̂) minus its chord: below 0")
    middle.legend(fontsize=8)
    job.picture(figure)
    return job.finish()


def resumed(job: common.Job, problem: Problem, name: str, natural: bool) -> np.ndarray:
    """η at every step of a descent; with `--resume`, continued from where one in the folder ended."""
    label = f"{name}-{'natural' if natural else 'ordinary'}"
    begun = job.kept(label)
    path = descend(problem, natural, job.options.steps, Path(**begun) if begun else None)
    job.keep(label, **path._asdict())
    return path.etas


def _first(gaps: np.ndarray) -> int:
    """The first step within 1e-6 nat of the minimum."""
    return int(np.argmax(gaps <= 1e-6))


def draw_chord(ax: Any, problem: Problem, best: np.ndarray, name: str) -> None:
    """A minus its chord on the way from the start to the optimum; the linear part of the loss cancels."""
    t = np.linspace(0.0, 1.0, 41)
    start = problem.family.start
    loss = np.array([problem.loss(start + a * (best - start)) for a in t])
    below = loss - (1 - t) * loss[0] - t * loss[-1]
    ax.plot(t, below / -below.min(), label=name)


def draw_paths(ax: Any, problem: Problem, natural: np.ndarray, ordinary: np.ndarray) -> None:
    """Contours of the gamma's loss over η with both paths."""
    both = np.concatenate([natural, ordinary])
    low, high = both.min(0), both.max(0)
    margin = 0.15 * (high - low)
    xs = np.linspace(max(low[0] - margin[0], -0.9), high[0] + margin[0], 60)
    ys = np.linspace(low[1] - margin[1], min(high[1] + margin[1], -0.02), 60)
    loss = np.array([[problem.loss(np.array([a, b])) for a in xs] for b in ys])
    levels = loss.min() + np.geomspace(1e-3, np.ptp(loss), 14)
    ax.contour(xs, ys, loss, levels=levels, colors="0.75", linewidths=0.7)
    ax.plot(*ordinary.T, ".:", ms=3, lw=1, label=f"ordinary, {len(ordinary) - 1} steps")
    ax.plot(*natural.T, "o-", ms=4, lw=1, label=f"natural, {len(natural) - 1} steps")
    ax.set(xlabel="η₁ = shape - 1", ylabel="η₂ = -rate", title="gamma: colour intensity of wines")
    ax.legend()


if __name__ == "__main__":
    raise SystemExit(main())
