"""Loops with `until`: gradients where rows stop early, against the same loops in plain NumPy."""

import numpy as np
import pytest

import ppl
from ppl.estimators import DisARM, Enumerate, MeasureValued, ScoreFunction
from ppl.runtime.executable import Executable

Q = np.array([0.1, 0.2, 0.3, -0.4, 0.5, 0.15, -0.2])
RNG = np.random.default_rng(3)
W = np.array([0.4, -0.7])


def soft(x):
    e = np.exp(x - np.max(x))
    return e / np.sum(e)


def row_loss(q, w, ys, reverse=False, nested=False):
    """The loss of one row of `model`, in plain NumPy."""
    total, c, inner = 0.0, w[0] + ys[0], 0.0
    order = range(len(q))[::-1] if reverse else range(len(q))
    for t in order:
        if c > 1.0:
            break
        parts = soft(np.array([q[t] * ys[t], c, w[1]]))
        if nested:
            d = 0.2 * c
            for k in range(4):
                if d > 0.6:
                    break
                inside = soft(np.array([d, q[t] * k]))
                total += inside[0] ** 2
                d = d + 0.3 * inside[1] + 0.1
            inner += d
        total += np.sum(parts**2) * (1 + ys[t])
        c = c + 0.3 + parts[1]
    return total + c**2 + inner


def losses(values, ys, **options):
    """The loss of all rows and its gradient, by central differences row by row."""

    def loss(flat):
        return np.array([row_loss(flat[: len(Q)], flat[len(Q) :], y, **options) for y in ys])

    flat, h = np.concatenate(values), 1e-6
    eye = np.eye(len(flat)) * h
    return np.sum(loss(flat)), np.array([np.sum(loss(flat + e) - loss(flat - e)) / (2 * h) for e in eye])


def inner_loop(c, qt):
    """A loop in a step, which stops early."""

    def step(d, k):
        inside = ppl.softmax(np.stack([d, qt * k]))
        ppl.cost("inside", inside[0] ** 2)
        return d + 0.3 * inside[1] + 0.1, None

    return ppl.scan(step, 0.2 * c, length=4, name="inner", until=lambda d: d > 0.6)[0]


def model(rows, reverse=False, nested=False, remat="auto"):
    """Rows that stop early (or one, without a plate), of a step with a softmax."""

    @ppl.model
    def stopping(y):
        q, w = ppl.param("q", Q), ppl.param("w", W)

        def row(y):
            def step(carry, x):
                c, inner = carry
                qt, yt = x
                parts = ppl.softmax(np.stack([qt * yt, c, w[1] + 0.0 * c]))
                if nested:
                    inner = inner + inner_loop(c, qt)
                ppl.cost("c", np.sum(parts**2) * (1 + yt))
                return (c + 0.3 + parts[1], inner), None

            start = w[0] + y[0], 0.0
            found, _ = ppl.scan(step, start, (q, y), reverse=reverse, until=lambda c: c[0] > 1.0, remat=remat)
            ppl.cost("end", found[0] ** 2 + found[1])

        if rows is None:
            row(y)
        else:
            with ppl.plate("data", y) as y:
                row(y)

    return stopping


def gradient(program, data, seed=0):
    loss, grad = program.value_and_grad(program.init(0, data), data, seed=seed)
    return loss, np.concatenate([grad["q"], grad["w"]])


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("rows", "remat"), [(None, "auto"), (None, 3), (1, 1), (9, None), (9, 3)])
def test_steps_that_do_not_run_have_no_gradient(rows, reverse, nested, remat):
    data = 0.3 * RNG.normal(size=(rows or 1, len(Q)))
    options = {"reverse": reverse, "nested": nested}
    given = data[0] if rows is None else data
    program = ppl.compile(model(rows, **options, remat=remat), dtype="float64", data=given)
    wanted, slope = losses((Q, W), data, **options)
    loss, grad = gradient(program, given)
    assert loss == pytest.approx(wanted, rel=1e-12)
    np.testing.assert_allclose(grad, slope, rtol=1e-6, atol=1e-8)
    found = program.diagnose(program.init(0), given, repeats=2, timing=False, backend="interpreter")
    np.testing.assert_allclose(np.concatenate([found[k].mean for k in "qw"]), slope, rtol=1e-6, atol=1e-8)


