"""The public API as a table of calls with right arguments, of which the fuzzer replaces some."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

import ppl
from ppl.estimators import Enumerate
from tests.fuzz.distributions import distribution_calls
from tests.fuzz.language import eager_calls, language_calls, option_calls
from tests.fuzz.programs import (
    Call,
    K,
    X,
    drawn_to,
    guide,
    relative,
    rows,
    rows_program,
    saved,
    states,
    toy,
    toy_program,
)

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
        "Plan[]": Call(lambda name: t.explain()[name], {"name": "b"}),
        "Program.sample[]": Call(lambda name: p.sample(state, X, K)[name], {"name": "z"}),
        "State.replace": Call(
            toy_state.replace, {"params": {"logit": 0.1}, "step": 1, "seed": 3, "opt": None, "estimators": {}}
        ),
        "State.save": Call(lambda path: toy_state.save(relative(path)), {"path": "s.npz"}, (OSError,)),
        "load_state": Call(ppl.load_state, {"path": saved()}, (OSError,)),
        "draw": Call(drawn_to, {"program": t, "path": None, "ax": None}, (OSError, ImportError)),
        "compare": Call(ppl.compare, {"programs": {"a": t}, "state": toy_state, "warmup": 0, **small}),
        "tune": Call(
            ppl.tune,
            {"program": t, "state": toy_state, "budget_seconds": 0.001, "candidates": None, "seed": 1},
            kept=("budget_seconds",),
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


@functools.cache
def calls() -> dict[str, Call]:
    """The whole table."""
    return {**program_calls(), **fit_calls(), **uncompiled_calls()}


@functools.cache
def uncompiled_calls() -> dict[str, Call]:
    """Those that compile no kernels."""
    return {**compile_calls(), **language_calls(), **eager_calls(), **distribution_calls(), **option_calls()}
