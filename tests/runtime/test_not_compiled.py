"""What takes a program says so when it is given a model."""

import pytest

import ppl
from ppl.errors import ModelError
from tests.program.programs import toy, toy_program

CALLS = {
    "ppl.fit": lambda given, state: ppl.fit(given, steps=1, optimizer=ppl.optim.SGD(0.1)),
    "ppl.draw": lambda given, state: ppl.draw(given),
    "ppl.tune": lambda given, state: ppl.tune(given, state),
    "ppl.compare": lambda given, state: ppl.compare({"a": toy_program(), "b": given}, state, repeats=2, warmup=0),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_model_is_to_be_compiled_first(name):
    state = toy_program().init(0)
    for given, shown in ((toy, r"Model\(toy\)"), (ppl.elbo(toy, toy), "Elbo"), (3, "int")):
        with pytest.raises(ModelError, match=rf"{name} takes a compiled program, not {shown}: .*ppl.compile"):
            CALLS[name](given, state)
