"""The stochastic perceptron: data, estimators, step sizes, averaging over samples, what training reaches."""

import json

import numpy as np
import pytest

import ppl
from ppl.models import common, data, stochastic_mlp
from tests.helpers.needs import needs

pytestmark = needs("sklearn", "matplotlib")


def test_distorted_digits_are_new_images_of_the_same_digits():
    rows, _ = data.grey_digits()
    moved = data.distorted(rows[:300], 4, seed=0)
    assert moved.shape == (1500, 64) and moved.dtype == np.float32 and moved.min() >= 0 and moved.max() <= 1
    np.testing.assert_array_equal(moved[:300], rows[:300])
    np.testing.assert_array_equal(moved, data.distorted(rows[:300], 4, seed=0))
    copies = moved[300:].reshape(4, 300, 64)
    own = np.linalg.norm(copies - rows[:300], axis=-1).mean()
    others = np.linalg.norm(copies - np.roll(rows[:300], 1, axis=0), axis=-1).mean()
    assert 0.3 * others < own < 0.8 * others


def test_a_small_distortion_is_an_affine_map():
    """The mass of an image whose digit stays inside changes by the map's determinant, at most 1 ± 0.35."""
    blob = np.zeros((8, 8), np.float32)
    blob[3:5, 3:5] = 1.0
    moved = data.distorted(blob.reshape(1, 64), 200, seed=1)[1:].reshape(-1, 8, 8)
    mass = moved.sum((1, 2))
    assert (mass > 4 / 1.35).all() and (mass < 4 / 0.68).all()
    centre = np.einsum("nrc,r->n", moved, np.arange(8)) / mass
    assert abs(centre.mean() - 3.5) < 5 * centre.std() / np.sqrt(200) and 0.4 < centre.std() < 0.9


def test_edges_are_the_rises_and_falls_between_neighbours():
    rows = np.array([[0.0, 0.5, 1.0, 0.25]])
    down, right = [1.0, 0.0, 0.0, 0.25], [0.5, 0.0, 0.0, 0.75]
    np.testing.assert_array_equal(data.with_edges(rows), [[*rows[0], *down, *right]])


@pytest.mark.parametrize("noise", stochastic_mlp.NOISES)
@pytest.mark.parametrize("name", ["DisARM", "ScoreFunction:leave_one_out"])
def test_the_unbiased_estimators_are_unbiased(noise, name):
    rows, labels = data.grey_digits()[0][:6], data.digit_labels()[0][:6]
    objective = ppl.likelihood(stochastic_mlp.network.bind(hidden=(3,), noise=noise))
    program = ppl.compile(objective, common.estimator(name), particles=2, data=(rows, labels))
    state = program.init(0)
    report = program.check_unbiased(state, rows, labels, repeats=4000)
    assert report.method.startswith("exact") and report.ok, report


def test_straight_through_says_that_it_is_biased():
    rows, labels = data.grey_digits()[0], data.digit_labels()[0]
    for noise in stochastic_mlp.NOISES:
        objective = ppl.likelihood(stochastic_mlp.network.bind(noise=noise))
        plan = ppl.compile(objective, common.estimator("StraightThrough"), data=(rows, labels)).explain()
        assert plan["h/0"].estimator.biased and plan["h/1"].estimator.biased


def test_the_step_sizes_are_a_robbins_monro_sequence():
    rate = stochastic_mlp.optimizer("robbins-monro", 3e-3, 10).lr
    assert rate(0) == pytest.approx(3.0) and rate(15_000) == pytest.approx(3.0 / 8)
    adam = stochastic_mlp.optimizer("adam", 3e-3, 10).lr
    assert adam(0) == pytest.approx(3e-3) and adam(10) == pytest.approx(6e-5)


@pytest.mark.parametrize("options", [["--optimizer", "adam"], ["--optimizer", "robbins-monro", "--noise", "normal"]])
def test_a_short_run_classifies_and_averaging_helps(options, tmp_path):
    small = ["--estimator", "StraightThrough", "--hidden", "100", "--copies", "1", "--epochs", "20"]
    assert stochastic_mlp.main([*small, *options, "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "stochastic_mlp.metrics.json").read_text())["metrics"]
    (one,) = (v for k, v in found.items() if "of one sample" in k)
    (averaged,) = (v for k, v in found.items() if k.startswith("held-out accuracy, ") and "error" not in k)
    assert averaged > 0.85 and averaged > one
    assert (tmp_path / "stochastic_mlp.png").stat().st_size > 10_000


@pytest.mark.slow
def test_the_full_run_is_right_on_95_percent(tmp_path):
    assert stochastic_mlp.main(["--estimator", "StraightThrough", "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "stochastic_mlp.metrics.json").read_text())["metrics"]
    assert found["held-out accuracy, StraightThrough, logistic, adam"] >= 0.95
