"""`docs/errors.md` has every error class, and the messages that programs do give."""

import inspect
import re

import numpy as np
import pytest

import ppl
from ppl import Normal, errors
from ppl.estimators import Pathwise, ScoreFunction
from tests.pages.blocks import ROOT

TEXT = (ROOT / "docs/errors.md").read_text(encoding="utf-8")
MESSAGES = re.findall(r"^\| `(\w+Error: .*?)` \|", TEXT, re.MULTILINE)
CLASSES = {name: c for name, c in vars(errors).items() if inspect.isclass(c) and c.__module__ == errors.__name__}

ATTRIBUTES = {
    "RankError": ["rank"],
    "ParameterError": ["node", "parameter"],
    "SimulatorError": ["site", "row", "arguments"],
    "NonFiniteError": ["node"],
    "FitError": ["state", "step", "node", "fit"],
    "MemoryCheckError": ["tag"],
}


@pytest.mark.parametrize("name", CLASSES)
def test_every_class_is_on_the_page_with_its_base_and_attributes(name):
    row = re.search(rf"^\| `{name}` \|.*$", TEXT, re.MULTILINE)
    assert row
    for base in CLASSES[name].__bases__:
        assert base in (Exception, errors.PplError) or f"`{base.__name__}`" in row[0]
    listed = re.findall(r"`(\w+)`", row[0].rsplit("|", 2)[1])
    assert listed == ATTRIBUTES.get(name, [])
    assert all(a in inspect.signature(CLASSES[name]).parameters for a in listed)


def _z(scale=1.0):
    return ppl.sample("z", Normal(ppl.param("m", 0.0), scale))


def _jump():
    ppl.cost("c", np.where(_z() > 0.5, 1.0, 0.0))


def _used_in_if():
    if _z() > 0:
        ppl.cost("c", 1.0)


def _assigned():
    _z(np.ones(2))[0] = 1.0


def _twice():
    for _ in range(2):
        ppl.sample("z", Normal(0.0, 1.0))


def _moved_jump():
    m = ppl.param("m", 0.0)
    ppl.cost("c", np.where(ppl.sample("z", Normal(0.0, 1.0)) > m, 1.0, 0.0))


def _moved_support():
    ppl.cost("c", np.floor(3.0 * ppl.sample("u", ppl.Uniform(0.0, ppl.param("high", 1.0)))))


def _left_plate(x):
    with ppl.plate("data", x) as x:
        pass
    ppl.cost("c", x)


def _counts(x):
    with ppl.plate("data", x) as x:
        ppl.sample("x", ppl.Poisson(ppl.param("rate", 1.0, constraint="positive")), obs=x)


def _latent(x):
    with ppl.plate("data", x) as x:
        ppl.sample("x", Normal(ppl.sample("z", Normal(0.0, 1.0)), ppl.param("s", 1.0)), obs=x)


def _line(x):
    with ppl.plate("data", x) as x:
        ppl.sample("x", Normal(0.0, ppl.param("s", 1.0)), obs=x)


def _compiled(function, objective=lambda model: model, **options):
    return ppl.compile(objective(ppl.model(function)), **options)


ROWS = ppl.spec((None,))
DECLARED = {
    "ppl.sample was called": lambda: ppl.sample("z", Normal(0.0, 1.0)),
    "a value was used": lambda: _compiled(_used_in_if),
    "a value was converted": lambda: _compiled(lambda: ppl.cost("c", float(_z()))),
    "an entry": lambda: _compiled(_assigned),
    "two nodes": lambda: _compiled(_twice),
    "a value of plate": lambda: _compiled(_left_plate, data=ROWS),
    "data argument": lambda: _compiled(lambda x: ppl.cost("c", np.sum(x)), data=ROWS),
    "declares no": lambda: _compiled(lambda: _z()),
    "elbo": lambda: _compiled(_latent, lambda m: ppl.elbo(m, ppl.model(lambda x: None)), data=ROWS),
    "Poisson": lambda: _compiled(_counts, ppl.likelihood, data=ROWS),
    "scalar per row": lambda: _compiled(lambda: ppl.cost("c", _z(np.ones(2)))),
    "broadcast": lambda: _compiled(lambda: ppl.cost("c", np.sum(_z(np.ones(2)) + ppl.param("p", np.zeros(3))))),
    "no admissible": lambda: _compiled(_moved_support),
    "cannot be used": lambda: _compiled(_jump, estimators=Pathwise()),
    "leave-one-out": lambda: _compiled(_jump, estimators=ScoreFunction("leave_one_out")),
    "matches no": lambda: _compiled(_jump, estimators={"y": ScoreFunction()}),
    "jumps": lambda: _compiled(_moved_jump),
    "there is no file": lambda: ppl.load_state("nowhere.npz"),
}
CALLED = {
    "needs its data": lambda p, s: p.value(s),
    "the observed value": lambda p, s: p.value(s, np.array([1.0, np.nan])),
    "scale of Normal": lambda p, s: p.value(p.init(0, params={"s": -1.0}), np.zeros(2)),
    "particles= must": lambda p, s: p.value(s, np.zeros(2), particles=0),
    "UnknownNameError": lambda p, s: p.diagnose(s, np.zeros(2), repeats=10)["t"],
    "the state has": lambda p, s: p.value(_compiled(_jump).init(0), np.zeros(2)),
    "the schedule raised": lambda p, s: ppl.fit(
        p, np.zeros(2), steps=2, optimizer=ppl.optim.SGD(lambda t: 1 / t), progress=False
    ),
    "is nan": lambda p, s: ppl.fit(
        p, np.zeros(2), steps=50, optimizer=ppl.optim.Momentum(50.0, beta=0.99), progress=False
    ),
}


def _is_on_the_page(error, key):
    (shown,) = [message for message in MESSAGES if key in message]
    pattern = ".*".join(re.escape(part.strip()) for part in shown.partition(": ")[2].split("…"))
    assert type(error).__name__ == shown.partition(":")[0]
    assert re.search(pattern, " ".join(str(error).split())), f"{key}: {error}"


@pytest.mark.parametrize("key", DECLARED)
def test_messages_of_models(key):
    with pytest.raises(errors.PplError) as caught:
        DECLARED[key]()
    _is_on_the_page(caught.value, key)


@pytest.fixture(scope="module")
def line():
    program = _compiled(_line, ppl.likelihood, data=np.zeros(2))
    return program, program.init(0)


@pytest.mark.slow
@pytest.mark.parametrize("key", CALLED)
def test_messages_of_calls(key, line):
    with pytest.raises(errors.PplError) as caught:
        CALLED[key](*line)
    _is_on_the_page(caught.value, key)
