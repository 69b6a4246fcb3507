"""Word embeddings by noise-contrastive estimation or negative sampling, from a text streamed off the disk.

The score of word w in the window of c is s = u_wᵀ v_c - log Z. NCE tells pairs of the text from k noise words each by
σ(s - log kq(w)), and s becomes log p(w | c); negative sampling leaves log kq out, so it is NCE only where kq(w) = 1.
Only the rows of u and v that a batch names move.

Mikolov et al. 2013; Mnih & Kavukcuoglu 2013; Gutmann & Hyvärinen 2012.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import logsumexp

import ppl
from ppl.models import common, data, pictures
from ppl.models.alias import AliasTable, alias_table
from ppl.models.word_pairs import Batches, Vocabulary

PROBES = ("class", "integer", "list", "exception", "import", "string", "return", "file")
BLOCK = 20_000
TESTED = 20


@ppl.model
def skip_gram(center: Any, word: Any, noise: Any, *, offset: np.ndarray, dim: int, log_z: str = "fixed") -> None:
    """-log σ(s(word) - offset) - Σ_noise log σ(offset - s(noise)); `offset` is log kq for NCE, 0 for negative sampling.

    log Z is log |V| ("fixed"), one parameter that starts there ("shared"), or one for every centre ("context").
    """
    n = len(offset)
    u = ppl.param("u", 0.0, shape=(n, dim))
    v = ppl.param("v", ppl.init.uniform(-0.5, 0.5), shape=(n, dim))
    table = ppl.constant(offset)
    start = np.log(n) if np.any(offset) else 0.0
    z: Any = start if log_z == "fixed" else ppl.param("log_z", start, shape=(n,) if log_z == "context" else ())
    with ppl.plate("data", center, word, noise) as (center, word, noise):
        own = z[center] if log_z == "context" else z

        def odds(w: Any) -> Any:
            return u[w] @ v[center] - own - table[w]

        ppl.cost("contrast", ppl.softplus(-odds(word)) + np.sum(ppl.softplus(odds(noise))))


def noise_table(counts: np.ndarray, power: float) -> AliasTable:
    """Noise proportional to count^power: 1 the unigram, 0.75 word2vec's, 0 uniform."""
    return alias_table(np.asarray(counts, np.float64) ** power)


def offsets(objective: str, noise: AliasTable, k: int) -> np.ndarray:
    """log k q(w) for "nce", zeros for "negative_sampling"."""
    return np.log(k * noise.probs) if objective == "nce" else np.zeros(len(noise.probs))


def scores(params: dict[str, np.ndarray], log_z: np.ndarray | float) -> np.ndarray:
    """s(w, c) for all words (rows: centres c, columns: w)."""
    return params["v"] @ params["u"].T - np.reshape(log_z, (-1, 1))


def neighbours(vocabulary: Vocabulary, vectors: np.ndarray, word: str, count: int = 6) -> list[str]:
    """The words whose vectors have the largest cosine with that of `word`."""
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    near = np.argsort(-(unit @ unit[vocabulary.ids[word]]))
    return [vocabulary.words[i] for i in near if vocabulary.words[i] != word][:count]


def evaluate(
    job: common.Job, params: dict[str, np.ndarray], log_z: Any, batches: list[Any], counts: np.ndarray, part: str
) -> None:
    """Cross-entropy of pairs after exact normalisation, against the unigram's; how normalised s is by itself."""
    center, word = (np.concatenate([batch[i] for batch in batches]) for i in (0, 1))
    s = scores(params, log_z)
    total = logsumexp(s, axis=1)
    losses = total[center] - s[center, word]
    unigram = -np.log(counts / counts.sum())[word]
    seen = np.bincount(center, minlength=len(counts)) / len(center)
    job.report(f"{part} cross-entropy, normalised", losses.mean(), losses.std() / len(losses) ** 0.5, "nats per pair")
    job.report(f"{part} cross-entropy of word frequencies", unigram.mean(), unit="nats per pair")
    job.report(f"mean |log Z_c| over {part} centres", float(seen @ np.abs(total)))


