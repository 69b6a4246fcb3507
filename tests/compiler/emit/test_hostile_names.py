"""Names of every kind that no identifier is, or that emitted code uses itself: values and gradients are NumPy's."""

import keyword
import re
import subprocess
import types
from functools import partial

import numba
import numpy as np
import pytest

import ppl
import ppl.random
from ppl import Normal
from ppl.compiler.lower.sizes import value_stem
from ppl.estimators import ScoreFunction
from tests.program.test_c_library import compiler

HOSTILE = ("1st_layer", "é", "²", "class", "_1", "a b", "a_b", "\n")

MORE = (
    *HOSTILE, "1", "{0}", "w_1", "2.5", "1_1", "٣", "None", "_", "__", "__name__", "'", '"""', "\\", "%s", "*/", "\x00",
    "x", "grad", "n_data", "t0", "range", "long" * 100,
)  # fmt: skip

X = np.random.default_rng(0).normal(size=5)

N = len(HOSTILE)


@pytest.mark.tiny
@pytest.mark.parametrize("name", MORE)
def test_a_stem_begins_an_identifier(name):
    assert f"{value_stem(name)}_1".isidentifier() and not keyword.iskeyword(f"{value_stem(name)}_1")


def renamed(function, name):
    """A compiled copy of a function, under another name."""
    copy = types.FunctionType(function.__code__, globals(), name)
    copy.__name__ = copy.__qualname__ = name
    return numba.njit(copy)


def double(a):
    return 2.0 * a


def slope(a, g):
    return (2.0 * g,)


def drawn(key, a):
    return 2.0 * a, ppl.random.uniform(key, 0)


def declare(x, i, name):
    """Everything that has a name, once; its cost is (p + h) x + 2 p + u + 2 + z, with draws u and z."""
    p, h = ppl.param(name, 1.0 + i), ppl.hyper(f"{name}h", 0.5 * i)
    with ppl.scope(name):
        z = ppl.sample(name, Normal(0.0, 1.0))
    d = ppl.deterministic(name, p * x)
    called = ppl.external(DOUBLE, p, gradient=SLOPE, name=name)
    both = ppl.external(KEYED, 1.0, key=True, name=f"{name}k", outputs={name: ppl.spec(()), "u": ppl.spec(())})
    ppl.deterministic(f"{name}u", both["u"])
    ppl.cost(f"{name}c", d + h * x + called + both[name] + both["u"] + z)


DOUBLE, SLOPE, KEYED = numba.njit(double), numba.njit(slope), numba.njit(drawn)

PLACES = np.arange(N)


def check(program, data, x):
    state = program.init(0)
    found = program.sample(state, *data, seed=3)
    draws = sum(np.sum(found[f"{n}/{n}"]) + np.sum(found[f"{n}u"]) for n in HOSTILE)
    for i, name in enumerate(HOSTILE):
        np.testing.assert_allclose(found[name], (1.0 + i) * x, rtol=1e-12)
    still = np.sum((1.0 + PLACES)[:, None] * (x + 2) + 2)
    loss, grads = program.value_and_grad(state, *data, seed=3)
    assert loss == pytest.approx(still + draws + np.sum(0.5 * PLACES) * np.sum(x), rel=1e-10)
    without = {f"{name}h": 0.0 for name in HOSTILE}
    assert program.value(state, *data, seed=3, hyper=without) == pytest.approx(still + draws, rel=1e-10)
    for name in HOSTILE:
        assert grads[name] == pytest.approx(np.sum(x + 2.0), rel=1e-10)
    fit = ppl.fit(program, *data, steps=1, optimizer=ppl.optim.SGD(0.1), progress=False)
    for i, name in enumerate(HOSTILE):
        assert fit.state.params[name] == pytest.approx(1.0 + i - 0.1 * np.mean(x + 2.0), rel=1e-9)


