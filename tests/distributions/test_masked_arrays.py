"""Masked arrays: NumPy would read what lies under the mask, so every argument that is one is refused by name."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import ppl
from ppl.distributions.families.conjugate import posterior
from ppl.errors import PplError
from tests.fuzz.distributions import DISTRIBUTIONS

NUMBERS = [
    (name, argument)
    for name, arguments in DISTRIBUTIONS.items()
    for argument, value in arguments.items()
    if isinstance(value, (int, float, np.ndarray)) and argument not in ("joint", "dim", "steps")
]


def masked_like(value):
    """The same numbers, the first of them masked."""
    found = np.ma.array(np.asarray(value), copy=True)
    found[(0,) * found.ndim] = np.ma.masked
    return found


@pytest.mark.parametrize(("name", "argument"), NUMBERS)
def test_parameters(name, argument):
    given = dict(DISTRIBUTIONS[name])
    given[argument] = masked_like(given[argument])
    with pytest.raises(PplError, match=rf"{argument}\b.* is a masked array"):
        getattr(ppl, name)(**given)


@pytest.mark.parametrize("wrap", [lambda v: v, lambda v: [v, v], lambda v: (v,)], ids=["array", "list", "tuple"])
@pytest.mark.parametrize("method", ["log_prob", "cdf", "sf", "icdf"])
def test_values(method, wrap):
    with pytest.raises(PplError, match="Normal: the value is a masked array"):
        getattr(ppl.Normal(0.0, 1.0), method)(wrap(masked_like([0.2, 0.5])))


def test_unmasked_arrays_are_arrays():
    plain = np.array([0.2, 0.5])
    whole = np.ma.array(plain)
    np.testing.assert_array_equal(ppl.Normal(whole, 1.0).log_prob(whole), ppl.Normal(plain, 1.0).log_prob(plain))


OTHERS = {
    "mask": (lambda v: ppl.Normal(np.zeros(2), 1.0).mask(v > 0), "mask is a masked"),
    "fit": (lambda v: ppl.Normal.fit(v), "x is a masked"),
    "weights": (lambda v: ppl.Normal.fit([1.0, 2.0], weights=v), "weights is a masked"),
    "posterior": (lambda v: posterior(ppl.Gamma(1.0, 1.0), ppl.Poisson, v), "x is a masked"),
    "known": (lambda v: posterior(ppl.Normal(0.0, 1.0), ppl.Normal, [1.0, 2.0], scale=v), "scale is a masked"),
    "bijector": (lambda v: ppl.bijectors.Affine(v, 1.0), "masked array"),
    "constant": (ppl.constant, "masked array"),
    "init": (lambda v: ppl.init.constant(v), "value is a masked"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_others(name):
    call, message = OTHERS[name]
    with pytest.raises(PplError, match=message):
        call(masked_like([1.0, 2.0]))


@ppl.model
def pair():
    w = ppl.param("w", np.zeros(2))
    z = ppl.sample("z", ppl.Normal(w, 1.0))
    ppl.cost("c", np.sum(z * z))


def test_params_of_init():
    program = ppl.compile(pair)
    with pytest.raises(PplError, match="'w': the given value is a masked array"):
        program.init(seed=0, params={"w": masked_like([1.0, 2.0])})
    with pytest.raises(PplError, match="'w': the given value is a masked array"):
        program.init(seed=0, params={"w": np.ma.masked_all(2)})


MODELS = {
    "param": lambda v: ppl.param("w", v),
    "added": lambda v: ppl.param("w", np.zeros(2)) + v,
    "added to": lambda v: v + ppl.param("w", np.zeros(2)),
    "multiplied by a function": lambda v: np.multiply(v, ppl.param("w", np.zeros(2))),
    "chosen": lambda v: np.where(ppl.param("w", np.zeros(2)) > 0, v, 0.0),
    "an index": lambda v: ppl.param("w", np.zeros(2))[v.astype(int) - 1],
    "observed": lambda v: ppl.sample("x", ppl.Normal(ppl.param("w", np.zeros(2)), 1.0), obs=v),
}


@pytest.mark.parametrize("name", MODELS)
def test_in_models(name):
    @ppl.model
    def model():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            MODELS[name](masked_like([1.0, 2.0]))
        ppl.cost("c", ppl.sample("z", ppl.Normal(0.0, 1.0)))

    with pytest.raises(PplError, match=r"masked array|was converted to an array"):
        ppl.compile(model)
