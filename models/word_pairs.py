"""Skip-gram pairs of a text file that need not fit in memory: vocabulary, subsampling, dynamic windows, noise words.

Everything is a pure function of (seed, epoch, position in the text), so a resumed run sees the same batches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numba import njit

from ppl import random
from ppl.errors import DataError
from ppl.ir.reference.noise import mix, node_hash
from ppl.models.alias import AliasTable
from ppl.models.data import stream_words


class Vocabulary(NamedTuple):
    """The words that occur often enough, most frequent first, how often they occur, and their numbers."""

    words: list[str]
    counts: np.ndarray
    ids: dict[str, int]

    @classmethod
    def of(cls, path: str | Path, min_count: int) -> Vocabulary:
        """One pass over the text."""
        found: Counter[str] = Counter()
        for chunk in stream_words(path):
            found.update(chunk)
        kept = sorted(((n, w) for w, n in found.items() if n >= min_count), key=lambda pair: (-pair[0], pair[1]))
        if not kept:
            raise DataError(f"no word occurs {min_count} times in {path}")
        words = [w for _, w in kept]
        return cls(words, np.array([n for n, _ in kept]), {w: i for i, w in enumerate(words)})


class Batches:
    """Batches (center, word, noise) of a pass over the text; a call opens that of an epoch.

    A word of relative frequency f is kept with probability min(1, √(threshold / f)), then pairs with the words up to b
    places away, b uniform in 1 … window (Mikolov et al. 2013). Windows end with a chunk of the text, and pairs are
    shuffled within it.

    Parameters
    ----------
    noise : the table that noise words are drawn from, `k` for every pair.
    chunk : characters read at a time.
    """

    def __init__(
        self, path: str | Path, vocabulary: Vocabulary, noise: AliasTable, k: int, *, batch_size: int = 1000,
        window: int = 5, threshold: float = 1e-3, seed: int = 0, chunk: int = 1 << 20,
    ):  # fmt: skip
        self.path, self.vocabulary, self.noise, self.k, self.chunk = path, vocabulary, noise, k, chunk
        self.batch_size, self.window, self.seed = batch_size, window, seed
        frequency = vocabulary.counts / vocabulary.counts.sum()
        self.keep = np.minimum(1.0, np.sqrt(threshold / frequency)) if threshold > 0 else np.ones(len(frequency))

    def __call__(self, epoch: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """The batches of an epoch; a last one that is not full is dropped."""
        keys = [mix(mix(self.seed, node_hash(use)), epoch) for use in ("words", "noise", "order")]
        drawn, left = 0, np.empty((2, 0), np.int32)
        for pairs in self._chunks(*keys[::2]):
            pairs = np.concatenate([left, pairs], 1)
            whole = pairs.shape[1] - pairs.shape[1] % self.batch_size
            for start in range(0, whole, self.batch_size):
                center, word = pairs[:, start : start + self.batch_size]
                yield center, word, self.noise.draw(keys[1], drawn, (len(word), self.k))
                drawn += len(word) * self.k
            left = pairs[:, whole:]

    def _chunks(self, words_key: int, order_key: int) -> Iterator[np.ndarray]:
        place, get = 0, self.vocabulary.ids.get
        for chunk in stream_words(self.path, self.chunk):
            ids = np.array([i for w in chunk if (i := get(w)) is not None], np.int32)
            pairs = skip_grams(ids, self.keep, self.window, words_key, place)
            order = np.random.default_rng([order_key, place]).permutation(pairs.shape[1])
            place += len(ids)
            yield pairs[:, order]


def skip_grams(ids: np.ndarray, keep: np.ndarray, window: int, key: int, place: int = 0) -> np.ndarray:
    """Pairs (center, word) of word numbers in a window: (2, n). `place` is that of the first word in the text."""
    out = np.empty((2, 2 * window * len(ids)), np.int32)
    return out[:, : _skip_grams(ids, keep, np.int64(window), np.uint64(key), np.int64(place), out)]


@njit(cache=True)
def _skip_grams(ids, keep, window, key, place, out):  # type: ignore[no-untyped-def]
    kept, where = np.empty(ids.shape[0], np.int32), np.empty(ids.shape[0], np.int64)
    m = n = 0
    for i in range(ids.shape[0]):
        if random.uniform(key, 2 * (place + i)) < keep[ids[i]]:
            kept[m], where[m] = ids[i], place + i
            m += 1
    for j in range(m):
        reach = 1 + min(np.int64(random.uniform(key, 2 * where[j] + 1) * window), window - 1)
        for other in range(max(0, j - reach), min(m, j + reach + 1)):
            if other != j:
                out[0, n], out[1, n] = kept[j], kept[other]
                n += 1
    return n
