"""An amortised topic model (latent Dirichlet allocation) of Python's own manual, with implicit Dirichlet gradients.

A document d has topic proportions θ ~ Dirichlet(α), and its words are drawn from Σ_k θ_k β_k; the topic of a word is
summed out. The guide is Dirichlet with concentrations from a network of the word counts; its path goes through implicit
derivatives of gamma draws, and the KL divergence is closed. Topics deviate from the frequencies of the whole corpus:
β_k = softmax(b + t_k) with b = log frequencies.

Held-out perplexity is exp(-bound per word). Besides the amortised bound there is that of coordinate ascent given the
topics, Σ_v n_v log Σ_k exp(E log θ_k) β_kv - KL, which judges scikit-learn's topics by the same yardstick.
Blei, Ng & Jordan 2003; Figurnov, Mohamed & Mnih 2018; Srivastava & Sutton 2017.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import numpy as np

import ppl
from ppl import Dirichlet
from ppl.models import common, data, pictures

TOPICS, PRIOR, PIECE = 10, 0.2, 150
SMOOTHING = 0.1


@ppl.model
def generative(counts: Any, base: Any) -> None:
    """θ → words."""
    deviation = ppl.param("topics", ppl.init.normal(0.3), shape=(TOPICS, base.shape[0]))
    ppl.cost("prior of topics", 0.5 * SMOOTHING * np.sum(deviation**2))
    topics = ppl.softmax(base + deviation)
    with ppl.plate("documents", counts) as counts:
        proportions = ppl.sample("proportions", Dirichlet(np.full(TOPICS, PRIOR)))
        ppl.cost("-log p(words)", -(counts @ np.log(proportions @ topics)))


@ppl.model
def guide(counts: Any, base: Any) -> None:
    """q(θ | words)."""
    with ppl.plate("documents", counts) as counts:
        hidden = ppl.dense("encoder", np.log1p(counts), 64, activation="softplus")
        ppl.sample("proportions", Dirichlet(ppl.softplus(ppl.dense("concentration", hidden, TOPICS)) + 0.02))


class Corpus(NamedTuple):
    """Word counts of training and held-out documents (rows), the vocabulary, and log frequencies of training words."""

    train: np.ndarray
    test: np.ndarray
    vocabulary: list[str]
    base: np.ndarray


def corpus() -> Corpus:
    """The manual's topics in pieces of 150 words, stop words left out, words of 5 documents kept; one in 5 held out."""
    from pydoc_data.topics import topics

    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    pieces = []
    for key in sorted(topics):
        kept = [w for w in data.words(topics[key]) if w not in ENGLISH_STOP_WORDS and len(w) > 2]
        pieces += [kept[i : i + PIECE] for i in range(0, len(kept), PIECE)]
    pieces = [p for p in pieces if len(p) >= PIECE // 3]
    spread = Counter(w for p in pieces for w in set(p))
    vocabulary = sorted(w for w, n in spread.items() if n >= 5)
    column = {w: i for i, w in enumerate(vocabulary)}
    counts = np.zeros((len(pieces), len(vocabulary)), np.float32)
    for row, piece in zip(counts, pieces, strict=True):
        for word in piece:
            if word in column:
                row[column[word]] += 1
    counts = counts[np.random.default_rng(0).permutation(len(counts))]
    held_out = len(counts) // 5
    train, test = counts[held_out:], counts[:held_out]
    return Corpus(train, test, vocabulary, np.log(train.sum(0) + 0.5).astype(np.float32))


def ascent_perplexity(topics: np.ndarray, counts: np.ndarray, alpha: float, rounds: int = 200) -> float:
    """exp(-bound per word) of held-out documents under fixed topics (K, V), every document's posterior optimised."""
    from scipy.special import digamma, gammaln

    gamma = np.ones((len(counts), len(topics)))
    for _ in range(rounds):
        weight = np.exp(digamma(gamma) - digamma(gamma.sum(1, keepdims=True)))
        gamma = alpha + weight * ((counts / (weight @ topics)) @ topics.T)
    mean_log = digamma(gamma) - digamma(gamma.sum(1, keepdims=True))
    words = (counts * np.log(np.exp(mean_log) @ topics)).sum()
    prior = gammaln(alpha * len(topics)) - len(topics) * gammaln(alpha) + ((alpha - 1) * mean_log).sum(1)
    entropy = gammaln(gamma).sum(1) - gammaln(gamma.sum(1)) - ((gamma - 1) * mean_log).sum(1)
    return float(np.exp(-(words + (prior + entropy).sum()) / counts.sum()))


def topics_of(params: Any, base: np.ndarray) -> np.ndarray:
    """Probabilities of words under every topic: (TOPICS, V)."""
    return np.asarray(ppl.softmax(base + params["topics"].astype(np.float64)))


def top_words(topics: np.ndarray, vocabulary: list[str], base: np.ndarray, count: int = 8) -> list[str]:
    """The words of every topic that stand out most: largest β log(β / frequency)."""
    frequency = np.exp(base) / np.exp(base).sum()
    lift = topics * np.log(topics / frequency)
    return [" ".join(vocabulary[i] for i in np.argsort(-row)[:count]) for row in lift]


def peer_topics(counts: np.ndarray, seed: int) -> np.ndarray:
    """Topics of scikit-learn's latent Dirichlet allocation (variational Bayes): as many, with the same prior."""
    from sklearn.decomposition import LatentDirichletAllocation

    found = LatentDirichletAllocation(TOPICS, doc_topic_prior=PRIOR, topic_word_prior=0.1, max_iter=100,
                                      random_state=seed).fit(counts).components_  # fmt: skip
    return found / found.sum(1, keepdims=True)


def main(argv: common.Arguments = None) -> int:
    """Train, print the topics, compare held-out perplexity with a unigram model and scikit-learn's topics."""
    job = common.Job("lda", __doc__, argv, epochs=200, batch_size=50, lr=1e-2, particles=1)
    found = corpus()
    program = job.compile(ppl.elbo(generative, guide, kl_weight=ppl.hyper("kl", 1.0)), data=(found.train, found.base))
    steps = job.options.epochs * -(-len(found.train) // job.options.batch_size)
    warm = ppl.optim.linear(0.1, 1.0, steps // 3)
    rate = ppl.optim.cosine(job.options.lr, 0.01 * job.options.lr, steps)
    fit = job.fit(program, found.train, found.base, optimizer=ppl.optim.Adam(rate), hyper={"kl": warm})
    topics, words = topics_of(fit.params, found.base), found.test.sum()
    for i, line in enumerate(top_words(topics, found.vocabulary, found.base)):
        print(f"topic {i}: {line}")
    smoothing = fit.params["topics"]
    bound = program.value(fit.state, found.test, found.base, particles=50) - 0.5 * SMOOTHING * (smoothing**2).sum()
    frequency = np.exp(found.base) / np.exp(found.base).sum()
    job.report("held-out perplexity, amortised bound", np.exp(bound / words))
    job.report("held-out perplexity, bound of coordinate ascent", ascent_perplexity(topics, found.test, PRIOR))
    peer = ascent_perplexity(peer_topics(found.train, job.options.seed), found.test, PRIOR)
    job.report("held-out perplexity, bound of coordinate ascent, scikit-learn's topics", peer)
    job.report("held-out perplexity, unigram model", np.exp(-(found.test @ np.log(frequency)).sum() / words))
    job.picture(draw(fit, topics, found))
    return job.finish()


def draw(fit: Any, topics: np.ndarray, found: Corpus) -> Any:
    """Training, and the words of every topic."""
    figure, (left, right) = pictures.pyplot().subplots(1, 2, figsize=(11, 3.8), width_ratios=(2, 3))
    pictures.show_training(left, fit.history, "negative bound (nats per document)")
    right.set_axis_off()
    for i, line in enumerate(top_words(topics, found.vocabulary, found.base)):
        right.text(0, 1 - (i + 0.5) / TOPICS, f"{i}", fontsize=9, va="center", color="0.5")
        right.text(0.04, 1 - (i + 0.5) / TOPICS, line.replace(" ", "   "), fontsize=9, va="center")
    right.set_title("words that stand out in every topic", loc="left")
    figure.tight_layout()
    return figure


if __name__ == "__main__":
    raise SystemExit(main())
