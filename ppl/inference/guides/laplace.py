"""Laplace's approximation: a normal of the reals at the mode of their density, with the curvature found there."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ppl.errors import DataError, ModelError
from ppl.inference.guides.kinds import JointGuide
from ppl.inference.guides.latents import Latent
from ppl.inference.guides.parameters import GUIDE_PREFIX
from ppl.lang.model import Model
from ppl.lang.params import param
from ppl.lang.value import Value

LOC_PARAM, TRIL_PARAM = f"{GUIDE_PREFIX}/loc", f"{GUIDE_PREFIX}/scale_tril"

MOST_NEWTON_STEPS = 20
"""Newton's steps from where a fit has stopped, at most."""


class UnconstrainedPoint(JointGuide):
    """The value at reals that are parameters, with the density that the bijectors give it: its best place is the mode
    of the reals, not of the latents.
    """

    def vector(self, start: np.ndarray) -> Value:
        """Return the parameters."""
        return param(LOC_PARAM, start)

    def sample(self, latent: Latent) -> Value:
        """Return the value at its part of the vector."""
        if latent.in_data_plate:
            raise ModelError(
                f"autoguide: latent '{latent.name}' ({latent.site.where}) stands in a plate over data, where "
                "Laplace's approximation is not made: take kind 'structured'"
            )
        return super().sample(latent)


class Laplace(NamedTuple):
    """Laplace's approximation of a posterior.

    Attributes
    ----------
    guide : `ppl.autoguide(model, "mvn")`.
    params : its parameters by name, for `program.init(seed, params=...)`: the mode, and the factor of the inverse of
        the Hessian there.
    log_evidence : the approximate logarithm of the evidence, with the values that the model's own parameters have.
    """

    guide: Model
    params: dict[str, np.ndarray]
    log_evidence: float


def approximate_posterior(
    guide: Model, normal: Callable[[], Model], program: Any, state: Any, data: tuple[Any, ...]
) -> Laplace:
    """Return the approximation at the mode next to a state of a program whose guide this is."""
    if getattr(program.objective, "guide", None) is not guide:
        raise DataError("laplace: the program is not one of ppl.elbo(model, guide) with this guide")
    if LOC_PARAM not in state.params:
        raise ModelError("laplace: the model has no latents")
    value, u = float(program.value(state, *data)), state.params[LOC_PARAM]
    for _ in range(MOST_NEWTON_STEPS):
        gradient = program.value_and_grad(state, *data)[1][LOC_PARAM].astype(np.float64)
        factor = _cholesky(_hessian(program, state, data))
        step = np.linalg.solve(factor.T, np.linalg.solve(factor, gradient))
        state, value, moved = _newton_step(program, state, data, value, step)
        if not moved:
            break
    u, half = state.params[LOC_PARAM], float(np.log(np.diag(factor)).sum())
    inverse = np.linalg.inv(factor)
    tril = np.linalg.cholesky(inverse.T @ inverse)
    log_evidence = 0.5 * len(u) * math.log(2 * math.pi) - half - value
    return Laplace(normal(), {LOC_PARAM: np.array(u), TRIL_PARAM: tril}, log_evidence)


def _newton_step(
    program: Any, state: Any, data: tuple[Any, ...], value: float, step: np.ndarray
) -> tuple[Any, float, bool]:
    """Return the state after a step of Newton's, halved until the loss falls, its loss, and whether it has moved."""
    u, eps = state.params[LOC_PARAM], float(np.finfo(state.params[LOC_PARAM].dtype).eps)
    for _ in range(MOST_NEWTON_STEPS):
        if np.abs(step).max() <= 4 * eps * (1 + np.abs(u).max()):
            break
        after = state.replace(params=_with_reals(state.params, u - step))
        found = float(program.value(after, *data, nonfinite="keep"))
        if found <= value:
            return after, found, found < value
        step = step / 2
    return state, value, False


def _with_reals(params: Mapping[str, np.ndarray], u: np.ndarray) -> dict[str, np.ndarray]:
    return {**params, LOC_PARAM: u.astype(params[LOC_PARAM].dtype)}


def _hessian(program: Any, state: Any, data: tuple[Any, ...]) -> np.ndarray:
    """Return the Hessian in the reals, a column for each."""
    size, columns = len(state.params[LOC_PARAM]), []
    for i in range(size):
        unit = {name: np.zeros_like(value) for name, value in state.params.items()}
        unit[LOC_PARAM][i] = 1.0
        columns.append(program.hvp(state, unit, *data)[LOC_PARAM].astype(np.float64))
    hessian = np.stack(columns, 1)
    return 0.5 * (hessian + hessian.T)


def _cholesky(hessian: np.ndarray) -> np.ndarray:
    try:
        return np.linalg.cholesky(hessian)
    except np.linalg.LinAlgError:
        least = np.linalg.eigvalsh(hessian)[0]
        raise DataError(
            f"laplace: the curvature is not positive here (smallest eigenvalue of the Hessian {least:.3g}): this is no "
            "maximum of the posterior. Fit for longer, or the posterior has no normal approximation"
        ) from None
