"""`ppl.fit`: batches, history, resuming, streams, and what ends a run."""

import io
import sys

import numpy as np
import pytest

import ppl
from ppl.errors import DataError, FitError, OptionError, PplError
from ppl.runtime.call import bind_call
from ppl.training import checkpoints as fit_checkpoint
from ppl.training.batches import epoch_permutation
from ppl.training.fit import fit
from ppl.training.optim import SGD, Adam, linear

N = 11


@ppl.model
def noisy_mean(x, w):
    """Rows with noise of their own, a cost outside the plate, a whole argument, a constraint and a hyper."""
    mu = ppl.param("mu", 0.0)
    scale = ppl.param("scale", np.ones(2), constraint="positive")
    with ppl.plate("data", x) as x:
        z = ppl.sample("z", ppl.Normal(mu, 1.0))
        ppl.cost("fit", ppl.hyper("k", 1.0) * (z - x) ** 2)
    ppl.cost("size", np.sum(scale * w))


@ppl.model
def toy():
    b = ppl.sample("b", ppl.Bernoulli(logits=ppl.param("logit", 0.0)))
    ppl.cost("loss", (b - 0.499) ** 2)


@pytest.fixture(scope="module")
def program():
    return ppl.compile(noisy_mean, dtype="float64", data=(ppl.spec((None,)), ppl.spec((2,))))


@pytest.fixture(scope="module")
def data():
    return np.random.default_rng(0).normal(size=N), np.array([1.0, 2.0])


def _same(a, b):
    assert a.state.step == b.state.step
    for name, value in a.state.params.items():
        assert value.tobytes() == b.state.params[name].tobytes(), name
    assert a.state.opt["t"] == b.state.opt["t"] and a.state.opt["m"].tobytes() == b.state.opt["m"].tobytes()


# --- batches ---------------------------------------------------------------------------------------------


def test_permutation_is_a_pure_function_of_seed_and_epoch():
    for n in (1, 2, 100):
        assert sorted(epoch_permutation(3, 7, n)) == list(range(n))
    assert np.array_equal(epoch_permutation(3, 7, 100), epoch_permutation(3, 7, 100))
    distinct = {epoch_permutation(seed, epoch, 100).tobytes() for seed in range(-3, 3) for epoch in range(5)}
    assert len(distinct) == 30
    assert epoch_permutation(0, 1, 8).tolist() == GOLDEN


GOLDEN = [4, 5, 0, 6, 2, 7, 3, 1]


def test_permutation_is_uniform():
    draws = np.array([epoch_permutation(0, epoch, 5) for epoch in range(4000)])
    counts = np.array([np.bincount(draws[:, i], minlength=5) for i in range(5)])
    error = np.sqrt(4000 * 0.2 * 0.8)
    assert np.abs(counts - 800).max() < 5 * error


@pytest.fixture
def calls(monkeypatch):
    """The batches that training has bound: data, rows, total and whether the data were checked."""
    found = []

    def spy(program, call, check=True):
        found.append((call.data, call.rows, call.total_rows, check))
        return bind_call(program, call, check)

    monkeypatch.setattr("ppl.training.run.bind_call", spy)
    return found


def test_every_row_once_an_epoch_and_short_last_batch(program, data, calls):
    fit(program, *data, epochs=2, batch_size=4, optimizer={"*": SGD(0.1)}, seed=5)
    assert [len(rows) for _, rows, _, _ in calls] == [4, 4, 3, 4, 4, 3]
    for epoch in range(2):
        those = calls[3 * epoch : 3 * epoch + 3]
        order = np.concatenate([rows for _, rows, _, _ in those])
        assert np.array_equal(order, epoch_permutation(5, epoch, N))
        for (x, w), rows, total, check in those:
            assert np.array_equal(x, data[0][rows]) and np.array_equal(w, data[1])
            assert total == N and not check


def test_all_rows_in_one_batch_stay_in_order(program, data, calls):
    for size in (None, N, 100):
        calls.clear()
        fit(program, *data, epochs=2, batch_size=size, optimizer={"*": SGD(0.1)})
        assert all(np.array_equal(d[0], data[0]) and rows is None for d, rows, _, _ in calls)
        assert len(calls) == 2


def test_batch_of_the_whole_is_the_average_over_batches(program, data):
    state = program.init(0, *data)
    whole, full = program.value_and_grad(state, *data)
    parts, grads = [], []
    for rows in np.array_split(np.arange(N), [4, 8]):
        loss, grad = program.value_and_grad(state, data[0][rows], data[1], rows=rows, total_rows=N)
        parts.append(loss * len(rows) / N)
        grads.append(grad["mu"] * len(rows) / N)
    np.testing.assert_allclose(sum(parts), whole, rtol=1e-12)
    np.testing.assert_allclose(sum(grads), full["mu"], rtol=1e-10)


