"""Conjugate posteriors of exponential families, in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ppl.arguments import array
from ppl.distributions.base import Distribution
from ppl.distributions.bernoulli import Bernoulli
from ppl.distributions.beta import Beta, Dirichlet
from ppl.distributions.categorical import Categorical, OneHotCategorical
from ppl.distributions.exponential import Exponential
from ppl.distributions.gamma import Gamma, InverseGamma
from ppl.distributions.location_scale import Normal
from ppl.distributions.lognormal import LogNormal
from ppl.distributions.poisson import Poisson
from ppl.errors import ModelError
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate

Array = np.ndarray

Update = Callable[..., dict[str, Any]]


def _update_normal_loc(prior: dict[str, Array], x: Array, scale: Any) -> dict[str, Any]:
    """Normal mean of known scale."""
    before, each = prior["scale"] ** -2.0, scale**-2.0
    after = before + len(x) * each
    return {"loc": (before * prior["loc"] + each * x.sum(0)) / after, "scale": after**-0.5}


def _update_beta(prior: dict[str, Array], x: Array) -> dict[str, Any]:
    ones = x.sum(0)
    one, zero = prior["concentration1"] + ones, prior["concentration0"] + len(x) - ones
    return {"concentration1": one, "concentration0": zero}


def _update_dirichlet(prior: dict[str, Array], x: Array) -> dict[str, Any]:
    return {"concentration": prior["concentration"] + x.sum(0)}


def _update_dirichlet_by_classes(prior: dict[str, Array], x: Array) -> dict[str, Any]:
    return _update_dirichlet(prior, np.eye(prior["concentration"].shape[-1])[x.astype(int)])


def _update_of_spread(kind: str) -> Update:
    """Gamma precision or inverse gamma variance of a Normal of known loc."""

    def update(prior: dict[str, Array], x: Array, loc: Any) -> dict[str, Any]:
        squares = 0.5 * np.square(x - loc).sum(0)
        return {"concentration": prior["concentration"] + 0.5 * len(x), kind: prior[kind] + squares}

    return update


def _update_of_gamma(shape: Callable[..., Any], rate: Callable[..., Any]) -> Update:
    """Gamma(shape + shape(n, sum), rate + rate(n, sum))."""

    def update(prior: dict[str, Array], x: Array, **known: Any) -> dict[str, Any]:
        n, total = len(x), x.sum(0)
        more = {"concentration": shape(n, total, **known), "rate": rate(n, total, **known)}
        return {name: prior[name] + more[name] for name in more}

    return update


CONJUGATE: dict[tuple[type[Distribution], type[Distribution]], Update] = {
    (Beta, Bernoulli): _update_beta,
    (Dirichlet, Categorical): _update_dirichlet_by_classes,
    (Dirichlet, OneHotCategorical): _update_dirichlet,
    (Gamma, Poisson): _update_of_gamma(lambda n, total: total, lambda n, total: n),
    (Gamma, Exponential): _update_of_gamma(lambda n, total: n, lambda n, total: total),
    (Gamma, Gamma): _update_of_gamma(
        lambda n, total, concentration: n * concentration, lambda n, total, concentration: total
    ),
    (Normal, Normal): _update_normal_loc,
    (Normal, LogNormal): lambda prior, x, scale: _update_normal_loc(prior, np.log(x), scale),
    (Gamma, Normal): _update_of_spread("rate"),
    (InverseGamma, Normal): _update_of_spread("scale"),
}


def posterior(prior: Distribution, likelihood: type[Distribution], x: Any, **known: Any) -> Distribution:
    """The conjugate posterior of the one unknown parameter of `likelihood`, given independent observations `x`.

    Parameters
    ----------
    prior : its constant distribution: Beta for a Bernoulli's probs; Dirichlet for class probs; Gamma for a Poisson's or
        Exponential's rate, a Gamma's rate (`concentration=` known) or a Normal's precision (`loc=` known); InverseGamma
        for a Normal's variance (`loc=` known); Normal for the loc of a Normal or LogNormal (`scale=` known).
    x : shape (n, *event).

    Raises
    ------
    ModelError
        Where the pair is not conjugate, or the prior symbolic.
    """
    update = CONJUGATE.get((type(prior), likelihood))
    if update is None:
        pairs = ", ".join(f"{p.__name__}–{q.__name__}" for p, q in CONJUGATE)
        raise ModelError(f"{type(prior).__name__} is no conjugate prior of {likelihood.__name__}; there are {pairs}")
    try:
        values = evaluate(list(prior.params.values()), Env(dtype=np.float64))
    except KeyError:
        raise ModelError("posterior: the prior's parameters must be constants") from None
    given = {name: array(f"posterior: {name}", v, ModelError).astype(np.float64) for name, v in known.items()}
    data = array("posterior: x", x, ModelError).astype(np.float64)
    return type(prior)(**update(dict(zip(prior.params, values, strict=True)), data, **given))
