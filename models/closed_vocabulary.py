"""NCE normalises itself and recovers log p(w | c) on a small closed vocabulary; word2vec's negative sampling does not.

Pairs (c, w) are drawn from a known table p(w | c). Both objectives train the scores s = u_wᵀ v_c with log Z fixed to 0
and the same noise q ∝ count^0.75, k words a pair. NCE's optimum is s = log p(w | c), with log Z_c = log Σ_w eˢ = 0;
negative sampling's is s = log p(w | c) - log kq(w), which normalises to another distribution.

Gutmann & Hyvärinen 2012; Mikolov et al. 2013; Levy & Goldberg 2014.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy.special import log_softmax, logsumexp

import ppl
from ppl import Categorical
from ppl.models import common, pictures
from ppl.models.alias import AliasTable
from ppl.models.skip_gram import noise_table, skip_gram

WORDS, DIM, K, POWER = 20, 20, 10, 0.75


@ppl.model
def table_scores(word: Any, center: Any) -> None:
    """log p(w | c) = u_wᵀ v_c, unnormalised."""
    u = ppl.param("u", 0.0, shape=(WORDS, DIM))
    v = ppl.param("v", ppl.init.uniform(-0.5, 0.5), shape=(WORDS, DIM))
    with ppl.plate("data", word, center) as (word, center):
        ppl.factor("score", u[word] @ v[center])


@ppl.model
def noise(word: Any, *, probs: np.ndarray) -> None:
    """Noise words from a fixed distribution."""
    with ppl.plate("data", word):
        ppl.sample("word", Categorical(probs=probs))


class Language(NamedTuple):
    """p(w | c) (rows: c), p(c), the joint distribution's word frequencies, and the noise."""

    log_p: np.ndarray
    centers: np.ndarray
    frequency: np.ndarray
    noise: AliasTable

    @classmethod
    def drawn(cls, seed: int) -> Language:
        """Random tables: word logits of standard deviation 1 around a common one."""
        rng = np.random.default_rng(seed)
        log_p = log_softmax(rng.normal(size=(WORDS, WORDS)) + rng.normal(size=WORDS), axis=1)
        centers = rng.dirichlet(np.full(WORDS, 5.0))
        frequency = centers @ np.exp(log_p)
        return cls(log_p, centers, frequency, noise_table(frequency, POWER))

    def pairs(self, rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """`rows` pairs (center, word)."""
        rng = np.random.default_rng(seed)
        center = rng.choice(WORDS, rows, p=self.centers)
        above = np.cumsum(np.exp(self.log_p), axis=1)[center] > rng.random((rows, 1))
        return center.astype(np.int32), above.argmax(1).astype(np.int32)


class Found(NamedTuple):
    """What training found: scores s(w, c), rows c; mean |log Z_c|; mean KL(p || normalised s)."""

    scores: np.ndarray
    mean_log_z: float
    divergence: float


def judge(language: Language, params: dict[str, np.ndarray]) -> Found:
    """The scores of a fit against the language."""
    s = params["v"].astype(np.float64) @ params["u"].astype(np.float64).T
    log_z = logsumexp(s, axis=1)
    p = np.exp(language.log_p)
    divergence = language.centers @ (p * (language.log_p - s + log_z[:, None])).sum(1)
    return Found(s, float(np.abs(log_z).mean()), float(divergence))


def objective(kind: str, language: Language) -> Any:
    """`ppl.nce` of the scores, or the cost of negative sampling."""
    if kind == "nce":
        return ppl.nce(table_scores, noise.bind(probs=language.noise.probs), K)
    return skip_gram.bind(offset=np.zeros(WORDS), dim=DIM, log_z="fixed")


def batches(kind: str, language: Language, rows: int, seed: int) -> Iterator[tuple[np.ndarray, ...]]:
    """Fresh pairs without end; negative sampling's noise words come with them."""
    step = 0
    while True:
        center, word = language.pairs(rows, seed * 1_000_003 + step)
        drawn = language.noise.draw(seed, step * rows * K, (rows, K))
        yield (word, center) if kind == "nce" else (center, word, drawn)
        step += 1


def experiment(job: common.Job, kind: str, language: Language) -> Found:
    """Train one objective on fresh pairs and judge its scores."""
    o = job.options
    first = next(batches(kind, language, o.batch_size, o.seed))
    program = job.compile(objective(kind, language), data=first)
    optimizer = ppl.optim.Adam(ppl.optim.cosine(o.lr, 0.0, o.steps))
    fit = job.fit(
        program, batches=lambda: batches(kind, language, o.batch_size, o.seed), steps=o.steps, optimizer=optimizer,
        label=kind,
    )  # fmt: skip
    return judge(language, fit.params)


def main(argv: common.Arguments = None) -> int:
    """Train both objectives, print how normalised and how right they are, draw scores against log p."""
    job = common.Job("closed_vocabulary", __doc__, argv, epochs=None, steps=4000, batch_size=500, lr=2e-2)
    language = Language.drawn(job.options.seed)
    figure, axes = pictures.pyplot().subplots(1, 2, figsize=(11, 5), sharey=True)
    for ax, (kind, title) in zip(axes, (("nce", "NCE"), ("negative_sampling", "negative sampling")), strict=True):
        found = experiment(job, kind, language)
        job.report(f"{title}: mean |log Z_c|", found.mean_log_z)
        job.report(f"{title}: KL(p || normalised scores)", found.divergence, unit="nats")
        job.report(f"{title}: rms of s - log p", float(np.sqrt(np.mean((found.scores - language.log_p) ** 2))))
        ax.scatter(language.log_p, found.scores, s=8, alpha=0.6)
        ends = np.array([language.log_p.min(), 0.0])
        ax.plot(ends, ends, "k:", lw=1, label="s = log p")
        ax.set(xlabel="log p(w | c)", title=f"{title}: mean |log Z_c| = {found.mean_log_z:.3f}")
        ax.legend()
    axes[0].set_ylabel("score s(w, c)")
    job.picture(figure)
    return job.finish()


if __name__ == "__main__":
    raise SystemExit(main())
