"""Word embeddings: alias tables, the streamed pairs, rows that do not move, and what NCE and negative sampling find."""

import json
from collections import Counter

import numpy as np
import pytest
from scipy.special import log_expit

import ppl
from ppl.errors import DataError
from ppl.models import closed_vocabulary, skip_gram
from ppl.models.alias import alias_table
from ppl.models.word_pairs import Batches, Vocabulary, skip_grams
from tests.helpers.needs import needs

pytestmark = needs("matplotlib")


@pytest.mark.parametrize("weights", [[1.0], [0.2, 0.0, 5.0, 1.3, 1.3], np.arange(1, 400) ** -1.1], ids=len)
def test_alias_tables_hold_their_distribution_exactly(weights):
    table = alias_table(np.array(weights))
    share = table.accept.copy()
    np.add.at(share, table.other, 1 - table.accept)
    np.testing.assert_allclose(share / len(share), np.array(weights) / np.sum(weights), rtol=1e-11, atol=1e-15)
    draws = table.draw(7, 0, 100_000)
    expected = table.probs * len(draws)
    often = expected > 5
    z = (np.bincount(draws, minlength=len(share)) - expected)[often] / np.sqrt(
        expected[often] * (1 - table.probs[often]) + 1e-9
    )
    assert np.abs(z).max() < 5
    np.testing.assert_array_equal(table.draw(7, 40, (5, 2)).ravel(), draws[40:50])


def test_words_that_a_model_draws_have_the_probabilities_of_the_table():
    noise = alias_table(np.array([5.0, 1.0, 0.0, 3.0, 7.0, 0.5]))

    @ppl.model
    def counts(x):
        with ppl.plate("data", x):
            drawn = noise.sample("noise", 4)
            ppl.cost("first", np.mean(np.where(drawn < 1, 1.0, 0.0)))
            ppl.cost("squares", 100.0 * np.mean(drawn * drawn))

    n = 40_000
    program = ppl.compile(counts, data=(np.zeros(n),))
    total = program.value(program.init(0), np.zeros(n)) / n
    k = np.arange(6)
    values = (k < 1) + 100.0 * k * k
    mean = np.sum(noise.probs * values)
    error = np.sqrt(np.sum(noise.probs * (values - mean) ** 2) / (4 * n))
    assert abs(total - mean) < 5 * error and error < 0.01 * mean


@pytest.mark.parametrize("weights", [[], [0.0, 0.0], [1.0, -1.0], [np.nan, 1.0], [[1.0]]])
def test_alias_tables_refuse_what_is_no_distribution(weights):
    with pytest.raises(DataError, match="an alias table takes one row of weights"):
        alias_table(np.array(weights))


def test_pairs_without_subsampling_lie_in_windows_of_a_uniform_reach():
    ids = np.arange(20_000, dtype=np.int32)
    center, word = skip_grams(ids, np.ones(len(ids)), 4, key=3)
    gap = np.abs(word - center)
    assert gap.min() == 1 and gap.max() == 4
    found = np.bincount(gap)[1:] / (2 * len(ids))
    np.testing.assert_allclose(found, [1.0, 0.75, 0.5, 0.25], atol=5 * 0.5 / np.sqrt(len(ids)))


def test_subsampling_keeps_words_with_their_probability():
    ids = np.zeros(20_000, np.int32)
    ids[::2] = 1
    center, _ = skip_grams(ids, np.array([0.1, 1.0]), 1, key=3)
    often = np.bincount(center) / 2
    assert often[0] == pytest.approx(1000, abs=5 * np.sqrt(900)) and often[1] == pytest.approx(10_000, abs=1)


@pytest.fixture
def text(tmp_path):
    """A text of 600 lines, and its vocabulary."""
    rng = np.random.default_rng(0)
    path = tmp_path / "text.txt"
    path.write_text("\n".join(" ".join(f"w{i}" for i in rng.geometric(0.1, 12)) for _ in range(600)))
    return path, Vocabulary.of(path, 20)