def test_data_by_name_and_memory_heavy_path(program, data, monkeypatch):
    plain = fit(program, *data, steps=4, batch_size=4, optimizer=Adam())
    named = fit(program, {"w": data[1], "x": data[0]}, steps=4, batch_size=4, optimizer=Adam())
    monkeypatch.setattr("ppl.training.batches.CONVERTED_BYTES", 0)
    monkeypatch.setattr("ppl.training.batches.CHECKED_ROWS", 3)
    large = fit(program, *data, steps=4, batch_size=4, optimizer=Adam())
    _same(plain, named)
    _same(plain, large)


# --- one step, history, hyper ----------------------------------------------------------------------------


def test_update_is_one_step_of_fit(program, data):
    state = program.init(3, *data)
    one, loss = program.update(state, *data, optimizer=Adam(0.1))
    run = fit(program, *data, steps=1, state=state, optimizer=Adam(0.1))
    assert loss == run.history["loss"][0]
    for name, value in one.params.items():
        assert value.tobytes() == run.state.params[name].tobytes()


def test_history_is_per_row(program, data):
    state = program.init(0, *data)
    run = fit(program, *data, steps=3, state=state, optimizer=SGD(0.05))
    assert set(run.history) == {"loss", "step", "cost fit", "cost size"}
    assert run.history["step"].tolist() == [1, 2, 3]
    np.testing.assert_allclose(run.history["loss"][0], program.value_and_grad(state, *data)[0] / N)
    np.testing.assert_allclose(run.history["fit"] + run.history["size"], run.history["loss"])
    np.testing.assert_allclose(run.history["size"][0], 3.0 / N)
    with pytest.raises(KeyError):
        run.history["none"]
    assert set(run.params) == {"mu", "scale"} and (run.params["scale"] > 0).all()


@pytest.mark.parametrize("batch_size", [None, 8])
def test_total_rows_by_plate(program, data, batch_size):
    (plate,) = {a.name for a in program.prepare(*data).binder.plates}
    runs = [
        fit(program, *data, steps=3, optimizer=SGD(0.1), total_rows=total, batch_size=batch_size)
        for total in (4 * N, {plate: 4 * N}, None, {})
    ]
    for one, other in (runs[:2], runs[2:]):
        np.testing.assert_array_equal(one.history["loss"], other.history["loss"])
    assert runs[0].history["loss"][-1] != runs[2].history["loss"][-1]


def test_total_rows_scales_a_part_of_the_data(program, data):
    run = fit(program, *data, steps=1, optimizer=SGD(0.1), total_rows=4 * N)
    whole = fit(program, *data, steps=1, optimizer=SGD(0.1))
    np.testing.assert_allclose(run.history["fit"], whole.history["fit"])
    np.testing.assert_allclose(4 * run.history["size"], whole.history["size"])


def test_hyper_schedule(program, data):
    frozen = {"*": None}
    run = fit(program, *data, steps=3, optimizer=frozen, hyper={"k": linear(0.0, 1.0, 2)})
    state = run.state.replace(step=1)
    assert run.history["fit"][0] == 0.0
    np.testing.assert_allclose(
        run.history["fit"][1],
        (program.value(state, *data, hyper={"k": 0.5}) - run.history["size"][1] * N) / N,
    )


def test_frozen_parameters_do_not_move(program, data):
    run = fit(program, *data, steps=3, optimizer={"mu": SGD(0.1), "*": None})
    start = program.init(0, *data)
    assert run.state.params["scale"].tobytes() == start.params["scale"].tobytes()
    assert run.state.params["mu"] != start.params["mu"]


def test_validation(program, data):
    held_out = (data[0][:5], data[1])
    run = fit(program, *data, steps=7, batch_size=4, optimizer=SGD(0.1), validation=held_out)
    assert run.history["validation_step"].tolist() == [3, 6, 7]
    np.testing.assert_allclose(run.history["validation"][-1], program.value(run.state, *held_out) / 5)
    own = fit(program, *data, epochs=2, batch_size=4, optimizer=SGD(0.1), validation=lambda s: float(s.step))
    assert own.history["validation"].tolist() == [3.0, 6.0]


def test_learns():
    run = fit(ppl.compile(toy), steps=300, optimizer=Adam(0.1))
    assert run.params["logit"] < -3
    np.testing.assert_allclose(run.history["loss"][0], 0.25, atol=1e-3)


