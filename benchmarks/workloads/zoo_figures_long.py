"""Figures of the larger models over seeds, beside independent ones: rows of `docs/models/index.md`."""

from __future__ import annotations

from typing import Any

from benchmarks.zoo import Figure, record

SEEDS = {"gmm": 3, "nce": 3, "skip_gram": 3, "closed_vocabulary": 3, "lda": 3, "bayes_logistic": 3}
FIGURES = (
    *(
        Figure("bayes_logistic", f"negative bound, {guide}", f"negative bound, {guide}, best by quadrature", 0.05)
        for guide in ("mean-field", "full-rank")
    ),
    *(
        Figure("gmm", f"negative log-likelihood, {way}", "negative log-likelihood, scikit-learn's EM", 0.01)
        for way in ("marginal", "enumerated", "relaxed")
    ),
    Figure("lda", "held-out perplexity, bound of coordinate ascent",
           "held-out perplexity, bound of coordinate ascent, scikit-learn's topics", 0.0),
    Figure("nce", "Gaussian: largest distance from maximum likelihood", 0.0, 5.0),
    Figure("nce", "ICA: Amari distance", "ICA: Amari distance of FastICA", 0.0),
    Figure("closed_vocabulary", "NCE: mean |log Z_c|", 0.0, 0.05),
    Figure("closed_vocabulary", "NCE: KL(p || normalised scores)", 0.0, 0.005),
    Figure("closed_vocabulary", "NCE: mean |log Z_c|", "negative sampling: mean |log Z_c|", -0.05),
    Figure("skip_gram", "held-out cross-entropy, normalised", "held-out cross-entropy of word frequencies", 0.0),
)  # fmt: skip


def run(peers: list[str]) -> dict[str, Any]:
    """Run the models and compare."""
    return record("Larger models beside independent figures, mean ± standard error over seeds", SEEDS, FIGURES)