def test_in_rows(tmp_path):
    @ppl.model
    def model(x):
        with ppl.plate("data", x) as x:
            for i, name in enumerate(HOSTILE):
                declare(x, i, name)

    program = ppl.compile(model, dtype="float64", data=X)
    check(program, (X,), X)
    header = program.cfunc().header(tmp_path / "hostile.h")
    done = subprocess.run([*compiler("c"), "-x", "c", "-fsyntax-only", str(header)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_without_rows():
    @ppl.model
    def model():
        for i, name in enumerate(HOSTILE):
            declare(1.5, i, name)

    check(ppl.compile(model, dtype="float64"), (), np.array([1.5]))


def step(name, slope, more, c, t):
    ppl.cost(name, slope * c)
    return c + more, None


def test_plates_loops_and_carried_values():
    w = np.random.default_rng(1).normal(size=(N, 3))

    @ppl.model
    def model():
        p = ppl.param("p", 0.5)
        for i, name in enumerate(HOSTILE):
            kept = ppl.carried(name, 0.1 * i)
            ppl.carry(name, kept + 1.0)
            with ppl.plate(name, w[i]) as x:
                last, _ = ppl.scan(partial(step, f"{name}c", p * x, kept), 1.0, length=2, name=name)
                ppl.cost(f"{name}d", last * x)

    program = ppl.compile(model, dtype="float64")
    loss, grads, state = program.step(program.init(0))
    kept = 0.1 * PLACES[:, None]
    assert loss == pytest.approx(np.sum(w * (0.5 * (2.0 + kept) + 1.0 + 2 * kept)), rel=1e-10)
    assert grads["p"] == pytest.approx(np.sum(w * (2.0 + kept)), rel=1e-10)
    for i, name in enumerate(HOSTILE):
        assert state.aux[name] == pytest.approx(0.1 * i + 1.0)


def test_functions():
    """Numba takes such names as well."""
    names = ("1st", "2nd", "a b", "a_b", "é", "class", "<lambda>", "%s", "{0}", "uniform", "np")

    @ppl.model
    def model(x):
        p = ppl.param("p", 0.5)
        with ppl.plate("data", x) as x:
            for i, name in enumerate(names):
                found = ppl.external(renamed(double, name), p + i * x, gradient=renamed(slope, name))
                ppl.cost(f"c{i}", found * x)

    program = ppl.compile(model, dtype="float64", data=X)
    loss, grads = program.value_and_grad(program.init(0), X)
    places = np.arange(len(names))[:, None]
    assert loss == pytest.approx(np.sum(2 * (0.5 + places * X) * X), rel=1e-10)
    assert grads["p"] == pytest.approx(np.sum(2 * X) * len(names), rel=1e-10)


def test_plates_of_data_and_arguments():
    """Arguments have names of Python, which may begin as any other local does, or with no letter of ASCII."""
    arguments = ("é", "ü", "_", "__", "w", "v", "x", "x_x", "out", "params", "grad", "n_data", "row0", "serial", "_1")
    plates = MORE[: len(arguments)]
    lines = [f"def model({', '.join(arguments)}):", "    p = ppl.param('p', 0.5)"]
    for i, (argument, plate) in enumerate(zip(arguments, plates, strict=True)):
        lines += [
            f"    with ppl.plate({plate!r}, {argument}) as row:",
            f"        ppl.cost('c{i}', p * row * {i + 1}.0)",
        ]
    scope = {"ppl": ppl}
    exec("\n".join(lines), scope)
    data = [X[: i % 4 + 2] for i in range(len(arguments))]
    program = ppl.compile(ppl.model(scope["model"]), dtype="float64", data=tuple(data))
    state = program.init(0)
    wanted = sum((i + 1) * x.sum() for i, x in enumerate(data))
    loss, grads = program.value_and_grad(state, *data)
    assert (loss, grads["p"]) == (pytest.approx(0.5 * wanted, rel=1e-10), pytest.approx(wanted, rel=1e-10))
    assert program.cfunc().signature.count("data_") == len(arguments)


def test_names_that_emitted_code_uses_itself():
    """Every identifier of a program's source, as the name of a parameter of the same program."""

    def model_of(names):
        @ppl.model
        def model(x):
            with ppl.plate("data", x) as x:
                total = sum(ppl.param(name, 1.0 + i) for i, name in enumerate(names))
                z = ppl.sample("z", Normal(total, 1.0))
                ppl.cost("c", np.sum(np.tanh(ppl.external(KEYED, z, key=True, outputs=BOTH)["a"])) * x)

        return ppl.compile(model, ScoreFunction(), dtype="float64", data=X)

    plain = model_of([f"p{i}" for i in range(3)])
    source = plain.prepare(X).executable("gradient").source
    found = {re.sub(r"_\d+$", "", name) for name in re.findall(r"[A-Za-z_]\w*", source)}
    names = sorted(found - {"z", "c", "data"})
    assert len(names) > 50
    program = model_of(names)
    state, wanted = program.init(0), np.arange(1.0, len(names) + 1).sum()
    z = program.sample(state, X, seed=1)["z"]
    loss, grads = program.value_and_grad(state, X, seed=1)
    cost = np.tanh(2 * z) * X
    assert loss == pytest.approx(np.sum(cost), rel=1e-10)
    for name in names:
        assert grads[name] == pytest.approx(np.sum(cost * (z - wanted)), rel=1e-9)


BOTH = {"a": ppl.spec(()), "u": ppl.spec(())}