# --- resuming --------------------------------------------------------------------------------------------


def test_resume_by_state_mid_epoch(program, data, tmp_path):
    def run(**options):
        return fit(program, *data, batch_size=4, optimizer=Adam(0.1), **options)

    whole, half = run(steps=8), run(steps=4)
    half.state.save(tmp_path / "state.npz")
    rest = run(steps=4, state=ppl.load_state(tmp_path / "state.npz"))
    _same(whole, rest)
    assert np.array_equal(whole.history["loss"], np.r_[half.history["loss"], rest.history["loss"]])


@pytest.mark.parametrize("stop", [3, 4, 5])
def test_resume_by_checkpoint(program, data, tmp_path, stop):
    path = tmp_path / "run.npz"

    def run(checkpoint=None, callback=None):
        return fit(
            program, *data, epochs=3, batch_size=4, optimizer=Adam(0.1), validation=data,
            checkpoint=checkpoint, callback=callback,
        )  # fmt: skip

    whole = run()
    run(path, lambda step, state, metrics: step == stop)
    assert ppl.load_state(path).step == stop
    resumed = run(path)
    _same(whole, resumed)
    assert np.array_equal(whole.history["loss"], resumed.history["loss"])
    assert np.array_equal(whole.history["step"], resumed.history["step"])
    again = run(path)
    _same(whole, again)


def test_checkpoint_every(program, data, tmp_path):
    path = tmp_path / "run.npz"
    seen = []
    fit(
        program, *data, steps=5, batch_size=4, optimizer=SGD(0.1), checkpoint=(path, 2),
        callback=lambda step, state, metrics: seen.append(ppl.load_state(path).step if path.exists() else 0),
    )  # fmt: skip
    assert seen == [0, 2, 2, 4, 4] and ppl.load_state(path).step == 5
    assert [p.name for p in tmp_path.iterdir()] == ["run.npz"]


def test_foreign_checkpoints_and_states_are_refused(program, data, tmp_path):
    path = tmp_path / "run.npz"
    fit(program, *data, steps=1, optimizer=SGD(0.1), checkpoint=path)
    with pytest.raises(DataError, match="seed"):
        fit(program, *data, steps=1, optimizer=SGD(0.1), checkpoint=path, seed=1)
    with pytest.raises(DataError, match="other parameters"):
        fit(ppl.compile(toy), steps=1, optimizer=SGD(0.1), state=ppl.load_state(path))
    with pytest.raises(DataError, match="optimizer state"):
        fit(program, *data, steps=2, optimizer=Adam(), checkpoint=path)
    path.write_bytes(b"nothing")
    with pytest.raises(DataError, match="not one of ppl"):
        fit(program, *data, steps=1, optimizer=SGD(0.1), checkpoint=path)


def test_the_repr_is_short(program, data):
    run = fit(program, *data, steps=3, optimizer=SGD(0.1), validation=data)
    loss, validation = (f"{run.history[k][-1]:.6g}" for k in ("loss", "validation"))
    assert (
        repr(run)
        == str(run)
        == (
            f"Fit(State(step=3, seed=0, params: mu (), scale (2,)), loss {loss}, validation {validation}, "
            "history of 3 steps)"
        )
    )
    none = fit(program, *data, steps=0, optimizer=SGD(0.1))
    assert repr(none) == "Fit(State(step=0, seed=0, params: mu (), scale (2,)), history of 0 steps)"
    assert none._replace(params={}).params == {} and len(none) == 3


# --- streams ---------------------------------------------------------------------------------------------


def _stream(data):
    return [(data[0][:4], data[1]), (data[0][4:8], data[1]), (data[0][8:], data[1])]


def test_stream_of_a_list_and_of_a_callable(program, data):
    a = fit(program, batches=_stream(data), epochs=2, optimizer=Adam(0.1))
    b = fit(program, batches=lambda: iter(_stream(data)), steps=6, optimizer=Adam(0.1))
    assert a.state.step == 6
    _same(a, b)


def test_stream_sees_its_rows(program, data, calls):
    fit(program, batches=_stream(data), steps=4, optimizer={"*": SGD(0.1)}, total_rows=N)
    assert [len(d[0]) for d, _, _, _ in calls] == [4, 4, 3, 4]
    assert all(total == N and check and rows is None for _, rows, total, check in calls)


