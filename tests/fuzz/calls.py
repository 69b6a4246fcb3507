"""The public API as a table of calls with right arguments, of which the fuzzer replaces some."""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import ppl
from ppl.estimators import Enumerate, Rebar

X = np.array([0.5, -1.0, 2.0, 0.1, 0.3])
K = np.array([0, 2, 1, 2, 0])


class Call(NamedTuple):
    """A function of keyword arguments and right values of them; `raises` are its other errors by contract."""

    function: Callable[..., Any]
    good: dict[str, Any]
    raises: tuple[type[BaseException], ...] = ()


@ppl.model
def toy() -> None:
    """One binary unit."""
    b = ppl.sample("b", ppl.Bernoulli(logits=ppl.param("logit", 0.3)))
    ppl.cost("loss", (b - 0.499) ** 2 * ppl.hyper("weight", 1.0))


@ppl.model
def rows(x: Any, k: Any) -> None:
    """Rows with an observation of each kind."""
    with ppl.plate("data", x, k) as (x, k):
        z = ppl.sample("z", ppl.Bernoulli(logits=ppl.param("w", 0.2) * x))
        ppl.sample("x", ppl.Normal(z, 1.0), obs=x)
        ppl.sample("k", ppl.Poisson(np.exp(ppl.param("r", 0.1))), obs=k)


@ppl.model
def guide(x: Any, k: Any) -> None:
    """A guide of `rows`."""
    with ppl.plate("data", x) as x:
        ppl.sample("z", ppl.Bernoulli(logits=ppl.param("g", 0.2) * x))


@functools.cache
def toy_program() -> ppl.Program:
    """`toy` by REBAR."""
    return ppl.compile(toy, Rebar(), dtype="float64")


@functools.cache
def rows_program() -> ppl.Program:
    """The ELBO of `rows`, enumerated."""
    return ppl.compile(ppl.elbo(rows, guide), Enumerate(), dtype="float64", data=(X, K))


@functools.cache
def folder() -> str:
    """Where files go."""
    return tempfile.mkdtemp()


def saved() -> str:
    """A file of a state."""
    path = os.path.join(folder(), "state.npz")
    toy_program().init(0).save(path)
    return path


def states() -> tuple[ppl.State, ppl.State]:
    """A state of each program."""
    return toy_program().init(0), rows_program().init(0)


def relative(path: Any) -> Any:
    """A path in the folder, where it is one."""
    return os.path.join(folder(), path) if isinstance(path, str) and path and "\0" not in path else path


def drawn_to(program: Any, path: Any, ax: Any) -> Any:
    """A picture, in a file of the folder where a path is relative."""
    return ppl.draw(program, relative(path), ax)


def traced(function: Callable[..., Any], **extra: Any) -> Callable[..., Any]:
    """A call inside a model, which is traced and planned."""

    def call(**arguments: Any) -> Any:
        @ppl.model
        def inside() -> None:
            with ppl.plate("plate", 3):
                function(**extra, **arguments)
            ppl.cost("last", ppl.param("last", 0.5) ** 2)

        return ppl.compile(inside)

    return call


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


OPTIONS = {"seed": 1, "particles": 2, "total_rows": 9, "rows": 0, "hyper": {}}


