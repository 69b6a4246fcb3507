"""Gradient statistics against closed forms, in the interpreter and compiled; programs side by side."""

import numpy as np
import pytest

import ppl
from ppl.choosing.frozen_steps import FrozenSteps
from ppl.compiler.plan.plan import pareto_frontier
from ppl.errors import DataError, EstimatorError, OptionError
from ppl.estimators import Enumerate, ScoreFunction
from ppl.inference import gradient_samples as repeats_module
from ppl.inference.gradient_samples import GradientMoments, GradientSamples
from ppl.runtime.call import Call
from tests.program.programs import data, mixed_program, toy, toy_program, units, units_program


def toy_score(logit=0.3, target=0.499):
    """Mean and variance of the plain score-function gradient of `toy`."""
    p = 1 / (1 + np.exp(-logit))
    one, zero = (1 - target) ** 2 * (1 - p), -(target**2) * p
    mean = p * one + (1 - p) * zero
    return mean, p * one**2 + (1 - p) * zero**2 - mean**2


def test_closed_form_of_the_plain_score_function():
    program = ppl.compile(toy, ScoreFunction(), dtype="float64")
    found = program.diagnose(program.init(0), repeats=50_000, timing=False)
    mean, variance = toy_score()
    g = found["logit"]
    assert abs(g.mean - mean) <= 5 * g.standard_error
    assert abs(g.trace - variance) <= 5 * g.trace_error and g.trace_error < 0.02 * variance
    assert g.standard_error == pytest.approx(np.sqrt(variance / 50_000), rel=0.05)
    assert g.snr == pytest.approx(abs(mean) / np.sqrt(variance), abs=0.03)
    assert found.seconds is None and found.repeats == 50_000


def test_no_variance_where_everything_is_summed():
    program = units_program("enumerate")
    x = data(3)
    found = program.diagnose(program.init(0, x), x, repeats=10, timing=False)
    assert found.total.trace < 1e-20
    _, grads = program.value_and_grad(program.init(0, x), x)
    for name, g in grads.items():
        np.testing.assert_allclose(found[name].mean, g, rtol=1e-12)


@pytest.mark.parametrize("total_rows", [None, 40])
def test_compiled_repeats_are_the_interpreters(total_rows):
    program, x = mixed_program(), data(5)
    state = program.init(0, x)
    options = {"repeats": 40, "seed": 3, "particles": 3, "total_rows": total_rows, "timing": False}
    one = program.diagnose(state, x, **options, backend="interpreter")
    two = program.diagnose(state, x, **options, backend="compiled")
    assert (one.backend, two.backend) == ("interpreter", "compiled")
    assert two.loss == pytest.approx(one.loss)
    for name in one:
        np.testing.assert_allclose(two[name].mean, one[name].mean, rtol=1e-9)
        np.testing.assert_allclose(two[name].variance, one[name].variance, rtol=1e-9)


def test_repeats_average_to_many_particles():
    """Repeats are independent: their mean and variance are those of calls with different seeds."""
    program, x = units_program("rebar"), data(3)
    state = program.init(0, x)
    found = program.diagnose(state, x, repeats=20_000, timing=False)
    calls = [program.value_and_grad(state, x, seed=s)[1] for s in range(3000)]
    for name in found:
        g = np.array([c[name] for c in calls])
        error = np.sqrt(g.var(0) / len(g) + found[name].standard_error ** 2)
        assert np.all(abs(g.mean(0) - found[name].mean) <= 5 * error)
        np.testing.assert_allclose(found[name].variance, g.var(0), rtol=0.25)


def test_memory_is_bounded_by_chunks(monkeypatch):
    program, x = mixed_program(), data(5)
    state = program.init(0, x)
    monkeypatch.setattr(repeats_module, "INTERPRETED_ENTRIES", 600)
    source = GradientSamples(program, Call(state, (x,)))
    chunks = list(source(50))
    assert len(chunks) > 3 and sum(len(c["loss"]) for c in chunks) == 50
    moments = GradientMoments()
    for chunk in chunks:
        moments.add(chunk)
    for name in moments.parameters:
        joined = np.concatenate([c[f"grad {name}"] for c in chunks])
        g = moments.gradient(f"grad {name}")
        np.testing.assert_allclose(g.mean, joined.mean(0), rtol=1e-12)
        np.testing.assert_allclose(g.variance, joined.var(0, ddof=1), rtol=1e-9)
        assert g.trace == pytest.approx(joined.var(0, ddof=1).sum())
    assert len(np.unique(np.concatenate([c["loss"] for c in chunks]))) == 50


