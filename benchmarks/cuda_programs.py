"""Programs that are compiled for CUDA on a machine without a device: the suite, and the mains of the model zoo."""

from __future__ import annotations

import contextlib
import importlib
import io
import pkgutil
import tempfile
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

import ppl
import ppl.models
from ppl.estimators import DisARM, Implicit, Pathwise, Rebar, Relaxed, ScoreFunction


class Made(NamedTuple):
    """What compiles a program, and the rows and particles of a step."""

    build: Callable[[], Any]
    rows: int = 1
    particles: int = 1


def suite() -> Mapping[str, Made]:
    """The workloads W1 to W8, and some smaller programs with rows."""
    from benchmarks.workloads import (
        categorical_vae_step,
        disarm_step,
        gamma_units,
        pathwise_units,
        policy_step,
        sbn_step,
        skip_gram_step,
    )
    from ppl.models import rbm, regression, toy, vae
    from ppl.models.alias import AliasTable

    pixels = ppl.spec((None, 784), np.float32)
    rows = ppl.spec((None, 10), np.float32), ppl.spec((None,), np.float32)
    pairs = ppl.spec((None,), np.int64), ppl.spec((None,), np.int64)
    contrastive = rbm.contrastive.bind(rates=np.full(784, 0.5), units=128, steps=1)
    words = AliasTable(np.ones(10_000), np.arange(10_000), np.full(10_000, 1e-4))

    def made(objective: Any, *estimators: Any, rows: int = 1, **settings: Any) -> Made:
        return Made(lambda: _cuda(objective, *estimators, **settings), rows, settings.get("particles", 1))

    return {
        "toy (W1)": made(toy.toy, Rebar()),
        "pathwise units (W2)": made(pathwise_units.units, Pathwise()),
        "belief net (W3)": made(ppl.elbo(sbn_step.generative, sbn_step.guide, kl="sampled"),
                                ScoreFunction("leave_one_out"), rows=512, particles=2, data=pixels),
        "belief net, DisARM (W3)": made(ppl.elbo(disarm_step.generative, disarm_step.guide, kl="sampled"), DisARM(),
                                        rows=512, data=pixels),
        "VAE (W4)": made(ppl.elbo(vae.generative, vae.guide), rows=512, data=pixels),
        "categorical VAE (W4)": made(ppl.elbo(categorical_vae_step.generative, categorical_vae_step.guide),
                                     Relaxed(0.5), rows=512, allow_bias=True, data=pixels),
        "RBM (W5)": made(contrastive, rows=512, data=pixels),
        "skip-gram (W6)": made(skip_gram_step.skip_gram.bind(noise=words), rows=1024, data=pairs),
        "policy (W7)": made(policy_step.system, ScoreFunction()),
        "gamma units (W8)": made(gamma_units.units, Implicit()),
        "regression": made(ppl.likelihood(regression.heteroscedastic), rows=512, data=rows),
        "regression, network": made(ppl.likelihood(regression.network), rows=512, data=rows),
    }  # fmt: skip


def zoo() -> Mapping[str, Made]:
    """The first program that each main of the zoo compiles."""
    found = sorted(module.name for module in pkgutil.iter_modules(ppl.models.__path__))
    modules = {name: importlib.import_module(f"ppl.models.{name}") for name in found}
    return {f"{name}.py": Made(lambda m=m: _first(m)) for name, m in modules.items() if hasattr(m, "main")}


class _Found(BaseException):
    """Carries the program out of a main."""


def _cuda(*arguments: Any, **settings: Any) -> Any:
    return ppl.compile(*arguments, **{**settings, "target": "cuda"})


def _first(module: Any) -> Any:
    """The first program that a main compiles, for CUDA; the main goes no further."""
    compile_ = ppl.compile

    def stop(*arguments: Any, **settings: Any) -> Any:
        raise _Found(compile_(*arguments, **{**settings, "target": "cuda"}))

    with tempfile.TemporaryDirectory() as folder, mock.patch.object(ppl, "compile", stop):
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                module.main(["--out", folder])
        except _Found as found:
            return found.args[0]
    raise LookupError(f"{module.__name__} compiles nothing")