def test_the_vocabulary_counts_frequent_words(text):
    path, vocabulary = text
    counts = Counter(path.read_text().split())
    assert dict(zip(vocabulary.words, vocabulary.counts, strict=True)) == {w: n for w, n in counts.items() if n >= 20}
    assert (np.diff(vocabulary.counts) <= 0).all()
    with pytest.raises(DataError, match="no word occurs 10000 times"):
        Vocabulary.of(path, 10_000)


def test_batches_are_a_function_of_seed_and_epoch_and_read_chunk_by_chunk(text):
    path, vocabulary = text
    noise = skip_gram.noise_table(vocabulary.counts, 0.75)

    def passes(seed, chunk=4000):
        source = Batches(path, vocabulary, noise, 3, batch_size=64, window=2, threshold=0, seed=seed, chunk=chunk)
        return [list(source(0)), list(source(1))]

    one, again, other = passes(0), passes(0), passes(1)
    for a, b in zip(one[0] + one[1], again[0] + again[1], strict=True):
        assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    assert not np.array_equal(one[0][0][0], one[1][0][0]) and not np.array_equal(one[0][0][2], other[0][0][2])
    assert all(c.shape == (64,) and w.shape == (64,) and n.shape == (64, 3) for c, w, n in one[0])
    small, whole = (sum(len(p) for p in passes(0, chunk)) for chunk in (4000, 1 << 20))
    assert 0.95 < small / whole <= 1.0, "only windows across chunks are lost"


def program_on(vocabulary_size, **static):
    rng = np.random.default_rng(2)
    rows = (rng.integers(0, 9, 50), rng.integers(0, 9, 50), rng.integers(5, 15, (50, 4)))
    rows = tuple(r.astype(np.int32) for r in rows)
    model = skip_gram.skip_gram.bind(dim=6, **static)
    return ppl.compile(model, data=rows, dtype="float64"), rows


@pytest.mark.parametrize("log_z", ["fixed", "shared", "context"])
def test_the_cost_is_the_one_written_by_hand(log_z):
    offset = np.log(4 * alias_table(np.arange(1.0, 31.0)).probs)
    program, (center, word, noise) = program_on(30, offset=offset, log_z=log_z)
    u = np.random.default_rng(0).normal(size=(30, 6))
    state = program.init(0)
    state = program.init(0, center, word, noise, params={**program.params(state), "u": u})
    v = state.params["v"]
    data = (u[word] * v[center]).sum(-1) - np.log(30) - offset[word]
    false = (u[noise] * v[center][:, None]).sum(-1) - np.log(30) - offset[noise]
    expected = -log_expit(data).sum() - log_expit(-false).sum()
    loss, grads = program.value_and_grad(state, center, word, noise)
    assert loss == pytest.approx(expected, rel=1e-12)
    assert set(grads) == {"u", "v"} | ({"log_z"} if log_z != "fixed" else set())


def test_it_is_the_objective_nce_on_the_same_noise():
    language = closed_vocabulary.Language.drawn(0)
    center, word = language.pairs(40, 1)
    general = ppl.compile(closed_vocabulary.objective("nce", language), data=(word, center), dtype="float64")
    state = general.init(0)
    drawn = general.sample(state, word, center)["noise/word"].astype(np.int32)
    offset = np.log(closed_vocabulary.K * language.noise.probs)
    own = skip_gram.skip_gram.bind(offset=offset, dim=closed_vocabulary.DIM, log_z="shared")
    special = ppl.compile(own, data=(center, word, drawn), dtype="float64")
    same = special.init(0, params={**general.params(state), "log_z": 0.0})
    expected, slopes = general.value_and_grad(state, word, center)
    loss, grads = special.value_and_grad(same, center, word, drawn)
    assert loss == pytest.approx(expected, rel=1e-12)
    for name in ("u", "v"):
        np.testing.assert_allclose(grads[name], slopes[name], rtol=1e-10, atol=1e-12)


