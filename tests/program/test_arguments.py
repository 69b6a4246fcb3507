"""Malformed arguments are one ppl error at the call, before anything is compiled, that names the argument."""

import numpy as np
import pytest

import ppl
from ppl.errors import DataError, EstimatorError, ModelError, NonFiniteError, OptionError, PplError
from tests.program.programs import toy_program, units_program

X = np.random.default_rng(0).normal(size=(5, 3))


@pytest.fixture
def untouched(monkeypatch):
    """Nothing may be compiled."""
    from ppl.runtime import executable

    def refuse(*arguments, **options):
        raise AssertionError("compiled")

    monkeypatch.setattr(executable, "compile_request", refuse)


def fit(**options):
    return ppl.fit(units_fresh(), X, **{"steps": 1, "optimizer": ppl.optim.SGD(0.1), "progress": False, **options})


def units_fresh():
    """A program that has compiled nothing."""
    from tests.program.programs import units

    return ppl.compile(units, dtype="float64", data=X)


FIT = {
    "state": [3, "x", {}, object()],
    "hyper": [3, "x", [1], {"beta": 1.0}, {1: 2}],
    "seed": [1.5, "x", None, True, 2**70, [1]],
    "total_rows": [9.0, "x", 0, -1, 3, True, 2**70, {"dta": 9}, [9]],
    "callback": [3, "x", []],
    "checkpoint": [3, "", (), ("a", 0), ("a", 1.5), ("a",)],
    "batch_size": [0, -1, 2.0, "x", True],
    "steps": [-1, 1.5, "x", True, 2**70],
    "progress": [1, "yes", None],
    "optimizer": [None, 3, "sgd", {}, {"none": ppl.optim.SGD(0.1)}, {"*": 3}, {1: None}, ppl.optim.SGD],
    "validation": [3, "x", (X, X), [None]],
}


@pytest.mark.parametrize(("name", "value"), [(k, v) for k, values in FIT.items() for v in values])
def test_fit_names_the_argument(untouched, name, value):
    with pytest.raises(PplError):
        fit(**{name: value})


def test_an_unmatched_glob_is_found_before_compiling(untouched):
    with pytest.raises(OptionError, match=r"optimizer groups \['none\*'\] match no parameter"):
        fit(optimizer={"none*": ppl.optim.SGD(0.1), "*": None})


CALL = {
    "seed": [1.5, "x", True, 2**70, [1], np.array([1])],
    "particles": [0, -1, 1.5, "x", True],
    "total_rows": [9.0, "x", 3, 2**70],
    "rows": [-1, 1.5, "x", True, 2**70, [[1], [2, 3]], slice("a", None), slice(0, 5, 0), {"dta": 0}],
    "hyper": [3, "x", [1], {"beta": 1.0}],
    "nonfinite": [None, True, "maybe", 0],
}


@pytest.mark.parametrize(("name", "value"), [(k, v) for k, values in CALL.items() for v in values])
def test_calls_name_the_argument(name, value):
    program = units_program("score")
    state = program.init(0, X)
    for call in (program.value, program.value_and_grad, program.step):
        with pytest.raises(DataError, match=name):
            call(state, X, **{name: value})


def test_numpy_numbers_are_numbers():
    program = units_program("score")
    state = program.init(np.int64(0), X)
    plain = program.value(state, X, seed=3, rows=2, total_rows=10)
    assert program.value(state, X, seed=np.int32(3), rows=np.int64(2), total_rows=np.uint8(10)) == plain


@pytest.mark.parametrize("name", ["value", "value_and_grad", "step", "sample", "params", "ravel", "arrays"])
def test_what_is_no_state_is_named(name):
    for wrong in (None, 3, {}, "x", np.zeros(3)):
        with pytest.raises(DataError, match="is a State"):
            getattr(toy_program(), name)(wrong)


def test_rows_options_need_rows():
    state = toy_program().init(0)
    for options in ({"rows": 3}, {"total_rows": 9}):
        with pytest.raises(DataError, match=r"needs data that a ppl\.plate opens"):
            toy_program().value(state, **options)


def test_a_learned_baseline_needs_a_cost():
    @ppl.model
    def idle():
        ppl.sample("b", ppl.Bernoulli(logits=ppl.param("t", 0.3)))
        ppl.cost("c", ppl.param("u", 0.1) ** 2)

    with pytest.raises(EstimatorError, match=r"'b'.*learned baseline follows downstream costs, and there are none"):
        ppl.compile(idle, {"b": ppl.estimators.ScoreFunction("learned")})