def test_stream_that_ends(program, data):
    with pytest.warns(UserWarning, match="ended after 3 steps"):
        run = fit(program, batches=iter(_stream(data)), steps=5, optimizer=SGD(0.1))
    assert run.state.step == 3
    with pytest.raises(DataError):
        fit(program, batches=[], steps=5, optimizer=SGD(0.1))


def test_stream_resumes(program, data, tmp_path):
    def run(checkpoint=None, callback=None):
        return fit(
            program, batches=_stream(data), epochs=3, optimizer=Adam(0.1), validation=data,
            checkpoint=checkpoint, callback=callback,
        )  # fmt: skip

    path = tmp_path / "run.npz"
    run(path, lambda step, state, metrics: step == 4)
    whole, resumed = run(), run(path)
    _same(whole, resumed)
    assert np.array_equal(whole.history["loss"], resumed.history["loss"])


def test_stream_is_not_read_ahead(program, data):
    taken, used = [], []

    def source():
        for batch in _stream(data):
            taken.append(len(used))
            yield batch

    fit(program, batches=source, steps=3, optimizer=SGD(0.1), callback=lambda *a: used.append(a[0]))
    assert taken == [0, 1, 2]


# --- what ends a run -------------------------------------------------------------------------------------


def test_callback(program, data):
    seen = []

    def callback(step, state, metrics):
        seen.append((step, state.step, set(metrics)))
        return step == 3

    run = fit(program, *data, steps=9, optimizer=SGD(0.1), callback=callback)
    assert run.state.step == 3 and len(run.history["loss"]) == 3
    assert seen[0] == (1, 1, {"loss", "cost fit", "cost size"})


def test_interrupt_returns_the_partial_fit(program, data, tmp_path):
    def interrupt(step, state, metrics):
        if step == 4:
            raise KeyboardInterrupt

    run = fit(program, *data, steps=9, optimizer=SGD(0.1), callback=interrupt, checkpoint=tmp_path / "a.npz")
    assert run.state.step == 4 and len(run.history["loss"]) == 4
    assert ppl.load_state(tmp_path / "a.npz").step == 4


def test_a_full_disk_costs_no_training(program, data, tmp_path, monkeypatch):
    """While it trains, the next time tries again; where the last time fails, the error has what was reached."""
    write, full = fit_checkpoint.write_npz, [True]

    def failing(path, arrays):
        if full[0]:
            raise OSError(28, "No space left on device")
        write(path, arrays)

    def callback(step, state, metrics):
        full[0] = step < 4

    monkeypatch.setattr(fit_checkpoint, "write_npz", failing)
    options = {"steps": 6, "optimizer": Adam(0.1), "checkpoint": (tmp_path / "a.npz", 2)}
    with pytest.warns(RuntimeWarning, match="No space left"):
        run = fit(program, *data, callback=callback, **options)
    assert run.state.step == ppl.load_state(tmp_path / "a.npz").step == 6
    full[0] = True
    options["checkpoint"] = tmp_path / "b.npz"
    with pytest.raises(FitError, match="No space left") as caught:
        fit(program, *data, **options)
    _same(caught.value.fit, run)
    assert len(caught.value.fit.history["loss"]) == 6 and caught.value.state.step == 6


@pytest.mark.parametrize("optimizer", [Adam(0.1), Adam(0.1, clip_norm=1e9)], ids=["in place", "step by step"])
def test_a_validation_that_an_interrupt_skipped_is_made_up(program, data, tmp_path, optimizer):
    def run(checkpoint=None, stop=False):
        def validation(state):
            if stop and state.step == 6:
                raise KeyboardInterrupt
            return float(state.params["mu"])

        return fit(
            program, *data, epochs=4, batch_size=4, optimizer=optimizer, validation=validation, checkpoint=checkpoint
        )

    partial = run(tmp_path / "a.npz", stop=True)
    assert partial.state.step == 6 and partial.history["validation_step"].tolist() == [3]
    resumed, whole = run(tmp_path / "a.npz"), run()
    assert all(np.array_equal(resumed.history[k], whole.history[k]) for k in whole.history)
    _same(resumed, whole)


def test_a_finished_stream_stays_finished(program, data, tmp_path):
    for _ in range(2):
        run = fit(
            program,
            batches=_stream(data),
            epochs=2,
            optimizer=Adam(0.1),
            validation=data,
            checkpoint=tmp_path / "a.npz",
        )
        assert run.state.step == 6 and run.history["validation_step"].tolist() == [3, 6]


@ppl.model
def fragile(x):
    scale = ppl.param("scale", 0.5)
    shift = ppl.param("shift", 0.3)
    with ppl.plate("data", x) as x:
        z = ppl.sample("z", ppl.Normal(shift, np.log(scale - 1.0)))
        ppl.cost("error", (z - x) ** 2)


