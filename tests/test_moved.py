"""Old names of modules lead to today's classes."""

import pickle

import pytest

import ppl
from ppl.moved import MOVED


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in MOVED.items() for name in names])
def test_what_a_pickle_names_is_found(module, name):
    assert callable(pickle.loads(f"c{module}\n{name}\n.".encode()))


def test_the_classes_are_those_of_today():
    assert pickle.loads(b"cppl.training.history.result\nFit\n.") is ppl.Fit
    assert pickle.loads(b"cppl.training.optim.sgd\nSGD\n.") is ppl.optim.SGD


def test_other_names_are_no_attributes():
    with pytest.raises(AttributeError, match="'Fitted'"):
        pickle.loads(b"cppl.training.history.result\nFitted\n.")
