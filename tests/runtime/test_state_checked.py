"""States that compiled code could read beyond: refused by whoever is handed one, with the name of what is wrong."""

import copy
import pickle

import numpy as np
import pytest

import ppl
from ppl.errors import DataError, OptionError
from ppl.runtime.state import Layout, State
from ppl.training.fit import fit
from ppl.training.optim import SGD, AdaGrad, Adam, Momentum, as_transform
from tests.program.programs import data, units_program

LAYOUTS = Layout((("w", (2, 3)), ("b", ()))), Layout((("z/baseline", (2,)),))
FLAT, AUX = np.linspace(-1, 1, 7), np.array([0.5, 2.0])
GOOD = {"flat": FLAT, "aux": AUX, "layouts": LAYOUTS, "step": 4, "seed": 11}


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        *(("flat", x) for x in (FLAT[:6], np.zeros(8), FLAT[None], FLAT.astype(np.float32), FLAT.astype(int), [0.0] * 7,
                                FLAT.astype(complex), FLAT.astype(">f8"), np.ma.array(FLAT, mask=True), None)),
        *(("aux", x) for x in (np.zeros(0), np.zeros(3), AUX.astype(np.float32), None, 0.0)),
        *(("step", x) for x in (-1, 1.5, 4.0, True, "4", None, np.array([4]), np.zeros(2, int), 2**63, np.nan)),
        *(("seed", x) for x in (2**64, -(2**63) - 1, 1.0, False, "1", None, np.array([1]))),
        ("estimators", "auto"),
        ("estimators", {"z": "rebar"}),
    ],
)  # fmt: skip
def test_a_state_that_does_not_fit_its_layout_cannot_be_made(field, wrong):
    with pytest.raises(DataError):
        State(**GOOD | {field: wrong})
    if field in ("step", "seed", "estimators") and wrong is not None:
        with pytest.raises(DataError, match=field):
            State(**GOOD).replace(**{field: wrong})


def test_a_state_keeps_copies_that_compiled_code_can_read():
    flat = np.zeros(14)[::2]
    flat.setflags(write=False)
    state = State(**GOOD | {"flat": flat, "step": np.int32(4), "seed": np.uint64(2**64 - 1)})
    assert state._flat.flags.c_contiguous and state._flat.flags.writeable and not np.shares_memory(state._flat, flat)
    assert type(state.step) is int and state.seed == 2**64 - 1
    assert type(state.replace(step=np.array(7)).step) is int
    for other in (copy.copy(state), copy.deepcopy(state), pickle.loads(pickle.dumps(state))):
        assert other.step == 4 and np.array_equal(other._flat, state._flat)
    for field in ("step", "seed", "opt", "params", "aux"):
        with pytest.raises(AttributeError):
            setattr(state, field, 1)


W = np.zeros((2, 3))


@pytest.mark.parametrize(
    "params",
    [
        5, None, [("w", W), ("b", 0.0)], {"w": W}, {"w": W, "b": 0.0, "c": 0.0}, {"w": W.T, "b": 0.0}, {"w": W, 3: 0.0},
        {"w": W + 1j, "b": 0.0}, {"w": W.astype(str), "b": 0.0}, {"w": [[1, 2, 3], [4, 5]], "b": 0.0},
        {"w": W, "b": None}, {"w": W, "b": {}}, {"w": np.ma.array(W, mask=W == 0), "b": 0.0}, {"w": W, "b": [0.0]},
    ],
)  # fmt: skip
def test_parameters_are_arrays_of_real_numbers(params):
    with pytest.raises(DataError):
        State(**GOOD).replace(params=params)
    with pytest.raises(DataError):
        State(**GOOD | {"flat": np.zeros(0), "layouts": (Layout(()), LAYOUTS[0]), "aux": FLAT}).replace(aux=params)


def test_a_number_too_large_for_the_precision_is_refused():
    small = State(**GOOD | {"flat": FLAT.astype(np.float32), "aux": AUX.astype(np.float32)})
    with pytest.raises(DataError, match="beyond the range of float32"):
        small.replace(params={"w": np.full((2, 3), 1e39), "b": 0.0})
    assert small.replace(params={"w": W, "b": -np.inf}).params["b"] == -np.inf


@pytest.fixture(scope="module")
def program():
    return units_program("moving average")


def broken(state):
    """States whose vectors are not what their layouts say, made behind the constructor's back."""
    for field in ("_flat", "_aux"):
        for other in (getattr(state, field)[:-1], np.zeros(0), np.zeros(400)):
            new = copy.copy(state)
            setattr(new, field, other)
            yield new