def test_prints_and_indexes():
    program = toy_program()
    found = program.diagnose(program.init(0), repeats=100)
    text = str(found)
    assert "logit" in text and "signal/noise" in text and "per step" in text
    assert list(found) == ["logit"] and len(found) == 1 and found.seconds > 0


def test_seconds_are_those_of_a_step_in_fit(monkeypatch):
    program = toy_program()
    state = program.init(0)
    monkeypatch.setattr(FrozenSteps, "seconds", lambda steps: 123.0)
    assert program.diagnose(state, repeats=2).seconds == 123.0
    assert program.diagnose(state, repeats=2, particles=2).seconds < 123.0


def test_a_program_without_parameters_is_refused():
    @ppl.model
    def constant():
        ppl.cost("square", ppl.sample("z", ppl.Normal(0.0, 1.0)) ** 2)

    program = ppl.compile(constant)
    with pytest.raises(OptionError, match="no parameters"):
        program.diagnose(program.init(0))


def test_same_seed_same_numbers():
    program = toy_program()
    state = program.init(0)
    one, two, other = (program.diagnose(state, repeats=50, seed=s, timing=False) for s in (1, 1, 2))
    assert one["logit"].trace == two["logit"].trace != other["logit"].trace


def test_bad_options():
    program = toy_program()
    state = program.init(0)
    with pytest.raises(OptionError, match="repeats"):
        program.diagnose(state, repeats=1)
    with pytest.raises(OptionError, match="backend"):
        program.diagnose(state, backend="gpu")
    leave = units_program("leave one out")
    with pytest.raises(EstimatorError, match="leave-one-out"):
        leave.diagnose(leave.init(0, data()), data(), particles=1)


def test_compare_ranks_by_variance_times_seconds():
    plain = ppl.compile(toy, ScoreFunction(), dtype="float64")
    programs = {
        "plain": plain,
        "moving": ppl.compile(toy, ScoreFunction("moving_average"), dtype="float64"),
        "exact": ppl.compile(toy, Enumerate(), dtype="float64"),
    }
    found = ppl.compare(programs, plain.init(0), repeats=2000)
    assert list(found) == list(programs) and found.best == "exact"
    assert found["moving"].total.trace < 0.5 * found["plain"].total.trace  # its baseline was warmed up
    assert found.cost["plain"] == found["plain"].total.trace * found["plain"].seconds
    assert all(label in found.table() for label in programs)


def test_compare_keeps_parameters_and_refuses_others():
    x = data(4)
    program = units_program("score")
    state = program.init(0, x)
    with pytest.raises(DataError, match=r"the parameters differ: the state has .* the program with these data has"):
        ppl.compare({"a": toy_program()}, state)
    for wrong in ({}, [program]):
        with pytest.raises(OptionError, match=r"at least one program by label, \{label: program\}"):
            ppl.compare(wrong, state)
    moved = state.replace(params={k: v + 0.5 for k, v in state.params.items()})
    exact = ppl.compile(units, Enumerate(), dtype="float64", data=x)
    found = ppl.compare({"exact": exact}, moved, x, repeats=2)
    np.testing.assert_allclose(
        found["exact"]["w"].mean, exact.value_and_grad(exact.init(0, x).replace(params=moved.params), x)[1]["w"]
    )


def test_compare_plots():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    program = toy_program()
    axes = ppl.compare({"rebar": program}, program.init(0), repeats=20, warmup=2).plot()
    assert [t.get_text() for t in axes.texts] == ["rebar"]
    two = ppl.compare({"one": program, "same": program}, program.init(0), repeats=20, warmup=2).plot()
    assert any(line.get_linestyle() == "--" for line in two.lines)


def test_the_frontier_holds_what_no_other_beats_in_both():
    rng = np.random.default_rng(0)
    for size in [0, 1, 2, *rng.integers(3, 9, 60)]:
        points = [(int(a), int(b)) for a, b in rng.integers(0, 7, (size, 2))]
        kept = [points[i] for i in pareto_frontier(points)]
        unbeaten = {p for p in points if not any(q != p and q[0] <= p[0] and q[1] <= p[1] for q in points)}
        assert kept == sorted(unbeaten)
