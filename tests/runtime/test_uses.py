"""Formulas of distributions in a model: what is computed with one is refused where a parameter is out of range."""

import math

import numpy as np
import pytest

import ppl
from ppl import Bernoulli, Exponential, Gamma, Normal, Poisson, Truncated, Uniform
from ppl.compiler.surrogate.guards import guard_applies
from ppl.errors import ParameterError
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate
from ppl.runtime.binding import BoundData
from ppl.runtime.compiled import Compiled
from ppl.runtime.nonfinite import find_violation


def formula(f):
    """A model whose cost is `f` of a free parameter."""

    @ppl.model
    def model():
        ppl.cost("c", f(ppl.param("a", 0.5)))

    return model


def phi(x):
    return 0.5 * math.erfc(-x / math.sqrt(2))


SILENT = {
    "cdf": (lambda a: Normal(0.0, a).cdf(0.7), phi(1.4), -1.0, "scale of Normal must be positive and finite, not -1.0"),
    "sf": (lambda a: Exponential(a).sf(0.7), math.exp(-0.35), -1.0, "rate of Exponential must be positive.*not -1.0"),
    "log": (lambda a: Normal(0.0, a).log_cdf(0.7), math.log(phi(1.4)), -1.0, "scale of Normal .* not -1.0"),
    "mean": (lambda a: Gamma(a, 1.0).mean, 0.5, -1.0, "concentration of Gamma must be positive .* not -1.0"),
    "itself": (lambda a: Poisson(a).mean, 0.5, -1.0, "rate of Poisson must be positive .* not -1.0"),
    "variance": (lambda a: Bernoulli(probs=a).variance, 0.25, 2.0, "probs of .* between 0 and 1, not 2.0"),
    "order": (lambda a: Uniform(a, 1.0).cdf(0.75), 0.5, 2.0, "low of Uniform must be less than high, not 2.0"),
    "icdf": (lambda a: Exponential(a).icdf(0.5), math.log(2) / 0.5, -1.0, "rate of Exponential .* not -1.0"),
    "entropy": (lambda a: Normal(0.0, a).entropy(), 0.5 * math.log(0.5 * math.pi * math.e), -1.0, "scale .* not -1.0"),
    "density": (lambda a: Poisson(a).log_prob(2), math.log(0.125) - 0.5, -1.0, "rate of Poisson .* not -1.0"),
    "kl": (
        lambda a: ppl.kl(Normal(0.0, 1.0), Normal(0.0, a)),
        math.log(0.5) + 2.0 - 0.5,
        -1.0,
        "scale of Normal must be positive and finite, not -1.0",
    ),
    "inner": (lambda a: Normal(Gamma(a, 1.0).mean, 1.0).cdf(0.5), 0.5, -1.0, "concentration of Gamma .* not -1.0"),
    "mask": (
        lambda a: Normal(np.zeros(2), np.stack([a, 1.0])).mask(np.array([True, False])).log_prob(np.zeros(2)),
        -math.log(0.5 * math.sqrt(2 * math.pi)),
        -1.0,
        "scale of Normal .* not -1.0 in entry 0",
    ),
}  # fmt: skip


def guarded(compiled, a):
    """Cost and sum of the guards of the loss at a parameter, interpreted, and the violation that is named."""
    trace = compiled.trace
    guards = [g.node for g in trace.guards if guard_applies(g, set())]
    env = Env(params={"a": np.float64(a)}, dtype=np.float64)
    cost, *terms = evaluate([trace.costs["c"].node, *guards], env)
    bound = BoundData([], {}, {}, {}, {})
    return float(cost), float(sum(terms)), find_violation(compiled, "value", env, bound)


@pytest.fixture(scope="module")
def compiled():
    return lambda f: ppl.compile(formula(f), dtype="float64").prepare()


@pytest.mark.parametrize(("f", "value", "bad", "message"), SILENT.values(), ids=SILENT)
def test_a_formula_is_refused_where_its_distribution_does_not_exist(compiled, f, value, bad, message):
    program = compiled(f)
    assert isinstance(program, Compiled)
    cost, guard, found = guarded(program, 0.5)
    assert cost == pytest.approx(value, rel=1e-14) and guard == 0.0 and found is None
    _, guard, found = guarded(program, bad)
    assert math.isnan(guard)
    with pytest.raises(ParameterError, match=message + r".*computed from parameter 'a'\n  at test_uses.py:\d+: "):
        raise found.error()


FREE = {
    "exp": lambda a: Normal(0.0, np.exp(a)).cdf(0.7),
    "softplus": lambda a: Gamma(ppl.softplus(a) + 1e-3, 1.0).mean,
    "logits": lambda a: Bernoulli(logits=np.tanh(a)).variance,
    "constant": lambda a: Normal(0.0, 2.0).cdf(np.tanh(a)),
    "location": lambda a: Normal(1.0, a).mean * 2.0 + a,
    "unused": lambda a: (Poisson(a).mean, Gamma(a, 1.0).mean, a)[2],
    "chosen": lambda a: np.where(a > 0, Normal(0.0, a).log_prob(0.3), 0.0),
    "chosen itself": lambda a: np.where(a > 0, Poisson(a).mean, 0.0),
    "selected": lambda a: np.select([a > 0], [Gamma(a, 1.0).mean], 7.0),
    "masked": lambda a: Normal(np.zeros(2), np.stack([a, 1.0])).mask(np.array([False, True])).log_prob(np.zeros(2)),
}


@pytest.mark.parametrize("f", FREE.values(), ids=FREE)
def test_what_is_proved_or_not_counted_is_never_refused(compiled, f):
    _, guard, found = guarded(compiled(f), -1.0)
    assert guard == 0.0 and found is None


@pytest.mark.parametrize("name", ["exp", "softplus", "logits", "constant", "location", "unused"])
def test_what_is_proved_costs_nothing(compiled, name):
    assert not compiled(FREE[name]).trace.guards


@ppl.model
def used():
    a = ppl.param("a", 0.5)
    z = ppl.sample("z", Normal(0.0, 1.0))
    ppl.factor("f", np.log(Normal(0.0, a).cdf(0.7)))
    ppl.deterministic("m", Exponential(a).mean + z)
    k = ppl.param("k", 200.0, constraint="positive")
    ppl.deterministic("tail", Truncated(Gamma(k, 1.0), 0.0, 60.0).icdf(0.37))
    ppl.sample("y", Normal(z, 1.0), obs=0.0)


def test_programs_refuse_what_they_are_asked_for():
    program = ppl.compile(ppl.elbo(used, used_guide), dtype="float32")
    good, bad = program.init(0), program.init(0, params={"a": -1.0})
    assert np.isfinite(program.value(good))
    for call in (program.value, program.value_and_grad, program.step):
        with pytest.raises(ParameterError, match=r"scale of Normal .* not -1.*\n  at test_uses.py:\d+: ppl.factor"):
            call(bad)
    assert np.isfinite(program.sample(good, sites=["m"])["m"]) and np.isfinite(program.sample(bad, sites=["z"])["z"])
    with pytest.raises(ParameterError, match=r"rate of Exponential .* not -1.*\n  at test_uses.py:\d+: ppl.determ"):
        program.sample(bad, sites=["m"])
    near = program.init(0, params={"k": 60.0})
    assert 50 < program.sample(near, sites=["tail"])["tail"] < 60
    with pytest.raises(ParameterError, match=r"low of Truncated must be an end of a window .* Gamma has probability"):
        program.sample(good, sites=["tail"])


@ppl.model
def used_guide():
    ppl.sample("z", Normal(ppl.param("loc", 0.0), 1.0))
