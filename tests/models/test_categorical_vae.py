"""The categorical VAE: its estimators, the unrelaxed bound that judges them, the annealed temperature, training."""

import json

import numpy as np
import pytest

import ppl
from ppl.errors import PplError
from ppl.models import categorical_vae as model
from ppl.models import common, data
from tests.helpers.needs import needs

pytestmark = needs("sklearn", "matplotlib")


def _program(name, **settings):
    rows, _ = data.digits()
    chosen, particles = model.choice(name, 2)
    return ppl.compile(ppl.elbo(model.generative, model.guide), chosen, particles=particles, data=rows, **settings)


def test_the_choices_are_what_they_say():
    biased = {name for name in model.choices() if _program(name).explain()["z"].estimator.biased}
    assert biased == {"gumbel-softmax", "hard-gumbel-softmax", "straight-through"}
    assert model.choice("Rebar", 3) == (common.estimator("Rebar"), 3)
    with pytest.raises(PplError, match=r"unknown estimator 'rebra'.*gumbel-softmax"):
        model.choice("rebra", 1)


def test_the_held_out_bound_is_that_of_true_samples():
    """The temperature moves the training loss of the relaxation and leaves `value` alone, which all programs share."""
    _, rows = data.digits()
    soft = _program("gumbel-softmax")
    state = soft.init(0)
    warm, cold = ({"tau": t} for t in (model.WARM, model.COLD))
    assert soft.value_and_grad(state, rows, hyper=warm)[0] != soft.value_and_grad(state, rows, hyper=cold)[0]
    bound = soft.value(state, rows, hyper=warm, seed=5)
    assert bound == soft.value(state, rows, hyper=cold, seed=5)
    disarm = _program("disarm")
    assert disarm.value(disarm.init(0), rows, particles=1, seed=5) == pytest.approx(bound, rel=1e-5)


def test_the_prior_and_the_kl_divergence_are_those_of_the_formula():
    """KL(q || uniform) = log K - H(q), summed over units."""
    _, rows = data.digits()
    program = _program("straight-through")
    state = program.init(0)
    p = program.params(state)
    h = np.tanh(rows @ p["encoder.weight"] + p["encoder.bias"])
    logits = (h @ p["classes/0.weight"] + p["classes/0.bias"]).reshape(-1, model.UNITS, model.CLASSES)
    log_q = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
    kl = (np.exp(log_q) * (log_q + np.log(model.CLASSES))).sum((1, 2))
    z = program.sample(state, rows, sites=["z"], seed=5)["z"].reshape(len(rows), -1)
    pixels = np.tanh(z @ p["decoder.weight"] + p["decoder.bias"]) @ p["logits.weight"] + p["logits.bias"]
    misfit = (np.logaddexp(0, pixels) - rows * pixels).sum(-1)
    found = program.value(state, rows, per_row=True, seed=5)
    np.testing.assert_allclose(found, kl + misfit, rtol=1e-4)


@pytest.mark.parametrize("name", ["gumbel-softmax", "rebar"])
def test_a_short_run_reaches_a_stated_bound(name, tmp_path):
    """Ten epochs; independent pixels at their own rates cost 26.8 nats, a hundred epochs reach 21."""
    assert model.main(["--estimator", name, "--epochs", "10", "--out", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "categorical_vae.metrics.json").read_text())
    assert record["metrics"][f"negative bound on held-out rows, {name}"] < 27.5
    assert (tmp_path / "categorical_vae.png").stat().st_size > 10_000
