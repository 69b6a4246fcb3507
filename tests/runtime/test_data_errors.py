"""Everything that can be wrong with what a program is called with is one DataError that names it."""

import numpy as np
import pytest

import ppl
from ppl import Bernoulli, Categorical, Normal
from ppl.errors import DataError, ModelError
from tests.program.programs import data, mixed_program, toy_program, units_program

N = 6
X = np.random.default_rng(0).normal(size=(N, 3))
LABEL = np.array([0, 1, 2, 3, 0, 1])
ID = np.array([0, 4, 2, 2, 1, 3])
BIT = np.array([0, 1, 1, 0, 1, 0])
Y = np.random.default_rng(1).normal(size=N)
KNOWN = np.array([True, True, False, True, False, True])
WHOLE = np.array([0.5, -1.0])
GOOD = {"x": X, "label": LABEL, "id": ID, "bit": BIT, "y": Y, "known": KNOWN, "whole": WHOLE}


@ppl.model
def observer(x, label, id, bit, y, known, whole):
    """One observation of every kind that is checked."""
    table = ppl.param("table", np.zeros((5, 2)))
    with ppl.plate("data", x, label, id, bit, y, known) as (x, label, id, bit, y, known):
        e = np.sum(table[id]) + np.sum(x) * ppl.param("w", 0.3) + np.sum(whole)
        ppl.sample("label", Categorical(logits=e * np.arange(4.0)), obs=label)
        ppl.sample("bit", Bernoulli(logits=e), obs=bit)
        ppl.sample("y", Normal(e, 1.0), obs=y, obs_mask=known)
        ppl.sample("x", Normal(np.zeros(3), 1.0), obs=x)


@pytest.fixture(scope="module")
def program():
    return ppl.compile(ppl.likelihood(observer), dtype="float64", data=tuple(GOOD.values()))


@pytest.fixture(scope="module")
def state(program):
    return program.init(0)


def changed(name: str, place, value) -> dict[str, np.ndarray]:
    """The good data with one entry changed."""
    array = np.array(GOOD[name])
    array[place] = value
    return {**GOOD, name: array}


class Column:
    """What data frames are made of, with the names that pandas has."""

    def __init__(self, name, values):
        self.name, self.values = name, np.array(values)

    def __array__(self, dtype=None, copy=None):
        return self.values


class Frame:
    """A data frame: columns of their own dtypes, which are one array of objects together."""

    def __init__(self, **columns):
        self.parts = {name: Column(name, values) for name, values in columns.items()}
        self.columns, self.dtypes = list(columns), [part.values.dtype for part in self.parts.values()]

    def __getitem__(self, name):
        return self.parts[name]

    def __array__(self, dtype=None, copy=None):
        return np.array([part.values.tolist() for part in self.parts.values()], object).T


CITIES = np.array(["Bonn", "Kiel", "Ulm", "Bonn", "Ulm", "Kiel"], object)
WRONG = {
    "columns of a frame": (
        {**GOOD, "x": Frame(a=X[:, 0], city=CITIES, b=np.array([1, 2, None, 4, 5, 6], object))},
        r"data argument 'x' has columns that hold no numbers: 'city' \(object, such as 'Bonn'\), "
        r"'b' \(object, such as None\)\. Leave them out.*codes",
    ),
    "a series": ({**GOOD, "y": Column("city", CITIES)}, r"columns that hold no numbers: 'city' \(object"),
    "unmasked nan": (changed("y", 1, np.nan), r"argument 'y' is nan at \(1,\).*node 'y'.*obs_mask"),
    "nan in a row": (changed("x", (2, 1), np.nan), r"argument 'x' is nan at \(2, 1\).*node 'x'.*obs_mask"),
    "class too large": (
        changed("label", 2, 4),
        r"argument 'label' is 4 at \(2,\).*'label', a Categorical.*in \[0, 3\]",
    ),
    "class negative": (changed("label", 2, -1), r"argument 'label' is -1 at \(2,\)"),
    "bit": (changed("bit", 0, 2), r"argument 'bit' is 2 at \(0,\).*'bit', a Bernoulli.*in \[0, 1\]"),
    "bit negative": (changed("bit", 0, -1), r"argument 'bit' is -1 at \(0,\)"),
    "index too large": (
        changed("id", 3, 5),
        r"argument 'id' is 5 at \(3,\); an index into an axis of length 5.*in \[0, 4\]",
    ),
    "index negative": (changed("id", 3, -1), r"argument 'id' is -1 at \(3,\); an index"),
    "rows": ({**GOOD, "y": Y[:4]}, r"plate 'data': argument 'y' has 4 rows, 'x' has 6"),
    "whole argument": ({**GOOD, "whole": np.zeros(3)}, r"argument 'whole' has shape \(3,\).*expects \(2,\)"),
    "strings": ({**GOOD, "x": X.astype(str)}, r"data argument 'x' has dtype <U32"),
    "none": ({**GOOD, "y": None}, r"data argument 'y' has dtype object"),
    "complex": ({**GOOD, "y": Y + 1j}, r"data argument 'y' has dtype complex128"),
    "ragged": ({**GOOD, "x": [[1.0, 2.0], [3.0]]}, r"data argument 'x'.*different lengths"),
}


