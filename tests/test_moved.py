"""Old names of modules lead to today's classes."""

import pickle
from importlib import import_module

import pytest

import ppl
from ppl.moved import MOVED, RENAMED


@pytest.mark.parametrize("module", MOVED)
def test_modules_have_moved(module):
    import_module(MOVED[module])
    assert not hasattr(import_module(module), "__file__")


@pytest.mark.parametrize(("module", "name"), RENAMED)
def test_renamed_classes_and_functions_are_found(module, name):
    assert callable(pickle.loads(f"c{module}\n{name}\n.".encode()))


def test_the_classes_are_those_of_today():
    assert pickle.loads(b"cppl.training.history.result\nFit\n.") is ppl.Fit
    assert pickle.loads(b"cppl.training.optim.sgd\nSGD\n.") is ppl.optim.SGD
    assert pickle.loads(b"cppl.distributions.normal\nNormal\n.") is ppl.Normal


def test_other_names_are_no_attributes():
    with pytest.raises(AttributeError, match="'Fitted'"):
        pickle.loads(b"cppl.training.history.result\nFitted\n.")
