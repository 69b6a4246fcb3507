"""States, checkpoints and pickles that version 0.1.0 wrote on 2026-11-24 are read, and give the same figures."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

import ppl
from ppl.estimators import Combine, Pathwise, Rebar, ScoreFunction
from tests.compat import model

FILES = Path(__file__).parent / "files"


def agree(found, file):
    """Equal to a few roundings of float32, with which another processor adds up."""
    with np.load(FILES / file) as expected:
        assert set(found) == set(expected.files)
        for name, value in found.items():
            np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.fixture(scope="module")
def program():
    return model.compiled()


def unpickled(name):
    return pickle.loads((FILES / f"{name}.pickle").read_bytes())


def test_a_state(program):
    state = ppl.load_state(FILES / "state.npz")
    assert state.step == model.STEPS
    assert state.estimators == {"b": ScoreFunction("moving_average"), "z": Pathwise()}
    agree(model.figures(program, state), "expected.npz")


def test_a_checkpoint_is_continued(program, tmp_path):
    checkpoint = shutil.copy(FILES / "checkpoint.npz", tmp_path / "run.npz")
    fit = model.trained(program, checkpoint, model.MORE)
    assert len(fit.history["loss"]) == model.MORE
    agree(model.figures(program, fit.state), "continued.npz")


def test_a_pickled_program_and_fit():
    """The program's pickle has a digest of its trace, which the model must still have."""
    fit = unpickled("fit")
    assert len(fit.history["loss"]) == model.STEPS
    agree(model.figures(unpickled("program"), fit.state), "expected.npz")


def test_pickled_estimators():
    assert unpickled("estimators") == [ScoreFunction("learned"), Rebar(), Combine(Pathwise(), ScoreFunction())]
