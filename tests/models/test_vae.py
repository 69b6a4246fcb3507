"""The Gaussian VAE's latent pictures: they are decoded from the points they claim."""

import json
from statistics import NormalDist

import numpy as np
import pytest

import ppl
from ppl.models import data, vae
from tests.helpers.needs import needs

pytestmark = needs("sklearn", "matplotlib")


@pytest.fixture(scope="module")
def flat():
    """An untrained VAE with two latents: (program, state, held-out rows)."""
    rows, held_out = data.digits()
    program = ppl.compile(ppl.elbo(vae.generative.bind(latent=2), vae.guide.bind(latent=2)), data=rows)
    return program, program.init(0), held_out


def test_encoded_means_are_those_of_the_guide(flat):
    program, state, rows = flat
    p = program.params(state)
    h = np.tanh(rows @ p["encoder.weight"] + p["encoder.bias"])
    expected = h @ p["mu.weight"] + p["mu.bias"]
    np.testing.assert_allclose(vae.encode(program, state, rows), expected, rtol=1e-4, atol=1e-5)


def test_the_plane_has_the_quantiles_of_the_prior(flat):
    program, state, _ = flat
    images = vae.plane(program, state, 4).reshape(4, 4, 64)
    high, low = (NormalDist().inv_cdf(q) for q in (0.875, 0.125))
    np.testing.assert_allclose(images[0, 0], vae.decode(program, state, np.array([[low, high]]))[0], rtol=1e-6)
    np.testing.assert_allclose(images[3, 3], vae.decode(program, state, np.array([[high, low]]))[0], rtol=1e-6)


def test_a_traversal_moves_one_unit_at_a_time(flat):
    program, state, rows = flat
    images = vae.traversal(program, state, rows[0], units=2, steps=3, reach=1.5).reshape(2, 3, 64)
    mean = vae.encode(program, state, rows[:1])[0]
    norms = np.linalg.norm(program.params(state)["decoder.weight"], axis=1)
    for unit, line in zip(np.argsort(-norms), images, strict=True):
        for place, image in zip((-1.5, 0.0, 1.5), line, strict=True):
            z = np.where(np.arange(2) == unit, place, mean)
            np.testing.assert_allclose(image, vae.decode(program, state, z[None])[0], rtol=1e-5)


def test_two_latents_say_less_than_sixteen(tmp_path):
    for latent in ("2", "16"):
        folder = tmp_path / latent
        assert vae.main(["--latent", latent, "--epochs", "15", "--out", str(folder)]) == 0
        assert (folder / "vae.png").stat().st_size > 10_000
    two, sixteen = (
        json.loads((tmp_path / n / "vae.metrics.json").read_text())["metrics"]["negative bound on held-out rows"]
        for n in ("2", "16")
    )
    assert sixteen < two < 26.8, "independent pixels at their own rates cost 26.8"
