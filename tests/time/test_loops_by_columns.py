"""Loops whose carries, stacks and particles lie column by column: what they are written out, and by the interpreter.

37 rows in tiles of 16, so that the last tile is shorter than the others.
"""

import numpy as np
import pytest

import ppl
from ppl.estimators import Rebar, ScoreFunction
from tests.compiler import graphs
from tests.compiler.schedule.test_columns import columns_of
from tests.time.test_written_out import written_out

RNG = np.random.default_rng(0)
ROWS = 37
MIXING = RNG.normal(size=(4, 4)) * 0.3
CASES = {}


def case(particles=(1,), **options):
    """Register the body of a loop: what makes `(step, initial carry, xs, length)` of a row."""

    def register(make):
        CASES.update({f"{make.__name__}-{k}": (make, {"particles": k, **options}) for k in particles})
        return make

    return register


def _model(make, width):
    @ppl.model
    def model(x):
        with ppl.plate("data", x) as x:
            step, init, options = make(x)
            end, ys = ppl.scan(step, init, **options)
            leaves = end if isinstance(end, tuple) else (end,)
            ppl.cost("end", sum((v * v).sum() for v in leaves) + (0.0 if ys is None else 0.1 * np.sum(ys)))

    return model, (RNG.normal(size=(ROWS, width)),)


@case(particles=(2, 3, 4, 5, 7), estimators=ScoreFunction("leave_one_out"))
def steps_up_or_down(x):
    w = ppl.param("w", 0.4)

    def step(at, t):
        up = ppl.sample("up", ppl.Bernoulli(logits=at * w))
        ppl.cost("far", np.exp(0.1 * at * up))
        return 0.9 * at + (0.1 * up - 0.05), at * up

    return step, x[0], {"length": 6}


@case(particles=(1, 3, 4))
def rotates(x):
    """Each entry of the next carry reads another one of the last."""
    a = ppl.param("a", [0.3, -0.2, 0.5])

    def step(at, t):
        z = ppl.sample("z", ppl.Normal(at[::-1] * a, 0.3))
        ppl.cost("c", np.tanh(z * at).sum())
        return np.stack([z[1], z[2], at[0]]), z

    return step, x, {"length": 5}


@case(particles=(1, 4))
def two_carries(x):
    """One carry is the other one of the step before; a small matrix multiplies them."""
    m = ppl.param("m", MIXING)

    def step(carry, u):
        v, w = carry
        z = ppl.sample("z", ppl.Normal(v @ m + u, 1.0))
        ppl.cost("c", (np.exp(0.1 * z) * w).sum())
        return (z, v), z.sum()

    return step, (x, 0.5 * x), {"xs": np.linspace(-1, 1, 6)}


@case(particles=(1, 3), estimators=Rebar(), max_copies=16)
def in_pairs(x):
    w = ppl.param("w", [0.1, 0.2, -0.3])

    def step(at, t):
        b = ppl.sample("b", ppl.Bernoulli(logits=at + w))
        ppl.cost("c", ((b - 0.4) ** 2 * np.exp(0.1 * at)).sum())
        return 0.5 * at, None

    return step, x, {"length": 3}


@case(particles=(1, 4), estimators=ScoreFunction("leave_one_out"))
def backwards(x):
    w = ppl.param("w", 0.4)

    def step(at, u):
        k = ppl.sample("k", ppl.Poisson(np.exp(0.1 * at * w)))
        ppl.cost("c", np.sin(k + at))
        return 0.5 * at + 0.1 * k, k

    return step, x[0], {"xs": np.linspace(0, 1, 4), "reverse": True}


@case(particles=(3, 4), estimators=ScoreFunction("leave_one_out"))
def stops(x):
    w = ppl.param("w", 0.4)

    def step(at, t):
        up = ppl.sample("up", ppl.Bernoulli(logits=at * w))
        ppl.cost("c", np.exp(0.2 * at) * up)
        return at + up, at

    return step, x[0], {"length": 6, "until": lambda at: at > 2.0}


@case(particles=(1, 3))
def loops_inside(x):
    a = ppl.param("a", 0.6)

    def step(at, t):
        def inner(z, s):
            z = np.tanh(a * z + 0.1 * ppl.sample("e", ppl.Normal(np.zeros(3), 1.0)))
            return z, z.sum()

        z, found = ppl.scan(inner, at, length=3, name="inner")
        ppl.cost("c", (z * z).sum() + 0.1 * found.sum())
        return 0.5 * (z + at), None

    return step, x, {"length": 4}


def _made(name):
    make, options = CASES[name]
    options = dict(options)
    if options["particles"] == 1 and "estimators" in options and not isinstance(options["estimators"], Rebar):
        options["estimators"] = ScoreFunction()
    model, data = _model(make, 4 if make is two_carries else 3)
    return model, data, options


@pytest.mark.parametrize("name", CASES)
def test_steps_are_those_of_the_loop_written_out(name, monkeypatch):
    if "stops" in name:
        pytest.skip("rows that stop are compared with the interpreter")
    graphs.assume(monkeypatch, buffers={"tile_rows": 16, "noise_block": 1})
    model, data, options = _made(name)
    looped = ppl.compile(model, dtype="float64", data=data, **options)
    flat = written_out(monkeypatch, model, data, options)
    (loss, grads, _), (other, wanted, _) = (p.step(p.init(0, *data), *data, seed=3) for p in (looped, flat))
    assert loss == pytest.approx(other, rel=1e-10)
    for key, grad in grads.items():
        np.testing.assert_allclose(grad, wanted[key], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", CASES)
def test_steps_are_those_of_the_interpreter(name, monkeypatch):
    graphs.assume(monkeypatch, buffers={"tile_rows": 16, "noise_block": 1})
    model, data, options = _made(name)
    program = ppl.compile(model, dtype="float64", data=data, **options)
    state = program.init(0, *data)
    found, again = (
        program.diagnose(state, *data, repeats=2, timing=False, backend=kind, seed=3)
        for kind in ("interpreter", "compiled")
    )
    for key in state.params:
        np.testing.assert_allclose(found[key].mean, again[key].mean, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("remat", [None, 2])
def test_what_is_computed_again_is_the_same(remat, monkeypatch):
    graphs.assume(monkeypatch, buffers={"tile_rows": 16, "noise_block": 1})

    def model_of(remat):
        @ppl.model
        def model(x):
            with ppl.plate("data", x) as x:
                step, init, options = rotates(x)
                end, ys = ppl.scan(step, init, **options, remat=remat)
                ppl.cost("end", (end * end).sum() + 0.1 * np.sum(ys))

        return model

    _, data, _ = _made("rotates-4")
    results = []
    for each in (remat, "auto"):
        program = ppl.compile(model_of(each), dtype="float64", data=data, particles=4)
        results.append(program.step(program.init(0, *data), *data, seed=3))
    assert results[0][0] == results[1][0]
    np.testing.assert_array_equal(results[0][1]["a"], results[1][1]["a"])


def test_loops_with_few_particles_have_columns():
    """Carries and stacks of four particles, and of vectors of three entries; none where one entry is all."""
    for name, wanted in {"steps_up_or_down-4": True, "rotates-1": True, "steps_up_or_down-2": False}.items():
        model, data, options = _made(name)
        assert bool(columns_of(ppl.compile(model, dtype="float64", data=data, **options))) == wanted, name
