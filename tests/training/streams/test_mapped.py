"""Memory-mapped arrays: the bits of a fit on arrays in memory, without a copy of the whole."""

import functools

import numpy as np
import pytest

import ppl
from ppl.errors import DataError
from ppl.training.batches import ArrayBatches
from ppl.training.optim import SGD, AdaGrad, Adam
from tests.faults import runs
from tests.training.sweeps import builds

fit = functools.partial(ppl.fit, progress=False)


def _mapped(array, path):
    np.save(path, array)
    return np.load(path, mmap_mode="r")


@pytest.fixture
def large(monkeypatch):
    """All data count as large."""
    for module in ("ppl.training.batches", "ppl.training.compiled_run"):
        monkeypatch.setattr(f"{module}.CONVERTED_BYTES", 0)


def _same(one, other):
    assert one.state._flat.tobytes() == other.state._flat.tobytes()
    assert one.state._aux.tobytes() == other.state._aux.tobytes()
    for key, values in one.history.items():
        assert values.tobytes() == other.history[key].tobytes(), key


@pytest.mark.parametrize("optimizer", [Adam(0.01), {"*": Adam(0.01)}], ids=["in place", "step by step"])
@pytest.mark.parametrize("prefetch", [None, 0, 3])
def test_rows_of_a_file_are_those_of_memory(optimizer, prefetch, tmp_path, large):
    """Noise goes by the row of the data set, and moving averages by the batch."""
    mapped = _mapped(runs.X, tmp_path / "x.npy")
    options = {"epochs": 3, "batch_size": 7, "optimizer": optimizer, "seed": 3, "validation": runs.X[:5]}
    _same(fit(runs.program(runs.mixed), runs.X, **options),
          fit(runs.program(runs.mixed), mapped, prefetch=prefetch, **options))  # fmt: skip


def test_a_run_on_a_file_goes_on(tmp_path, large):
    mapped, path = _mapped(runs.X, tmp_path / "x.npy"), tmp_path / "run.npz"
    options = {"epochs": 3, "batch_size": 7, "optimizer": Adam(0.01), "seed": 3}
    whole = fit(runs.program(runs.mixed), mapped, **options)
    fit(runs.program(runs.mixed), mapped, checkpoint=path, callback=lambda step, *_: step == 11, **options)
    _same(whole, fit(runs.program(runs.mixed), mapped, checkpoint=path, **options))


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", [AdaGrad(0.05), SGD(0.05), Adam(0.05)], ids=lambda o: type(o).__name__)
def test_tables_are_trained_by_the_rows_of_a_file(optimizer, tmp_path, large):
    data = runs.pairs()
    mapped = [_mapped(x, tmp_path / f"{i}.npy") for i, x in enumerate(data)]
    options = {"epochs": 2, "batch_size": 90, "optimizer": optimizer, "seed": 3}
    _same(fit(runs.program(runs.factors), *data, **options), fit(runs.program(runs.factors), *mapped, **options))


def test_other_types_are_converted_batch_by_batch(tmp_path, large):
    bytes_ = np.random.default_rng(0).integers(0, 200, (30, 2)).astype(np.uint8)
    options = {"epochs": 2, "batch_size": 7, "optimizer": SGD(0.01), "seed": 3}
    source = ArrayBatches(builds.program(), [_mapped(bytes_, tmp_path / "x.npy")], 7, None)
    assert source.gathers and source.data[0].dtype == np.uint8
    _same(fit(builds.program(), bytes_.astype(float), **options),
          fit(builds.program(), _mapped(bytes_, tmp_path / "x.npy"), **options))  # fmt: skip


def test_small_files_are_read_at_once_and_large_arrays_are_not_copied(tmp_path, monkeypatch):
    assert not ArrayBatches(builds.program(), [_mapped(builds.X, tmp_path / "x.npy")], 5, None).gathers
    monkeypatch.setattr("ppl.training.batches.CONVERTED_BYTES", 0)
    source = ArrayBatches(builds.program(), [builds.X], 5, None)
    assert not source.gathers and np.shares_memory(source.data[0], builds.X)
    bound = builds.program().prepare(builds.X).binder.bind(source.data, check=False)
    assert np.shares_memory(bound.arrays[0], builds.X)


def test_a_bad_entry_of_a_file_is_found_in_its_batch(tmp_path, large):
    data = np.random.default_rng(0).normal(size=(30, 2))
    data[17, 1] = np.nan

    @ppl.model
    def observed(x):
        with ppl.plate("data", x) as x:
            ppl.sample("x", ppl.Normal(ppl.param("m", np.zeros(2)), 1.0), obs=x)

    with pytest.raises(DataError, match="nan at"):
        fit(ppl.compile(ppl.likelihood(observed)), _mapped(data, tmp_path / "x.npy"), epochs=1, batch_size=7,
            optimizer=SGD(0.1))  # fmt: skip


@pytest.mark.parametrize("rows", [200, 400])
def test_arguments_with_other_rows_are_refused(rows, tmp_path, large):
    """A longer one would be read in part."""

    @ppl.model
    def model(x, y):
        with ppl.plate("data", x, y) as (x, y):
            ppl.sample("y", ppl.Normal(x * ppl.param("a", 0.0), 1.0), obs=y)

    program = ppl.compile(ppl.likelihood(model), data=(np.zeros(3), np.zeros(3)))
    x, y = _mapped(np.zeros(300), tmp_path / "x.npy"), _mapped(np.zeros(rows), tmp_path / "y.npy")
    with pytest.raises(DataError, match=f"'y' has {rows} rows, 'x' has 300"):
        fit(program, x, y, steps=2, batch_size=10, optimizer=SGD(0.1))
