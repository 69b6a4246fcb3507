"""The topic model: its corpus, its yardstick, and training against a unigram model and scikit-learn."""

import json

import numpy as np
import pytest

from ppl.models import lda
from tests.helpers.needs import needs

pytestmark = needs("sklearn", "matplotlib")


def test_the_yardstick_is_the_unigram_perplexity_where_all_topics_are_equal():
    counts = np.random.default_rng(0).integers(0, 4, (6, 12)).astype(float)
    frequency = counts.sum(0) / counts.sum()
    exact = np.exp(-(counts @ np.log(frequency)).sum() / counts.sum())
    found = lda.ascent_perplexity(np.tile(frequency, (4, 1)), counts, 50.0, 500)
    assert exact - 1e-9 <= found < 1.02 * exact


@pytest.mark.slow
def test_topics_predict_held_out_documents(tmp_path):
    assert lda.main(["--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "lda.metrics.json").read_text())["metrics"]
    ours = found["held-out perplexity, bound of coordinate ascent"]
    assert ours < 0.8 * found["held-out perplexity, unigram model"]
    assert ours <= 1.02 * found["held-out perplexity, bound of coordinate ascent, scikit-learn's topics"]
    assert found["held-out perplexity, amortised bound"] < 1.05 * ours