def test_tiles_leave_at_turns_of_their_own(monkeypatch):
    """Many rows, of which whole tiles stop at once; the same bits on one thread and on two."""
    few = 0.3 * RNG.normal(size=(30, len(Q)))
    data = np.repeat(few, 100, 0)
    data[:1500, 0] = 2.0
    program, found = ppl.compile(model(len(data)), dtype="float64", data=data), []
    for count in (1, 2):
        monkeypatch.setattr(Executable, "_threads", staticmethod(lambda slabs, threads, n=count: min(slabs, n)))
        found.append(gradient(program, data))
    assert found[0][0] == found[1][0]
    np.testing.assert_array_equal(found[0][1], found[1][1])
    loss, slope = losses((Q, W), data)
    assert found[0][0] == pytest.approx(loss, rel=1e-12)
    np.testing.assert_allclose(found[0][1], slope, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize(("rows", "nested", "remat"), [(None, False, "auto"), (9, True, None),
                                                        pytest.param(9, True, 2, marks=pytest.mark.slow)])  # fmt: skip
def test_second_derivatives(rows, nested, remat):
    data = 0.3 * RNG.normal(size=(rows or 1, len(Q)))
    given = data[0] if rows is None else data
    program = ppl.compile(model(rows, nested=nested, remat=remat), dtype="float64", data=given)
    state, h = program.init(0, given), 1e-5
    vector = {"q": np.linspace(-1, 1, len(Q)), "w": np.array([0.3, -0.5])}
    moved = [state.replace(params={k: state.params[k] + e * vector[k] for k in vector}) for e in (h, -h)]
    ends = [program.value_and_grad(s, given, seed=0)[1] for s in moved]
    for key, found in program.hvp(state, vector, given, seed=0).items():
        np.testing.assert_allclose(found, (ends[0][key] - ends[1][key]) / (2 * h), rtol=1e-6, atol=1e-7)


def exact(p, inside):
    """The expected costs of `states_and_scores`, summed over all paths."""
    up = [1.0 / (1.0 + np.exp(p)), 1.0 / (1.0 + np.exp(-p))]  # of every node

    def go(t, c, first):
        if t == 3 or c > 0.9:
            return c**2
        found = 0.0
        for a in (0, 1) if inside else (first,):
            for b in (0, 1):
                weight = up[b] * (up[a] if inside else 1.0)
                found += weight * ((b - 0.3 * a) ** 2 + go(t + 1, c + a * (1.0 if inside else 0.3) + 0.6 * b, first))
        return found

    return go(0, 0.1, 0) if inside else sum(up[a] * go(0, 0.1, a) for a in (0, 1))


def states_and_scores(inside):
    """Rows stop by the states of `a`, drawn in every step or before the loop, and of `b`, drawn in every step."""

    @ppl.model
    def model():
        p = ppl.param("p", 0.4)
        first = None if inside else ppl.sample("a", ppl.Bernoulli(logits=p))

        def step(c, t):
            a = ppl.sample("a", ppl.Bernoulli(logits=p)) if inside else first
            b = ppl.sample("b", ppl.Bernoulli(logits=p))
            ppl.cost("s", (b - 0.3 * a) ** 2)
            return c + a * (1.0 if inside else 0.3) + 0.6 * b, None

        c, _ = ppl.scan(step, 0.1, length=3, until=lambda c: c > 0.9)
        ppl.cost("last", c**2)

    return model


@pytest.mark.parametrize("other", [Enumerate(), DisARM()])
@pytest.mark.parametrize("estimator", [ScoreFunction(), MeasureValued()])
@pytest.mark.parametrize("inside", [True, False])
def test_scores_of_rows_that_stop_in_some_states_of_another_node(inside, estimator, other):
    given = {"a": other, "b": estimator}
    program = ppl.compile(states_and_scores(inside), estimators=given, particles=20_000, dtype="float64", max_copies=99)
    state, h = program.init(0), 1e-6
    found = np.array([float(program.value_and_grad(state, seed=s)[1]["p"]) for s in range(16)])
    slope = (exact(0.4 + h, inside) - exact(0.4 - h, inside)) / (2 * h)
    error = found.std(ddof=1) / np.sqrt(len(found))
    assert abs(found.mean() - slope) < 4.5 * error and error < 0.01
