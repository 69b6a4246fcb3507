"""Results by name: a name that is missing is one ppl error, also a KeyError, that lists the names there are."""

import copy
import pickle

import numpy as np
import pytest

import ppl
from ppl.errors import PplError, UnknownNameError
from tests.program.programs import units_program

X = np.random.default_rng(0).normal(size=(5, 3))
RESULTS = {
    "explain": lambda p, s: p.explain(),
    "estimators": lambda p, s: p.explain().estimators,
    "as_dict": lambda p, s: p.explain().as_dict(),
    "state.aux": lambda p, s: s.aux,
    "state.estimators": lambda p, s: s.estimators,
    "sample": lambda p, s: p.sample(s, X),
    "sample_buffer": lambda p, s: p.sample_buffer(2)[1],
    "history": lambda p, s: fitted(p).history,
    "diagnose": lambda p, s: p.diagnose(s, X, repeats=4, timing=False, backend="interpreter"),
    "compare": lambda p, s: ppl.compare({"a": p}, s, X, repeats=4, warmup=0, backend="interpreter"),
    "compare.cost": lambda p, s: ppl.compare({"a": p}, s, X, repeats=4, warmup=0, backend="interpreter").cost,
    "bias": lambda p, s: unbiased(p, s).bias,
    "deviation": lambda p, s: unbiased(p, s).deviation,
    "mean": lambda p, s: unbiased(p, s).mean,
    "reference": lambda p, s: unbiased(p, s).reference,
}


def fitted(program):
    return ppl.fit(program, X, steps=1, optimizer=ppl.optim.SGD(0.1), progress=False)


def unbiased(program, state):
    return program.check_unbiased(state, X, repeats=4, backend="interpreter", reference="score")


@pytest.mark.parametrize("result", RESULTS)
def test_a_missing_name(result):
    program = units_program("score")
    found = RESULTS[result](program, program.init(0, X))
    names = list(found)
    for missing in ("nope", 3, None, (1, 2), 1.5, b"nope"):
        assert missing not in found and found.get(missing) is None and found.get(missing, 1) == 1
        with pytest.raises(UnknownNameError, match="there are") as caught:
            found[missing]
        assert isinstance(caught.value, KeyError) and isinstance(caught.value, PplError)
    assert all(name.removeprefix("cost ") in str(caught.value) for name in names)
    assert str(caught.value) == caught.value.args[0]  # a KeyError would show its message quoted
    assert [name for name, _ in found.items()] == names == list(found.keys()) and len(found.values()) == len(names)
    for never in ([1], {}, np.zeros(2)):
        with pytest.raises(UnknownNameError, match="there are"):
            found[never]


def test_near_names_are_suggested():
    program = units_program("score")
    sites = program.sample(program.init(0, X), X)
    name = max(sites, key=len)
    with pytest.raises(UnknownNameError, match=f"no site named '{name}s': did you mean '{name}'"):
        sites[f"{name}s"]


def test_results_by_name_are_dicts():
    program = units_program("score")
    sites = program.sample(program.init(0, X), X)
    plain = {name: value.copy() for name, value in sites.items()}
    assert isinstance(sites, dict) and repr(sites) == repr(plain)
    for copied in (copy.copy(sites), copy.deepcopy(sites), pickle.loads(pickle.dumps(sites)), sites.copy()):
        assert set(copied) == set(plain) and all(np.array_equal(copied[k], v) for k, v in plain.items())
        with pytest.raises(UnknownNameError, match="no site named"):
            copied["nope"]


def test_arrays_by_parameter_are_plain_dicts():
    """Other libraries take dicts, and no class derived from it, for trees."""
    program = units_program("score")
    state = program.init(0, X)
    grads, params = program.value_and_grad(state, X)[1], program.params(state)
    assert {type(found) for found in (grads, params, state.params, program.unravel(program.ravel(state)))} == {dict}
