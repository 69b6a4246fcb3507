"""Calls of the language, of estimators, optimizers, schedules, layers, initialisers and bijectors."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

import ppl
from tests.fuzz.programs import Call, toy, toy_program, traced


def opened(**arguments: Any) -> None:
    """A plate."""
    with ppl.plate(arguments["name"], arguments["over"]):
        pass


def scoped(**arguments: Any) -> None:
    """A scope."""
    with ppl.scope(**arguments):
        ppl.param("p", 0.0)


def carrying(init: Any, shape: Any, value: Any) -> None:
    """A carried value and its next one."""
    ppl.carried("m", init, shape)
    ppl.carry("m", value)


def chained(layer: Any, names: Any, params: Any) -> Any:
    """A chain of layers."""
    return ppl.layers.chain(np.ones(3), layer, names=names, params=params)


def indexed(key: Any) -> Any:
    """Indexing a symbolic array."""
    return ppl.constant(np.ones((2, 3)))[key]


def language_calls() -> dict[str, Call]:
    """What is called inside a model."""
    normal = ppl.Normal(0.0, 1.0)
    made = {
        "param": (ppl.param, {"name": "p", "init": 1.0, "shape": (2,), "constraint": "positive", "shared": False}),
        "hyper": (ppl.hyper, {"name": "h", "default": 0.5}),
        "constant": (ppl.constant, {"array": np.ones(2)}),
        "sample": (
            ppl.sample,
            {"name": "s", "dist": normal, "obs": None, "obs_mask": None, "estimator": None, "aux": False},
        ),
        "sample(obs)": (
            functools.partial(ppl.sample, "s", normal),
            {"obs": 1.0, "obs_mask": True},
        ),  # observed without an objective, which is an error of its own
        "cost": (ppl.cost, {"name": "c", "value": 1.0}),
        "deterministic": (ppl.deterministic, {"name": "d", "value": 1.0}),
        "plate": (opened, {"name": "q", "over": 3}),
        "collect": (ppl.collect, {"value": 1.0, "plate": "plate"}),
        "scope": (scoped, {"name": "s"}),
        "carried": (carrying, {"init": 0.0, "shape": None, "value": 1.0}),
        "dense": (
            ppl.dense,
            {"name": "d", "x": np.ones(3), "units": 2, "activation": "tanh", "bias": True, "shared": False},
        ),
        "chain": (chained, {"layer": ppl.layers.Dense(2), "names": None, "params": None}),
        "external": (
            ppl.external,
            {"fn": np.sin, "shape": (), "dtype": None, "gradient": None, "key": False, "name": None},
        ),
        "stop_gradient": (ppl.stop_gradient, {"value": 1.0}),
        "one_hot": (ppl.one_hot, {"x": 1, "n": 3}),
        "softmax": (ppl.softmax, {"x": np.ones((2, 3)), "axis": -1}),
        "logsumexp": (ppl.logsumexp, {"x": np.ones((2, 3)), "axis": None, "keepdims": False}),
        "index": (indexed, {"key": 0}),
    }
    return {f"{name} (traced)": Call(traced(f), good) for name, (f, good) in made.items()}


def eager_calls() -> dict[str, Call]:
    """Functions that work on arrays."""
    m = np.ones((2, 3))
    return {
        "softmax": Call(ppl.softmax, {"x": m, "axis": -1}),
        "log_softmax": Call(ppl.log_softmax, {"x": m, "axis": -1}),
        "logsumexp": Call(ppl.logsumexp, {"x": m, "axis": None, "keepdims": False}),
        "sigmoid": Call(ppl.sigmoid, {"x": m}),
        "log_sigmoid": Call(ppl.log_sigmoid, {"x": m}),
        "softplus": Call(ppl.softplus, {"x": m}),
        "relu": Call(ppl.relu, {"x": m}),
        "one_hot": Call(ppl.one_hot, {"x": 1, "n": 3}),
        "kl": Call(ppl.kl, {"p": ppl.Normal(0.0, 1.0), "q": ppl.Normal(1.0, 1.0)}),
    }


def option_calls() -> dict[str, Call]:
    """Estimators, optimizers, schedules, layers, initialisers, bijectors."""
    e, o, i, b, layers = ppl.estimators, ppl.optim, ppl.init, ppl.bijectors, ppl.layers

    def used(make: Callable[..., Any]) -> Callable[..., Any]:
        return lambda **arguments: ppl.compile(toy, make(**arguments), allow_bias=True)

    def drawn(make: Callable[..., Any]) -> Callable[..., Any]:
        return lambda **arguments: traced(ppl.param)(name="p", init=make(**arguments), shape=(2, 2))

    def trained(make: Callable[..., Any]) -> Callable[..., Any]:
        return lambda **arguments: toy_program().update(toy_program().init(0), optimizer=make(**arguments))

    def stepped(make: Callable[..., Any]) -> Callable[..., Any]:
        return lambda **arguments: make(**arguments)(3)

    schedule = {"start": 0.1, "end": 0.01, "steps": 10}
    return {
        "Enumerate": Call(used(e.Enumerate), {"budget": 8}),
        "Analytic": Call(used(e.Analytic), {"budget": 8}),
        "BonnetPrice": Call(e.BonnetPrice, {"budget": 8}),
        "Rebar": Call(used(e.Rebar), {"temperature": 0.5, "eta": 1.0, "adapt_eta": True, "adapt_temperature": False}),
        "Relax": Call(used(e.Relax), {"temperature": 0.5, "width": 4, "rate": 0.01, "adapt_temperature": False}),
        "MeasureValued": Call(used(e.MeasureValued), {"max_units": 4}),
        "ScoreFunction": Call(used(e.ScoreFunction), {"baseline": "moving_average", "width": 4, "rate": 0.01}),
        "Relaxed": Call(used(e.Relaxed), {"temperature": 0.5, "hard": False}),
        "SGD": Call(trained(o.SGD), {"lr": 0.1, "clip_norm": 1.0}),
        "AdaGrad": Call(trained(o.AdaGrad), {"lr": 0.1, "eps": 1e-8, "clip_norm": None}),
        "Adam": Call(trained(o.Adam), {"lr": 0.1, "b1": 0.9, "b2": 0.99, "eps": 1e-8, "clip_norm": None}),
        "LazyAdam": Call(trained(o.LazyAdam), {"lr": 0.1, "b1": 0.9, "b2": 0.99, "eps": 1e-8, "clip_norm": None}),
        "AdamW": Call(trained(o.AdamW), {"lr": 0.1, "b1": 0.9, "eps": 1e-8, "weight_decay": 0.1, "clip_norm": None}),
        "RMSProp": Call(trained(o.RMSProp), {"lr": 0.1, "decay": 0.9, "eps": 1e-8, "clip_norm": None}),
        "Momentum": Call(trained(o.Momentum), {"lr": 0.1, "beta": 0.9, "nesterov": False, "clip_norm": None}),
        "NaturalGradient": Call(o.NaturalGradient, {"program": toy_program(), "lr": 1.0, "nodes": None, "data": ()}),
        "as_transform": Call(o.as_transform, {"optimizer": o.SGD(0.1)}),
        "optim.constant": Call(stepped(o.constant), {"value": 0.1}),
        "optim.linear": Call(stepped(o.linear), schedule),
        "optim.cosine": Call(stepped(o.cosine), schedule),
        "optim.exponential": Call(stepped(o.exponential), {"start": 0.1, "decay": 0.9, "steps": 2}),
        "optim.piecewise": Call(stepped(o.piecewise), {"boundaries": [2, 5], "values": [0.1, 0.2, 0.3]}),
        "optim.robbins_monro": Call(stepped(o.robbins_monro), {"a": 0.1, "b": 1.0, "power": 1.0}),
        "init.constant": Call(drawn(i.constant), {"value": 0.5}),
        "init.normal": Call(drawn(i.normal), {"std": 0.5}),
        "init.uniform": Call(drawn(i.uniform), {"low": 0.0, "high": 1.0}),
        "init.orthogonal": Call(drawn(i.orthogonal), {"gain": 1.0}),
        "bijectors.Affine": Call(b.Affine, {"loc": 0.0, "scale": 1.0}),
        "bijectors.Power": Call(b.Power, {"exponent": 2.0}),
        "bijectors.Inverse": Call(b.Inverse, {"bijector": b.Exp()}),
        "bijectors.Chain": Call(b.Chain, {"bijectors": (b.Exp(), b.Exp())}),
        "layers.Dense": Call(layered(layers.Dense), {"units": 2, "activation": "tanh"}),
        "layers.BinaryUnits": Call(layered(layers.BinaryUnits), {"units": 2, "noise": "logistic", "estimator": None}),
        "layers.CategoricalUnits": Call(
            layered(layers.CategoricalUnits), {"units": 2, "classes": 3, "estimator": None}
        ),
        "layers.GaussianUnits": Call(
            layered(layers.GaussianUnits), {"units": 2, "scale": "learned", "estimator": None}
        ),
    }


def layered(make: Callable[..., Any]) -> Callable[..., Any]:
    """A layer in a model."""
    return lambda **arguments: traced(chained)(layer=make(**arguments), names=None, params=None)
