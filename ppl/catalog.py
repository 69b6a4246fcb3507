"""The table of all distributions, `docs/distributions.md`, made from the registries.

``python -m ppl.catalog`` writes it into the docs of the source tree; a test compares it with `page()`.
Everything in it is asked of the classes: parameters of their signature and constraints, support, path, formulas and
divergences, and of the estimators whether they support a node of an example instance under a quadratic cost (of angles
under a cosine)."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import ppl
from ppl.compiler.plan.decision_table import TABLE
from ppl.distributions import COMBINATORS, REGISTRY, bijectors
from ppl.distributions.base import Distribution
from ppl.distributions.bijectors import Bijector
from ppl.distributions.combinator import has_formula
from ppl.distributions.constraints import CONSTRAINTS
from ppl.distributions.divergences import KL_PAIRS
from ppl.errors import ModelError, ShapeError
from ppl.estimators.base import check_support
from ppl.graph.stochastic import StochasticGraph
from ppl.objectives.base import as_objective

PAGE = Path(__file__).parents[1] / "docs" / "distributions.md"

VALUES: dict[str, tuple[Any, ...]] = {
    "simplex": ([0.3, 0.7],),
    "open_simplex": ([0.3, 0.7],),
    "class_logits": ([0.1, -0.3],),
    "unit_interval": (0.4,),
    "open_unit_interval": (0.4,),
    "positive": (1.5, [1.5, 2.5]),
    "": (3.0, 2, np.eye(2), [[0.8], [0.6]]),
}

ANY = (0.4, [0.4, -0.2], np.eye(2))

FORMULAS = {"mean": "node_mean", "variance": "node_variance", "mode": "node_mode", "entropy": "unit_entropy"}

MADE_OF = {
    "Mixture": lambda: ppl.Mixture([0.3, 0.7], ppl.Normal([-1.0, 1.0], 1.0)),
    "Transformed": lambda: ppl.Transformed(ppl.Normal(0.0, 1.0), bijectors.Softplus()),
    "Truncated": lambda: ppl.Truncated(ppl.Normal(0.0, 1.0), -1.0, 2.0),
}


def parameters(kind: type[Distribution]) -> list[inspect.Parameter]:
    """The arguments of the constructor."""
    listed = inspect.signature(kind).parameters.values()
    return [p for p in listed if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]


def example(kind: type[Distribution]) -> Distribution:
    """An instance with made-up parameters: of scalars where the class takes scalars.

    Raises
    ------
    ModelError
        None of the values tried is accepted; `VALUES` needs another.
    """
    for given in _attempts(kind):
        try:
            return kind(**given)
        except (ModelError, ShapeError, TypeError, ValueError):
            continue
    raise ModelError(f"{kind.__name__}: no example found; its parameters fit none of ppl.catalog.VALUES")


def _attempts(kind: type[Distribution]) -> Iterator[dict[str, Any]]:
    """Required parameters at all combinations of values, alone and with each one of those that default to None."""
    listed = parameters(kind)
    required = [p.name for p in listed if p.default is p.empty]
    optional = [p.name for p in listed if p.default is None]
    for extra in ([], *([name] for name in optional), *map(list, itertools.combinations(optional, 2))):
        names = required + extra
        for values in itertools.product(*(_values(kind, name) for name in names)):
            yield dict(zip(names, values, strict=True))


def _values(kind: type[Distribution], name: str) -> tuple[Any, ...]:
    constraint = kind.constraints.get(name, "")
    return VALUES.get(constraint, ANY)


def alternatives(kind: type[Distribution]) -> list[str]:
    """Optional parameters of which the class takes one, as it says when it gets none."""
    listed = parameters(kind)
    required = {p.name: _values(kind, p.name)[0] for p in listed if p.default is p.empty}
    try:
        kind(**required)
    except (ModelError, ShapeError, TypeError) as error:
        return [p.name for p in listed if p.default is None and p.name in str(error)]
    return []


def described(kind: type[Distribution]) -> str:
    """The parameters in the order of the signature, with what they have to be; alternatives are joined by "or"."""
    either, words = alternatives(kind), []
    for p in parameters(kind):
        wanted = CONSTRAINTS[kind.constraints[p.name]][0] if p.name in kind.constraints else ""
        start = f" = {p.default}" if p.default is not None and p.default is not p.empty else ""
        words.append((p.name, f"`{p.name}{start}`" + (f" {wanted}" if wanted else "")))
    together = " *or* ".join(text for name, text in words if name in either)
    places = {name: "" if name in either else text for name, text in words}
    return "; ".join([*dict.fromkeys(text or together for text in places.values())])


def path(dist: Distribution) -> str:
    """Whether samples have a path, and of which kind."""
    if not dist.reparameterized:
        return "relaxed" if dist.relaxable else "—"
    return "implicit" if dist.implicit else "explicit"


def formulas(dist: Distribution) -> str:
    """The formulas that an instance has."""
    found = [word for word, name in FORMULAS.items() if _works(getattr(dist, name))]
    return ", ".join(found + [w for w, name in (("cdf", "node_cdf"), ("icdf", "node_icdf")) if has_formula(dist, name)])


def _works(formula: Any) -> bool:
    try:
        formula()
    except ModelError:
        return False
    return True


def estimators(dist: Distribution) -> str:
    """The estimators of the decision table that support a node of `dist`.

    Learned are all parameters that do not move the support, or all if each does.
    """
    learned = set(dist.params) - dist.moving or set(dist.params)

    @ppl.model
    def model() -> None:
        leaves = {k: ppl.param(k, 0.5, shape=dist.params[k].type.shape).__ppl_node__ for k in learned}
        x = ppl.sample("x", dist.with_params(tuple(leaves.get(k, n) for k, n in dist.params.items())))
        ppl.cost("cost", np.sum(np.cos(x)) if dist.angular else np.sum(x * x))

    node = StochasticGraph(as_objective(model).trace({}))["x"]
    found = [type(row.estimator).__name__ for row in TABLE if row.listed and check_support(row.estimator, node).ok]
    return ", ".join(dict.fromkeys(found)) or "none while its support moves"


def partners(kind: type[Distribution]) -> str:
    """The classes q with a closed KL(kind || q)."""
    return ", ".join(sorted(q.__name__ for p, q in KL_PAIRS if p is kind)) or "—"


def table_row(name: str, kind: type[Distribution], dist: Distribution, arguments: str) -> str:
    """One line of a table."""
    support = dist.support.value + (" (moves)" if dist.moving else "")
    cells = (f"`{name}`", arguments, support, path(dist), formulas(dist), estimators(dist), partners(kind))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def page() -> str:
    """The whole page."""
    heads = ("", "parameters", "support", "path", "formulas", "estimators", "KL to")
    table = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    lines = [
        "# Distributions", "",
        "Made by `python -m ppl.catalog` from the registries: do not edit. Every distribution has",
        "`log_prob`, `sample`, `expand` and `mask`; *formulas* are those in closed form beside them; with a cdf",
        "come `log_cdf`, and mostly `sf` and `log_sf`, which hold far out in the tails. The *path* is the",
        "derivative of a sample in its parameters: explicit through the sampler, implicit as −∂F/p where it rejects or",
        "chooses, relaxed where a discrete sample has a soft version. *Estimators* are those that support a node",
        "under a quadratic cost (of angles a cosine), all parameters learned that do not move the support, or all",
        "if each does; `Vimco`, `StickingTheLanding` and `DoublyReparameterized` need a bound and are left out.",
        "`(moves)` marks supports that a parameter moves: score functions refuse them where it is learned.",
        "Rows of constants have to sum to 1; rows of probabilities that are computed or learned are divided by their",
        "sum.", "",
        *table, *(table_row(n, k, example(k), described(k)) for n, k in sorted(REGISTRY.items())), "",
        "## Made of other distributions", "",
        "`Masked(dist, mask)` is `dist.mask(mask)`: of the same class, so everything above holds. The others depend on",
        "their parts; the rows are for the instance named.", "",
        *table, *(table_row(n, k, MADE_OF[n](), made_of(MADE_OF[n]())) for n, k in sorted(COMBINATORS.items())), "",
        "## Bijectors", "",
        "Of `ppl.bijectors`, for `Transformed(base, f, g, …)`; `Chain((f, g))` and `Inverse(f)` compose them.", "",
        "| | from | onto |", "|---|---|---|",
        *(f"| `{k.__name__}` | {_set(k.domain)} | {_image(k)} |" for k in maps()), "",
    ]  # fmt: skip
    return "\n".join(lines)


def made_of(dist: Distribution) -> str:
    """The parameters of an instance."""
    return "; ".join(f"`{name}`" for name in dist.params)


def maps() -> list[type[Bijector]]:
    """List the bijectors that are no composition."""
    listed = (vars(bijectors)[name] for name in bijectors.__all__)
    classes = (k for k in listed if inspect.isclass(k) and issubclass(k, Bijector))
    return sorted((k for k in classes if k not in (Bijector, bijectors.Inverse)), key=lambda k: k.__name__)


def _image(kind: type[Bijector]) -> str:
    return _set(kind.codomain) if kind.support is None else kind.support.value


def _set(interval: Any) -> str:
    end = "∞" if interval.hi == np.inf else f"{interval.hi:g}"
    return "reals" if interval.lo == -np.inf else f"({interval.lo:g}, {end})"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