def program_calls() -> dict[str, Call]:
    """Methods of programs."""
    toy_state, state = states()
    p, t = rows_program(), toy_program()
    data = {"state": state, "x": X, "k": K}

    def on(method: Callable[..., Any]) -> Callable[..., Any]:
        return lambda state, x, k, **options: method(state, x, k, **options)

    small = {"repeats": 4, "seed": 1, "particles": None, "hyper": None, "backend": "interpreter"}
    return {
        "Program.value": Call(on(p.value), {**data, **OPTIONS, "per_row": False, "nonfinite": "keep"}),
        "Program.value_and_grad": Call(on(p.value_and_grad), {**data, **OPTIONS, "nonfinite": "raise"}),
        "Program.step": Call(t.step, {"state": toy_state, "seed": 3, "hyper": {"weight": 2.0}, "nonfinite": "raise"}),
        "Program.update": Call(
            t.update, {"state": toy_state, "optimizer": ppl.optim.SGD(0.1), "seed": 1, "hyper": {"weight": 1.0}}
        ),
        "Program.sample": Call(
            on(p.sample), {**data, "particles": 2, "sites": ["z"], "seed": 1, "rows": 0, "hyper": None}
        ),
        "Program.init": Call(t.init, {"seed": 0, "params": {"logit": 0.5}}),
        "Program.params": Call(t.params, {"state": toy_state}),
        "Program.ravel": Call(t.ravel, {"state": toy_state}),
        "Program.unravel": Call(t.unravel, {"vector": np.zeros(1)}),
        "Program.arrays": Call(t.arrays, {"state": toy_state}),
        "Program.workspace": Call(p.workspace, {"rows": 2, "kind": "gradient"}),
        "Program.sample_buffer": Call(p.sample_buffer, {"rows": 2}),
        "Program.explain": Call(lambda x, k: p.explain(x, k), {"x": X, "k": K}),
        "Program.ir": Call(t.ir, {"stage": "trace"}),
        "Program.hvp": Call(
            lambda state, vector, x, k, **options: p.hvp(state, vector, x, k, **options),
            {**data, **OPTIONS, "particles": 1, "vector": np.zeros(3)},
        ),
        "Program.profile": Call(t.profile, {"state": toy_state, "repeats": 1, "kind": "gradient", "seed": 1}),
        "Program.diagnose": Call(t.diagnose, {"state": toy_state, **small, "timing": False}),
        "Program.check_unbiased": Call(
            t.check_unbiased, {"state": toy_state, **small, "reference": "auto", "width": 5.0}
        ),
        "Plan[]": Call(lambda name: t.explain()[name], {"name": "b"}, (KeyError,)),
        "State.replace": Call(
            toy_state.replace, {"params": {"logit": 0.1}, "step": 1, "seed": 3, "opt": None, "estimators": {}}
        ),
        "State.save": Call(lambda path: toy_state.save(relative(path)), {"path": "s.npz"}, (OSError,)),
        "load_state": Call(ppl.load_state, {"path": saved()}, (OSError,)),
        "draw": Call(drawn_to, {"program": t, "path": None, "ax": None}, (OSError, ImportError)),
        "compare": Call(ppl.compare, {"programs": {"a": t}, "state": toy_state, "warmup": 0, **small}),
        "tune": Call(
            ppl.tune, {"program": t, "state": toy_state, "budget_seconds": 0.001, "candidates": None, "seed": 1}
        ),
        "Model.bind": Call(lambda **static: toy.bind(**static), {}),
    }


def fit_calls() -> dict[str, Call]:
    """`ppl.fit`."""
    toy_state, state = states()
    p, t = rows_program(), toy_program()
    common = {"steps": 1, "seed": 0, "hyper": None, "validation": None, "checkpoint": None, "callback": None}
    return {
        "fit": Call(
            functools.partial(ppl.fit, t),
            {**common, "optimizer": ppl.optim.SGD(0.1), "progress": False, "state": toy_state},
        ),
        "fit(data)": Call(
            lambda x, k, **o: ppl.fit(p, x, k, progress=False, **o),
            {
                "x": X,
                "k": K,
                **common,
                "batch_size": 2,
                "optimizer": ppl.optim.Adam(0.1),
                "total_rows": 9,
                "state": state,
            },
        ),
        "fit(epochs)": Call(
            lambda **o: ppl.fit(p, X, K, progress=False, **o),
            {"epochs": 1, "batch_size": 2, "optimizer": {"w": ppl.optim.Adam(0.1), "*": None}},
        ),
        "fit(batches)": Call(
            lambda **o: ppl.fit(p, progress=False, optimizer=ppl.optim.SGD(0.1), **o),
            {"batches": [(X, K)], "steps": 1, "total_rows": 5},
        ),
    }


def compile_calls() -> dict[str, Call]:
    """`ppl.compile` and objectives."""
    settings = {"allow_bias": False, "particles": 2, "max_copies": 4, "dtype": "float64", "target": "cpu"}
    return {
        "compile": Call(ppl.compile, {"objective": toy, "estimators": "auto", **settings, "data": None}),
        "compile(data)": Call(
            functools.partial(ppl.compile, ppl.elbo(rows, guide)), {"data": (X, K), "estimators": {"z": Enumerate()}}
        ),
        "elbo": Call(
            lambda **o: ppl.compile(ppl.elbo(**o), data=(X, K)),
            {"model": rows, "guide": guide, "kl": "auto", "kl_weight": 1.0},
        ),
        "iwae": Call(
            lambda **o: ppl.compile(ppl.iwae(**o), data=(X, K)), {"model": rows, "guide": guide, "particles": 3}
        ),
        "likelihood": Call(
            lambda **o: ppl.compile(ppl.likelihood(**o), data=(X, K)), {"model": rows, "marginalize": ["z"]}
        ),
        "nce": Call(ppl.nce, {"model": rows, "noise": ppl.Normal(0.0, 1.0), "k": 2}),
        "model": Call(ppl.model, {"function": lambda x: None}),
        "spec": Call(ppl.spec, {"shape": (None, 3), "dtype": np.float32}),
        "cli": Call(lambda argv: __import__("ppl.cli").cli.main(argv), {"argv": ["list"]}, (SystemExit,)),
    }


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