def texts(job: common.Job) -> tuple[Path, Path | None]:
    """The text to learn from and one held out: `--text` and `--test`, or Python's language reference in blocks."""
    if job.options.text:
        return Path(job.options.text), Path(job.options.test) if job.options.test else None
    job.folder.mkdir(parents=True, exist_ok=True)
    text, parts = data.manual(), (job.folder / "manual.txt", job.folder / "manual-held-out.txt")
    blocks = [text[i : i + BLOCK] for i in range(0, len(text), BLOCK)]
    parts[1].write_text(" ".join(blocks[5::10]), encoding="utf-8")
    parts[0].write_text(" ".join(b for i, b in enumerate(blocks) if i % 10 != 5), encoding="utf-8")
    return parts


def main(argv: common.Arguments = None) -> int:
    """Count words, train on streamed pairs, print neighbours, draw a map of the most frequent words."""
    job = common.Job(
        "skip_gram", __doc__, argv, epochs=12, batch_size=1000, lr=0.1, dim=64, k=10, window=5, min_count=10,
        power=0.75, subsample=1e-3, text="", test="",
        objective=("nce", "negative_sampling"), log_z=("fixed", "shared", "context"), optimizer=("AdaGrad", "SGD"),
    )  # fmt: skip
    o = job.options
    path, other = texts(job)
    vocabulary = Vocabulary.of(path, o.min_count)
    noise = noise_table(vocabulary.counts, o.power)
    print(f"{vocabulary.counts.sum()} words, {len(vocabulary.words)} different ones that occur {o.min_count} times")

    settings: dict[str, Any] = {
        "batch_size": o.batch_size,
        "window": o.window,
        "threshold": o.subsample,
        "seed": o.seed,
    }
    batches = Batches(path, vocabulary, noise, o.k, **settings)
    tested = list(itertools.islice(Batches(other or path, vocabulary, noise, o.k, **settings)(), TESTED))
    model = skip_gram.bind(offset=offsets(o.objective, noise, o.k), dim=o.dim, log_z=o.log_z)
    program = job.compile(model, data=tested[0])
    fit = job.fit(program, batches=batches, optimizer=getattr(ppl.optim, o.optimizer)(o.lr))
    params = {name: value.astype(np.float64) for name, value in fit.params.items()}
    fixed = np.log(len(vocabulary.words)) if o.objective == "nce" else 0.0
    evaluate(job, params, params.get("log_z", fixed), tested, vocabulary.counts, "held-out" if other else "training")
    for word in PROBES:
        if word in vocabulary.ids:
            print(f"{word:>10}: {', '.join(neighbours(vocabulary, params['v'], word))}")
    figure, (left, right) = pictures.pyplot().subplots(1, 2, figsize=(14, 5.5), width_ratios=(1, 2))
    pictures.show_training(left, fit.history, "loss (nats per pair)")
    draw_map(right, vocabulary, params["v"])
    job.picture(figure)
    return job.finish()


def draw_map(ax: Any, vocabulary: Vocabulary, vectors: np.ndarray, count: int = 120) -> None:
    """The words after the 30 most frequent ones, on two principal axes of their unit vectors."""
    chosen = slice(30, 30 + count)
    unit = vectors[chosen] / np.linalg.norm(vectors[chosen], axis=1, keepdims=True)
    axes = np.linalg.svd(unit - unit.mean(0), full_matrices=False)[2][:2]
    at = unit @ axes.T
    ax.scatter(*at.T, s=2, color="0.7")
    for (x, y), word in zip(at, vocabulary.words[chosen], strict=False):
        ax.annotate(word, (x, y), fontsize=7)
    ax.set(xticks=[], yticks=[], title="word vectors v, two principal axes")


if __name__ == "__main__":
    raise SystemExit(main())