def test_no_call_reads_beyond_a_state(program):
    x = data()
    state = program.init(0, x)
    direct = [
        program.value, program.value_and_grad, program.step, program.sample,
        lambda s, x: program.update(s, x, optimizer=SGD(0.1)), lambda s, x: program.hvp(s, state.params, x),
        lambda s, x: program.arrays(s), lambda s, x: program.params(s), lambda s, x: program.ravel(s),
    ]  # fmt: skip
    others = [
        program.diagnose, program.check_unbiased, lambda s, x: ppl.compare({"a": program}, s, x),
        lambda s, x: ppl.tune(program, s, x, budget_seconds=0.1), lambda s, x: program.profile(s, x),
        lambda s, x: fit(program, x, steps=1, optimizer=SGD(0.1), state=s),
    ]  # fmt: skip
    for given in (*broken(state), ppl.compile(alone).init(0)):
        for call in (*direct, *others):
            with pytest.raises(DataError):
                call(given, x)
    for given in (None, 5, state.params, program):
        for call in direct:
            with pytest.raises(DataError, match="is a State"):
                call(given, x)


@ppl.model
def alone():
    ppl.cost("c", ppl.param("w", 1.0) ** 2)


def test_seeds_of_initial_states(program):
    for seed in (2**64, -(2**63) - 1, 1.0, "0", None, [0], True):
        with pytest.raises(DataError, match="seed"):
            program.init(seed, data())
    assert program.init(-1, data()).seed == -1


def opts(optimizer, size=3):
    """States of an optimizer with one thing wrong."""
    good = {"t": 2, **{name: np.ones(size) for name in optimizer.slots}}
    yield from ([], 5, "opt", {}, {**good, "x": 1}, {k: v for k, v in good.items() if k != "t"})
    yield from ({**good, "t": t} for t in (-1, 1.5, True, None, "2", np.ones(1), np.nan))
    for name in optimizer.slots:
        wrong = (np.ones(size - 1), np.ones(0), np.ones((size, 1)), np.ones(size, np.float32), [1.0] * size, None, 1.0,
                 np.ones(2 * size)[::2], np.ma.ones(size))  # fmt: skip
        yield from ({**good, name: value} for value in wrong)


@pytest.mark.parametrize("optimizer", [SGD(0.1), Momentum(0.1), AdaGrad(), Adam()], ids=lambda o: type(o).__name__)
def test_an_optimizer_takes_its_own_state_only(optimizer):
    layout, flat = Layout((("p", (3,)),)), np.zeros(3)
    for opt in opts(optimizer):
        for transform in (optimizer, as_transform({"*": optimizer})):
            given = opt if transform is optimizer else {"*": opt}
            with pytest.raises(DataError):
                transform.apply(flat, flat, given, layout, 0)
            with pytest.raises(DataError):
                transform.check(given, flat, layout)
        with pytest.raises(DataError):
            optimizer.update({"p": flat}, opt)
    bad = {"t": 2, **{name: np.array([1.0, np.nan, 1.0]) for name in optimizer.slots}}
    if optimizer.slots:
        with pytest.raises(DataError, match="NaN"):
            optimizer.check(bad, flat, layout)


def test_negative_sums_of_squares_are_no_start(program):
    state = program.init(0, data())
    opt = {"t": 1, "m": np.zeros_like(state._flat), "v": np.full_like(state._flat, -1.0)}
    with pytest.raises(DataError, match="'v' of the optimizer state"):
        fit(program, data(), steps=1, optimizer=Adam(), state=state.replace(opt=opt, step=1))
    with pytest.raises(DataError, match="optimizer state"):
        fit(program, data(), steps=1, optimizer=SGD(0.1), state=state.replace(opt=opt, step=1))


def test_a_run_does_not_begin_with_nan(program):
    state = program.init(0, data())
    for kind in ("params", "aux"):
        bad = {name: np.full_like(value, np.nan) for name, value in getattr(state, kind).items()}
        with pytest.raises(DataError, match=r"nan at .*training needs finite numbers"):
            fit(program, data(), steps=1, optimizer=SGD(0.1), state=state.replace(**{kind: bad}))


def test_vectors_of_other_calls(program):
    state = program.init(0, data())
    for wrong in (np.zeros(3), "text", state._flat + 1j, state.params | {"up.bias": None}, None):
        with pytest.raises(DataError):
            program.hvp(state, wrong, data())
        if not isinstance(wrong, dict):
            with pytest.raises(DataError):
                program.unravel(wrong)


def test_optimizers_are_checked_before_anything_is_compiled(program):
    with pytest.raises(OptionError, match="match no parameter"):
        fit(program, data(), steps=1, optimizer={"*": SGD(0.1), "none": None})