@pytest.mark.parametrize(("given", "message"), WRONG.values(), ids=WRONG)
def test_wrong_data_is_named(program, state, given, message):
    for call in (program.value, program.value_and_grad, program.step, program.sample):
        with pytest.raises(DataError, match=message):
            call(state, *given.values())


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({**GOOD, "label": LABEL * 1.0}, ModelError, r"node 'label': Categorical observes integers, obs is float"),
        ({**GOOD, "id": ID * 1.0}, ModelError, r"index must be an integer.*\n  at test_data_errors.py:\d+: e = "),
        ({**GOOD, "y": X}, ModelError, r"node 'y': obs has event shape \(3,\), the distribution \(\)\n  at test_data"),
        ({**GOOD, "x": Y}, ModelError, r"node 'x': obs has event shape \(\), the distribution \(3,\)\n  at test_data"),
    ],
    ids=["float-class", "float-index", "rank", "scalar"],
)
def test_data_of_another_kind_fail_at_the_line_that_uses_them(program, state, given, error, message):
    with pytest.raises(error, match=message):
        program.value(state, *given.values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rows": np.arange(3)}, r"rows= names 3 dataset rows, but plate 'data' has 6"),
        ({"rows": slice(0, 3)}, r"rows= names 3 dataset rows, but plate 'data' has 6"),
        ({"rows": -1}, r"rows= holds dataset row -1"),
        ({"rows": np.arange(N) - 1}, r"rows= holds dataset row -1"),
        ({"rows": 1.5}, r"rows= is the first dataset row, a slice or an array"),
        ({"rows": {"dta": 0}}, r"rows= names plate \['dta'\].*\['data'\]"),
        ({"total_rows": 3}, r"total_rows=3: plate 'data' alone is given 6 rows"),
        ({"total_rows": {"dta": 30}}, r"total_rows= names plate \['dta'\]"),
        ({"particles": 0}, r"particles= must be a whole number of at least 1, not 0"),
        ({"particles": 1.5}, r"particles= must be a whole number of at least 1, not 1.5"),
        ({"hyper": {"beta": 1.0}}, r"no hyper parameter named \['beta'\]"),
    ],
    ids=lambda v: str(v) if isinstance(v, dict) else "",
)
def test_wrong_options_are_named(program, state, options, message):
    with pytest.raises(DataError, match=message):
        program.value(state, *GOOD.values(), **options)


def test_rows_may_be_a_slice_with_a_step(program, state):
    ids = program.value(state, *GOOD.values(), rows=np.arange(4, 4 + 2 * N, 2), per_row=True)
    assert np.array_equal(program.value(state, *GOOD.values(), rows=slice(4, None, 2), per_row=True), ids)


def test_masked_nan_leaves_value_and_gradient_finite_and_equal(program, state):
    clean = program.value_and_grad(state, *GOOD.values())
    for hidden in (np.nan, np.inf, 1e300):
        loss, grads = program.value_and_grad(state, *changed("y", ~KNOWN, hidden).values())
        assert loss == clean[0]
        for name, g in grads.items():
            assert np.isfinite(g).all() and np.array_equal(g, clean[1][name])