MODELS = {
    "param init": lambda: ppl.param("p", "x"),
    "param shape": lambda: ppl.param("p", 0.0, shape=1.5),
    "param constraint": lambda: ppl.param("p", 0.0, constraint=["positive"]),
    "dense units": lambda: ppl.dense("d", np.ones(3), 2.5),
    "dense activation": lambda: ppl.dense("d", np.ones(3), 2, activation=[]),
    "hyper default": lambda: ppl.hyper("h", None),
    "external dtype": lambda: ppl.external(np.sin, 1.0, dtype="nonsense"),
    "external shape": lambda: ppl.external(np.sin, 1.0, shape=None),
    "slice": lambda: ppl.constant(np.ones(3))[slice("a", None)],
    "ragged": lambda: ppl.constant([[1], [2, 3]]),
    "collect": lambda: ppl.collect(1.0, [1]),
    "softmax axis": lambda: ppl.softmax(np.ones(3), axis=7),
    "one_hot": lambda: ppl.one_hot(1, None),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_language_names_line_and_argument(name):
    @ppl.model
    def wrong():
        MODELS[name]()
        ppl.cost("c", ppl.param("w", 0.0))

    with pytest.raises(ModelError, match=r"\n  at test_arguments.py"):
        ppl.compile(wrong)


def test_errors_of_the_users_own_functions_pass_through():
    class Mine(Exception):
        pass

    def raising(*arguments):
        raise Mine

    program = toy_program()
    with pytest.raises(Mine):
        ppl.fit(program, steps=1, optimizer=ppl.optim.SGD(0.1), progress=False, callback=raising)

    @ppl.model
    def wrong():
        raising()

    with pytest.raises(Mine):
        ppl.compile(wrong)


@ppl.model
def steep(x):
    """Its gradient is infinite at x = 0, where its loss is 0."""
    with ppl.plate("data", x) as x:
        w = ppl.param("w", 1.0)
        ppl.cost("c", ppl.deterministic("root", np.sqrt(np.abs(x * w))))


@pytest.fixture(scope="module")
def steep_program():
    return ppl.compile(steep, dtype="float64", data=np.ones(2))


def test_a_gradient_that_is_not_finite_is_named(steep_program):
    state, x = steep_program.init(0, params={"w": 0.0}), np.array([1.0, 2.0])
    assert steep_program.value(state, x) == 0.0
    for call in (steep_program.value_and_grad, steep_program.step):
        with pytest.raises(NonFiniteError, match=r"gradient with respect to 'w' is not finite.*nonfinite=\"keep\""):
            call(state, x)
        assert not np.isfinite(call(state, x, nonfinite="keep")[1]["w"])
    with pytest.raises(NonFiniteError, match="the gradient is not finite"):
        steep_program.update(state, x, optimizer=ppl.optim.SGD(0.1))


def test_a_loss_that_is_not_finite_is_named_with_its_row(steep_program):
    state, x = steep_program.init(0), np.array([1.0, np.inf, 2.0])
    with pytest.raises(NonFiniteError, match=r"the loss is inf\. First: data argument 'x' is inf in row 1 of 'data'"):
        steep_program.value(state, x)
    with pytest.raises(NonFiniteError, match="the loss of row 1 is inf"):
        steep_program.value(state, x, per_row=True)
    assert steep_program.value(state, x, nonfinite="keep") == np.inf
    with pytest.raises(NonFiniteError, match=r"'root' is inf at \(1,\)") as caught:
        steep_program.sample(state, x)
    assert caught.value.node == "root"
    assert steep_program.sample(state, x, nonfinite="keep")["root"][1] == np.inf


class Unshowable:
    """What cannot be printed."""

    def __repr__(self):
        raise RuntimeError("no repr")


UNSHOWABLE = {
    "compile": lambda v: ppl.compile(v),
    "estimators": lambda v: ppl.compile(units_fresh().objective, v, data=X),
    "estimators by name": lambda v: ppl.compile(units_fresh().objective, {"b": v}, data=X),
    "elbo": lambda v: ppl.elbo(v, v),
    "nce": lambda v: ppl.nce(v, v, v),
    "Normal": lambda v: ppl.Normal(v, 1.0),
    "Truncated": lambda v: ppl.Truncated(v, 0.0, 1.0),
    "LKJCholesky": lambda v: ppl.LKJCholesky(v),
    "optimizer": lambda v: ppl.fit(units_fresh(), X, steps=1, optimizer=v),
    "estimators of a state": lambda v: units_fresh().init(0).replace(estimators=v),
    "spec": lambda v: ppl.spec((3,), v),
    "schedule": lambda v: ppl.optim.piecewise(v, [1.0]),
}


@pytest.mark.parametrize("call", UNSHOWABLE)
def test_what_cannot_be_printed_is_refused_like_anything_else(untouched, call):
    with pytest.raises(PplError, match=r"Unshowable|not a dtype"):
        UNSHOWABLE[call](Unshowable())


def test_long_values_are_cut_short_in_messages():
    with pytest.raises(PplError) as caught:
        ppl.compile(units_fresh().objective, list(range(100_000)), data=X)
    assert len(str(caught.value)) < 300
