"""Pickles of programs: what comes back, what is refused, and that the hash of a trace sees what counts."""

import copy
import importlib
import pickle
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import ppl
from ppl import Bernoulli, Normal
from ppl.errors import ModelError
from ppl.estimators import Rebar, ScoreFunction
from ppl.program.recipe import trace_digest
from tests.program.programs import UNITS, data, mixed_program, same, toy_program, units_program

X = data()


@ppl.model
def scaled(x, *, factor=2.0, act=np.tanh):
    """A model with static arguments, observed rows and a hyper parameter."""
    w = ppl.param("w", np.zeros(3))
    with ppl.plate("data", x) as x:
        z = ppl.sample("z", Normal(act(w @ x) * factor, 1.0))
        ppl.cost("c", (z - 1.0) ** 2 * ppl.hyper("weight", 0.5))


@ppl.model
def chain(x):
    """A model for `ppl.elbo`."""
    z = ppl.sample("z", Normal(0.0, 1.0))
    with ppl.plate("data", x) as x:
        ppl.sample("x", Normal(z, 1.0), obs=x)


@ppl.model
def guess():
    """Its guide."""
    ppl.sample("z", Normal(ppl.param("m", 0.1), ppl.param("s", 0.7, constraint="positive")))


@ppl.model
def rowwise(x):
    """A latent a row, for `ppl.iwae`."""
    with ppl.plate("data", x) as x:
        ppl.sample("x", Normal(ppl.sample("z", Normal(0.0, 1.0)), 1.0), obs=x)


@ppl.model
def rowwise_guess(x):
    """Its guide."""
    with ppl.plate("data", x) as x:
        ppl.sample("z", Normal(ppl.param("m", 0.1) * x, ppl.param("s", 0.7, constraint="positive")))


PROGRAMS = {
    "mixed": mixed_program,
    "toy": toy_program,
    **{f"units {name}": lambda name=name: units_program(name, "float32") for name in UNITS},
    "static": lambda: ppl.compile(scaled.bind(factor=3.0), dtype="float64", data=X),
    "elbo": lambda: ppl.compile(ppl.elbo(chain, guess, kl_weight=ppl.hyper("beta", 0.3)), data=ppl.spec((None,))),
    "iwae": lambda: ppl.compile(ppl.iwae(rowwise, rowwise_guess, particles=3), dtype="float64", data=X[:, 0]),
    "sums": lambda: ppl.compile(mixture_likelihood(), dtype="float64", data=X[:, 0]),
}


@ppl.model
def mixture(x):
    """Two components."""
    with ppl.plate("data", x) as x:
        k = ppl.sample("k", Bernoulli(logits=ppl.param("l", 0.2)))
        ppl.sample("x", Normal(np.where(k == 1, 1.0, -1.0), 0.5), obs=x)


def mixture_likelihood():
    return ppl.likelihood(mixture, marginalize=["k"])


def arguments(program):
    if not program.argument_names:
        return ()
    return (X,) if program.prepare().trace.arguments["x"].shape[1:] else (X[:, 0],)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_pickled_program_gives_the_same_bits(name):
    program = PROGRAMS[name]()
    for protocol in (2, pickle.HIGHEST_PROTOCOL):
        other = pickle.loads(pickle.dumps(program, protocol))
        assert other is not program and other.argument_names == program.argument_names
        state, given = program.init(3), arguments(program)
        loss, grads, new = program.step(state, *given)
        found, others, news = other.step(other.init(3), *given)
        assert loss == found and same(grads, others) and same(new.aux, news.aux)
        assert str(other.explain()) == str(program.explain())
        assert other.step(state, *given)[0] == loss, "states go from one to the other"


def test_choices_that_were_tuned_come_back():
    program = ppl.compile(units_program("score").objective, dtype="float64", data=X)
    tuned = ppl.tune(program, program.init(0), X, budget_seconds=0.5)
    other = pickle.loads(pickle.dumps(tuned))
    assert other.settings == tuned.settings and other.settings.measured
    assert other.explain().as_dict() == tuned.explain().as_dict()
    assert other.prepare().plan.measured == tuned.prepare().plan.measured


def test_a_program_that_has_seen_no_data():
    other = pickle.loads(pickle.dumps(ppl.compile(scaled, dtype="float64")))
    assert np.isfinite(other.value(other.init(0, X), X))


def test_a_program_that_has_seen_several_kinds_of_data():
    program = ppl.compile(chain_of_any, dtype="float64")
    program.prepare(X), program.prepare(X[:, :2])
    program.prepare(X)
    other = pickle.loads(pickle.dumps(program))
    assert len(other._compiled) == 2
    assert other.prepare().trace.arguments["x"].shape == X.shape