E3 = np.full(3, 1 / 3)
DISTRIBUTIONS: dict[str, dict[str, Any]] = {
    "Bernoulli": {"probs": 0.5},
    "Beta": {"concentration1": 1.0, "concentration0": 2.0},
    "BetaBinomial": {"concentration1": 1.0, "concentration0": 2.0, "total_count": 3},
    "Binomial": {"total_count": 3, "probs": 0.5},
    "Categorical": {"probs": E3},
    "Cauchy": {"loc": 0.0, "scale": 1.0},
    "Chi2": {"df": 2.0},
    "Delta": {"v": 1.0, "log_density": 0.0},
    "Dirichlet": {"concentration": np.ones(3)},
    "DiscreteUniform": {"low": 0, "high": 3},
    "Exponential": {"rate": 1.0},
    "Gamma": {"concentration": 1.0, "rate": 1.0},
    "GaussianRandomWalk": {"scale": 1.0, "steps": 3, "loc": 0.0, "drift": 0.0},
    "Geometric": {"probs": 0.5},
    "Gumbel": {"loc": 0.0, "scale": 1.0},
    "HalfCauchy": {"scale": 1.0},
    "HalfNormal": {"scale": 1.0},
    "InverseGamma": {"concentration": 1.0, "scale": 1.0},
    "Kumaraswamy": {"concentration1": 1.0, "concentration0": 2.0},
    "LKJCholesky": {"dim": 3, "concentration": 1.0},
    "Laplace": {"loc": 0.0, "scale": 1.0},
    "LogNormal": {"loc": 0.0, "scale": 1.0},
    "Logistic": {"loc": 0.0, "scale": 1.0},
    "LowRankMultivariateNormal": {"loc": np.zeros(3), "cov_factor": np.ones((3, 1)), "cov_diag": np.ones(3)},
    "Masked": {"dist": ppl.Normal(np.zeros(2), 1.0), "mask": np.array([True, False])},
    "Mixture": {"weights": np.array([0.5, 0.5]), "components": ppl.Normal(np.zeros(2), 1.0), "joint": 0},
    "Multinomial": {"total_count": 3, "probs": E3},
    "MultivariateNormal": {"loc": np.zeros(2), "scale_tril": np.eye(2)},
    "NegativeBinomial": {"total_count": 3.0, "probs": 0.5},
    "Normal": {"loc": 0.0, "scale": 1.0},
    "OneHotCategorical": {"probs": E3},
    "Pareto": {"scale": 1.0, "concentration": 1.0},
    "PlackettLuce": {"probs": E3},
    "Poisson": {"rate": 1.0},
    "RelaxedBernoulli": {"temperature": 0.5, "probs": 0.5},
    "RelaxedOneHotCategorical": {"temperature": 0.5, "probs": E3},
    "StudentT": {"df": 3.0, "loc": 0.0, "scale": 1.0},
    "Truncated": {"base": ppl.Normal(0.0, 1.0), "low": 0.0, "high": 2.0},
    "TruncatedNormal": {"loc": 0.0, "scale": 1.0, "low": 0.0, "high": 2.0},
    "Uniform": {"low": 0.0, "high": 1.0},
    "VonMises": {"loc": 0.0, "concentration": 1.0},
    "Weibull": {"concentration": 1.0, "scale": 1.0},
    "ZeroInflatedPoisson": {"gate": 0.5, "rate": 1.0},
}
METHODS = {"log_prob": "value", "cdf": "value", "icdf": "probability", "mask": "mask", "expand": "shape"}


def distribution_calls() -> dict[str, Call]:
    """Constructors, and methods with one argument."""
    out = {}
    for name, good in DISTRIBUTIONS.items():
        make = getattr(ppl, name)
        out[name] = Call(make, good)
        for method, argument in METHODS.items():
            bound = getattr(make(**good), method)
            value = {"shape": (2,), "mask": True}.get(argument, 0.5)
            out[f"{name}.{method}"] = Call(lambda a, bound=bound: bound(a), {"a": value})
    fitted = {"x": X, "weights": np.ones(5)}
    out["Normal.fit"] = Call(ppl.Normal.fit, fitted)
    out["Binomial.fit"] = Call(ppl.Binomial.fit, {"x": K, "weights": None, "total_count": 3})
    out["Transformed"] = Call(
        lambda base, bijector: ppl.Transformed(base, bijector),
        {"base": ppl.Normal(0.0, 1.0), "bijector": ppl.bijectors.Exp()},
    )
    return out


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


@functools.cache
def calls() -> dict[str, Call]:
    """The whole table."""
    return {
        **program_calls(), **fit_calls(), **compile_calls(), **language_calls(), **eager_calls(), **distribution_calls(),
        **option_calls(),
    }  # fmt: skip