@pytest.mark.parametrize("whole_rows", [True, False], ids=["row-mask", "unit-mask"])
def test_masked_labels_need_not_be_labels(whole_rows):
    @ppl.model
    def masked(label, bits, known):
        with ppl.plate("data", label, bits, known) as (label, bits, known):
            one = known if whole_rows else known[0]
            ppl.sample("bits", Bernoulli(logits=ppl.param("b", np.zeros(2))), obs=bits, obs_mask=known)
            if whole_rows:
                logits = ppl.param("a", np.zeros(3))
                ppl.sample("label", Categorical(logits=logits), obs=label, obs_mask=one)

    known = KNOWN if whole_rows else np.stack([KNOWN, KNOWN], 1)
    label, bits = np.where(KNOWN, 1, -9), np.where(KNOWN, 1, 7)[:, None] * np.ones(2, int)
    program = ppl.compile(ppl.likelihood(masked), dtype="float64", data=(label, bits, known))
    state = program.init(0)
    loss, grads = program.value_and_grad(state, label, bits, known)
    assert loss == pytest.approx(4 * (2 * np.log(2) + (np.log(3) if whole_rows else 0)), rel=1e-12)
    assert all(np.isfinite(g).all() for g in grads.values())
    bad = np.array(bits)
    bad[0, 1] = 7
    with pytest.raises(DataError, match=r"argument 'bits' is 7 at \(0, 1\)"):
        program.value(state, label, bad, known)


def test_constant_observations_are_checked_when_the_model_is_traced():
    @ppl.model
    def constant():
        ppl.sample("y", Normal(ppl.param("m", 0.0) * np.ones(2), 1.0), obs=np.array([1.0, np.nan]))

    with pytest.raises(
        DataError, match=r"node 'y': obs is nan at \(1,\).*mask it with obs_mask\n  at test_data_errors.py"
    ):
        ppl.compile(ppl.likelihood(constant))


def test_the_number_of_arguments_is_checked(program, state):
    listed = "x, label, id, bit, y, known, whole"
    with pytest.raises(DataError, match=rf"takes 7 data arguments \({listed}\); 1 given"):
        program.value(state, X)
    with pytest.raises(DataError, match=rf"needs its data: pass {listed}"):
        program.value(state)
    with pytest.raises(DataError, match=r"takes 0 data arguments \(none\); 1 given"):
        toy_program().value(toy_program().init(0), X)


def test_a_state_of_another_program_is_refused(program, state):
    x = data()
    other = mixed_program().init(0, x)
    for call in (program.value, program.value_and_grad, program.sample, program.step):
        with pytest.raises(DataError, match=r"the state has parameters loc \(\).*; the program, parameters table"):
            call(other, *GOOD.values())
    with pytest.raises(DataError, match="the state has parameters loc"):
        program.params(other)
    with pytest.raises(DataError, match=r"auxiliary.*belong to the estimators"):
        units_program("score").value(units_program("rebar").init(0, x), x)
    with pytest.raises(DataError, match="the state is float64, the program float32"):
        toy_program("float32").value(toy_program().init(0))
    with pytest.raises(DataError, match=r"the first argument is a State.*not ndarray"):
        program.value(*GOOD.values())


def test_other_event_shapes_are_other_programs_whose_states_do_not_mix():
    @ppl.model
    def any_width(x):
        with ppl.plate("data", x) as x:
            ppl.cost("c", ppl.dense("d", x, 1)[0] ** 2)

    program = ppl.compile(any_width)
    narrow, wide = program.init(0, X[:, :2]), program.init(0, X)
    assert program.params(narrow)["d.weight"].shape == (2, 1)
    assert program.params(wide)["d.weight"].shape == (3, 1)
    with pytest.raises(DataError, match=r"d.weight \(2, 1\).*d.weight \(3, 1\)"):
        program.value(narrow, X)
    assert program.value(narrow, X[:, :2]) >= 0


def test_what_is_not_a_state_file_is_refused(tmp_path):
    path = tmp_path / "x.npz"
    path.write_bytes(b"nonsense")
    with pytest.raises(DataError, match=r"is not a state that State.save wrote"):
        ppl.load_state(path)
    np.savez(path, a=np.ones(2))
    with pytest.raises(DataError, match=r"is not a state that State.save wrote"):
        ppl.load_state(path)
    with pytest.raises(FileNotFoundError):
        ppl.load_state(tmp_path / "none.npz")


def test_no_rows_are_an_error(program, state):
    empty = [v if k == "whole" else v[:0] for k, v in GOOD.items()]
    for call in (program.value, program.value_and_grad, program.step, program.sample):
        with pytest.raises(DataError, match=r"argument 'x' is empty: its shape is \(0, 3\)"):
            call(state, *empty)