@ppl.model
def chain_of_any(x):
    """A model for rows of any length."""
    with ppl.plate("data", x) as x:
        z = ppl.sample("z", Normal(ppl.param("m", 0.1), 1.0))
        ppl.cost("c", np.sum((x - z) ** 2))


def test_a_closure_is_pickled_with_its_code_or_refused(monkeypatch):
    pytest.importorskip("cloudpickle")
    level = 0.25

    @ppl.model
    def inner():
        b = ppl.sample("b", Bernoulli(logits=ppl.param("logit", 0.3)))
        ppl.cost("loss", (b - level) ** 2)

    program = ppl.compile(inner, Rebar(), dtype="float64")
    other = pickle.loads(pickle.dumps(program))
    assert other.step(other.init(0))[0] == program.step(program.init(0))[0]
    static = ppl.compile(scaled.bind(act=lambda v: v * 2.0), ScoreFunction(), dtype="float64", data=X)
    other = pickle.loads(pickle.dumps(static))
    assert other.step(other.init(0), X)[0] == static.step(static.init(0), X)[0]
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    for refused in (program, static):
        with pytest.raises(ModelError, match=r"cannot be pickled: .*top of a module, or install cloudpickle"):
            pickle.dumps(refused)


MODULE = """
    import numpy as np, ppl
    from ppl import Normal, Bernoulli

    @ppl.model
    def changing(x):
        with ppl.plate("data", x) as x:
            z = ppl.sample("z", Normal(ppl.param("m", 0.1), 1.0))
            ppl.cost("c", (z - x) ** 2)
"""

CHANGES = {
    "number": ("0.1", "0.11"),
    "constant": ("1.0)", "1.5)"),
    "power": ("** 2", "** 3"),
    "name of a node": ('"z"', '"zz"'),
    "name of a parameter": ('"m"', '"n"'),
    "name of a cost": ('"c"', '"d"'),
    "distribution": ("Normal(ppl", "ppl.Laplace(ppl"),
    "constraint": ('"m", 0.1', '"m", 0.1, constraint="positive"'),
    "another cost": ("** 2)", '** 2), ppl.cost("e", z)'),
}

HARMLESS = {"lines": ("import numpy", "\n\nimport numpy"), "a local": ("z = ppl", "z = _ = ppl")}


@pytest.fixture
def module(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(text, name="changing_model"):
        sys.modules.pop(name, None)
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
        importlib.invalidate_caches()
        return importlib.import_module(name)

    yield write
    sys.modules.pop("changing_model", None)


@pytest.mark.parametrize("change", [*CHANGES, *HARMLESS])
def test_a_model_that_has_changed_is_refused(change, module):
    content = pickle.dumps(ppl.compile(module(MODULE).changing, ScoreFunction(), data=X[:, 0]))
    text = textwrap.dedent(MODULE).replace(*(CHANGES | HARMLESS)[change])
    assert text != textwrap.dedent(MODULE)
    module(text)
    if change in HARMLESS:
        assert pickle.loads(content).argument_names == ("x",)
        return
    with pytest.raises(ModelError, match="model 'changing' has changed since this program was pickled"):
        pickle.loads(content)


def test_a_model_that_is_gone_is_refused(module):
    content = pickle.dumps(ppl.compile(module(MODULE).changing, data=X[:, 0]))
    module(MODULE.replace("changing", "renamed"))
    with pytest.raises(ModelError, match="'changing' of module 'changing_model', which is not there"):
        pickle.loads(content)


def test_a_pickle_of_another_format_is_refused():
    function, parts = toy_program().__reduce__()
    with pytest.raises(ModelError, match="format 7"):
        function(7, *parts[1:])


def test_using_a_program_does_not_change_its_hash():
    program = ppl.compile(mixed_program().objective, particles=2, dtype="float64", data=X)
    before = trace_digest(program.prepare().trace)
    state = program.init(0)
    program.step(state, X), program.sample(state, X), program.value(state, X), str(program.explain())
    assert trace_digest(program.prepare().trace) == before
    assert trace_digest(copy.copy(program).prepare().trace) == before


def test_the_hash_is_that_of_another_process():
    code = (
        "from tests.program.test_pickle import PROGRAMS; from ppl.program.recipe import trace_digest\n"
        "print(*[trace_digest(make().prepare().trace) for make in PROGRAMS.values()])"
    )
    found = [trace_digest(make().prepare().trace) for make in PROGRAMS.values()]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == found
    assert len({*found}) == len(PROGRAMS) - len(UNITS) + 1, "programs of one model share a hash"