def test_negative_sampling_is_nce_where_k_noise_words_have_density_one():
    uniform = alias_table(np.ones(30))
    np.testing.assert_allclose(
        skip_gram.offsets("nce", uniform, 30), skip_gram.offsets("negative_sampling", uniform, 30), atol=1e-14
    )
    assert np.abs(skip_gram.offsets("nce", alias_table(np.arange(1.0, 31)), 30)).max() > 0.5


@pytest.mark.parametrize("optimizer", [ppl.optim.SGD(0.1), ppl.optim.AdaGrad(0.1)], ids=lambda o: type(o).__name__)
def test_rows_that_no_batch_touches_keep_their_bits(optimizer):
    program, (center, word, noise) = program_on(30, offset=np.zeros(30), log_z="fixed")
    state = program.init(0)
    for _ in range(3):
        before = state
        state, _ = program.update(state, center, word, noise, optimizer=optimizer)
    touched = {"u": np.union1d(word, noise), "v": np.unique(center)}
    for name, rows in touched.items():
        still = np.setdiff1d(np.arange(30), rows)
        assert len(still) >= 15
        start = program.init(0).params[name]
        assert state.params[name][still].tobytes() == start[still].tobytes()
        assert (state.params[name][rows] != before.params[name][rows]).any(axis=1).all()
    again = program.init(0)
    for _ in range(3):
        again, _ = program.update(again, center, word, noise, optimizer=optimizer)
    assert again.params["u"].tobytes() == state.params["u"].tobytes()


def test_a_row_of_the_batch_writes_its_own_rows_of_the_table_only():
    """No loop of the emitted program runs over the table for every row of data."""
    program, _ = program_on(30, offset=np.zeros(30), log_z="fixed")
    kernel = program.source.partition("def rows_0_kernel_0")[2].partition("\n\n\n")[0]
    assert "put" in kernel and "range(30)" not in kernel and "range(180)" not in kernel


def test_nce_normalises_itself_and_negative_sampling_does_not(tmp_path, capsys):
    assert closed_vocabulary.main(["--steps", "2000", "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "closed_vocabulary.metrics.json").read_text())["metrics"]
    assert found["NCE: mean |log Z_c|"] < 0.05
    assert found["NCE: KL(p || normalised scores)"] < 0.005
    assert found["negative sampling: mean |log Z_c|"] > 0.3
    assert found["negative sampling: KL(p || normalised scores)"] > 20 * found["NCE: KL(p || normalised scores)"]
    assert (tmp_path / "closed_vocabulary.png").stat().st_size > 10_000


def test_the_main_learns_prints_neighbours_and_resumes(tmp_path, capsys):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    options = ["--dim", "16", "--k", "4", "--min-count", "20"]
    assert skip_gram.main([*options, "--epochs", "4", "--out", str(whole)]) == 0
    text = capsys.readouterr().out
    assert "no random nodes" in text and "    string: " in text
    found = json.loads((whole / "skip_gram.metrics.json").read_text())["metrics"]
    assert found["held-out cross-entropy, normalised"] < found["held-out cross-entropy of word frequencies"] - 0.1
    skip_gram.main([*options, "--epochs", "2", "--out", str(parts)])
    skip_gram.main([*options, "--epochs", "4", "--resume", "--out", str(parts)])
    one, two = (ppl.load_state(folder / "skip_gram.npz") for folder in (whole, parts))
    assert one.step == two.step and one.params["u"].tobytes() == two.params["u"].tobytes()


def test_a_users_own_text_is_read_from_its_file(tmp_path, text):
    path, _ = text
    options = ["--text", str(path), "--epochs", "1", "--dim", "4", "--min-count", "20", "--batch-size", "100"]
    assert skip_gram.main([*options, "--objective", "negative_sampling", "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "skip_gram.metrics.json").read_text())["metrics"]
    assert "training cross-entropy, normalised" in found