@ppl.model
def root():
    w = ppl.param("w", 4.0)
    v = ppl.deterministic("v", w - 4.0)
    ppl.cost("distance", np.sqrt(v * v) + ppl.param("u", 1.0) ** 2)


@ppl.model
def logarithm(x):
    w = ppl.param("w", 0.25)
    with ppl.plate("data", x) as x:
        ppl.cost("first", w * 0.5)
        ppl.cost("second", np.log(x - w))


def test_nan_in_the_loss_names_the_row():
    x = np.array([0.3, 0.5, 0.4, 0.2, 0.6])
    program = ppl.compile(logarithm, dtype="float64")
    with pytest.raises(FitError) as caught:
        fit(program, x, steps=50, optimizer=SGD(0.0), seed=1)
    error = caught.value
    assert error.node == "second" and "row 3 of 'data'" in str(error) and "log" in str(error)
    assert error.step == 0 and error.state.params["w"] == 0.25
    assert len(error.fit.history["loss"]) == 0


def test_nan_mid_training_keeps_the_last_good_state(tmp_path):
    x = np.array([0.3, 0.5, 0.4, 0.35, 0.6])
    program = ppl.compile(logarithm, dtype="float64")
    with pytest.raises(FitError) as caught:
        fit(
            program,
            x,
            epochs=50,
            batch_size=2,
            optimizer=SGD(0.004),
            checkpoint=tmp_path / "c.npz",
        )
    error = caught.value
    assert error.node == "second"
    assert error.step == error.state.step == len(error.fit.history["loss"]) > 0
    assert np.isfinite(error.state.params["w"]) and np.isfinite(error.fit.history["loss"]).all()
    assert ppl.load_state(tmp_path / "c.npz").step == error.step
    row = int(str(error).split("row ")[1].split()[0])
    assert x[row] == 0.3


def test_nan_in_a_distribution_parameter():
    with pytest.raises(FitError) as caught:
        fit(ppl.compile(fragile, dtype="float64"), np.zeros(3), steps=1, optimizer=SGD(0.1, clip_norm=1.0))
    assert caught.value.node == "z" and "scale of node 'z'" in str(caught.value)


def test_nan_in_the_gradient_only():
    with pytest.raises(FitError, match="gradient with respect to 'w'") as caught:
        fit(ppl.compile(root, dtype="float64"), steps=1, optimizer=SGD(0.1))
    assert caught.value.node == "v"
    frozen = fit(ppl.compile(root, dtype="float64"), steps=2, optimizer={"w": None, "u": SGD(0.1)})
    assert frozen.state.step == 2


def test_overflow_of_the_update_names_the_parameter(program):
    ones = np.full(3, 5.0), np.ones(2)
    with pytest.raises(FitError, match="parameter 'mu'") as caught:
        fit(program, *ones, steps=3, optimizer={"mu": SGD(1.7e308), "*": None})
    assert caught.value.node == "mu" and caught.value.step == 0


# --- options and progress --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"steps": 1, "epochs": 1},
        {"steps": -1},
        {"epochs": 1.5},
        {"steps": 1, "batch_size": 0},
        {"steps": 1, "checkpoint": ("a.npz", 0)},
        {"steps": 1, "batches": [(np.zeros(3), np.zeros(2))]},
    ],
)
def test_bad_options(program, data, options):
    with pytest.raises(OptionError):
        fit(program, *data, optimizer=SGD(0.1), **options)


def test_data_are_checked_before_the_first_step(program, data):
    for bad in [(data[0][:, None], data[1]), (data[0], np.zeros(3)), (data[0],), ({"x": data[0]},)]:
        with pytest.raises(PplError):
            fit(program, *bad, steps=1, optimizer=SGD(0.1))
    for options in ({"epochs": 1}, {"steps": 1, "batch_size": 2}):
        with pytest.raises(OptionError):
            fit(ppl.compile(toy), optimizer=SGD(0.1), **options)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_is_shown_on_terminals_only(program, data, monkeypatch, capsys):
    fit(program, *data, steps=2, optimizer=SGD(0.1))
    assert capsys.readouterr() == ("", "")
    for shown in (True, False):
        terminal = Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.setattr("ppl.training.progress_bar.REDRAW_SECONDS", 0.0)
        fit(program, *data, steps=2, optimizer=SGD(0.1), progress=shown)
        monkeypatch.undo()
        assert ("rows/s" in terminal.getvalue()) == shown
        assert ("loss" in terminal.getvalue()) == shown
