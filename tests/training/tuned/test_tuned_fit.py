"""`ppl.fit(tune=True)`: the choice follows the training, by variances that are right, and gradients stay unbiased."""

import numpy as np
import pytest

import ppl
from ppl import Bernoulli, Normal
from ppl.choosing import tuner
from ppl.choosing.tuner import ProgramFamily
from ppl.errors import FitError, OptionError
from ppl.estimators import Pathwise, Relaxed, ScoreFunction
from ppl.training.trainers import Trainer
from tests.ranks.fake import on_ranks
from tests.training.tuned.models import AVERAGE, X, exact, family_of, given, nothing_is_measured, rows, same, well

SGD = ppl.optim.SGD(2e-3)


def exact_variances(mu):
    """Variances of one path and of one score of `well`, by quadrature."""
    x, weights = np.polynomial.legendre.leggauss(500)
    x, weights = mu + 2 * x, 2 * weights * np.exp(-0.5 * (2 * x / 0.3) ** 2) / (0.3 * np.sqrt(2 * np.pi))
    bump = 5 * np.exp(-200 * x**2)
    path, score = x + 400 * x * bump, (0.5 * x**2 - bump) * (x - mu) / 0.3**2
    return [np.sum(weights * g**2) - np.sum(weights * g) ** 2 for g in (path, score)]


def test_the_choice_changes_where_the_better_estimator_does(monkeypatch):
    """Variances of all decisions, against quadrature: they are right on average, as is a clear choice."""
    given(monkeypatch, [{"x": ScoreFunction()}])
    program, seen = ppl.compile(well, dtype="float64"), {0: 2.0}
    fit = ppl.fit(
        program, steps=3000, optimizer=SGD, tune=True, callback=lambda t, s, _: seen.update({t: float(s.params["mu"])})
    )
    right = np.array([exact_variances(seen[d.step]) for d in fit.choices])
    ratio = fit.choices.variance / right
    assert len(fit.choices) > 12
    assert np.all(abs(ratio.mean(0) - 1) <= 4 * ratio.std(0) / np.sqrt(len(ratio)))
    assert [fit.choices[0].estimators["x"], fit.choices[-1].estimators["x"]] == [Pathwise(), ScoreFunction()]
    clear = (right.max(1) > 30 * right.min(1)) & (np.arange(len(right)) > 0)
    assert clear.sum() > 5
    assert fit.choices.taken[clear].tolist() == right.argmin(1)[clear].tolist()
    assert fit.program.explain()["x"].estimator == ScoreFunction() and fit.choices[-1].particles == 1
    assert fit.state.estimators == {"x": Pathwise()}  # it is a state of the program that was passed
    assert np.isfinite(program.value(fit.state))


def test_a_run_that_never_moves_has_the_bits_of_one_that_does_not_choose(monkeypatch):
    """Comparisons leave no trace in the training."""
    given(monkeypatch)
    program = ppl.compile(rows, {"z": Pathwise(), "b": AVERAGE}, data=X)
    monkeypatch.setattr(tuner, "best_configuration", lambda errors, seconds, current, may: current)
    options = {"epochs": 40, "batch_size": 20, "optimizer": ppl.optim.Adam(0.01)}
    tuned, plain = ppl.fit(program, X, **options, tune=True), ppl.fit(program, X, **options)
    assert len(tuned.choices) > 3 and set(tuned.choices.taken) == {0}
    same(tuned, plain._replace(choices=tuned.choices))
    assert plain.choices is None and plain.program is None and tuned.program is program


@pytest.mark.parametrize("mapped", [False, True], ids=["in memory", "mapped"])
def test_steps_on_trial_have_rows_of_their_own(mapped, monkeypatch, tmp_path):
    """Compiled loops read the numbers of rows unchecked, as many as there are steps."""
    np.save(tmp_path / "x.npy", X)
    x = np.load(tmp_path / "x.npy", mmap_mode="r") if mapped else X
    real, lengths = Trainer.run, []

    def spied(self, live, steps, rates, hypers):
        if steps.rows is not None and rates:
            lengths.append((len(steps.rows), len(rates) * steps.size))
        return real(self, live, steps, rates, hypers)

    monkeypatch.setattr(Trainer, "run", spied)
    given(monkeypatch)
    monkeypatch.setattr(tuner, "time_steps", lambda steppers: [float(stepper(50)) for stepper in steppers])
    monkeypatch.setattr(tuner, "best_configuration", lambda errors, seconds, current, may: current)
    program = ppl.compile(rows, {"z": Pathwise(), "b": AVERAGE}, data=X)
    options = {"steps": 60, "batch_size": 20, "optimizer": ppl.optim.Adam(0.01), **({"prefetch": 2} if mapped else {})}
    tuned = ppl.fit(program, x, **options, tune=True)
    assert all(given == needed for given, needed in lengths) and max(lengths)[0] == 50 * 20
    assert tuned.choices.seconds.tolist() == [50.0] * 3 and len(tuned.choices) == 2
    same(tuned, ppl.fit(program, x, **options)._replace(choices=tuned.choices))


def test_gradients_stay_unbiased_when_noise_decides(monkeypatch):
    """The first step's mean over seeds is the derivative, though each seed takes what looked better to it."""
    given(monkeypatch, [{"x": ScoreFunction()}])
    monkeypatch.setattr(tuner, "GRADIENT_PAIRS", 2)
    monkeypatch.setattr(tuner, "GRADIENT_PAIRS", 2)

    @ppl.model
    def sharp():
        x = ppl.sample("x", Normal(ppl.param("mu", 0.1), 0.3))
        ppl.cost("c", -np.exp(-6 * x**2))

    program, steps, taken = ppl.compile(sharp, dtype="float64"), [], []
    monkeypatch.setattr(
        tuner, "best_configuration", lambda errors, seconds, current, may: int(np.argmin(errors.mean(1)))
    )
    family = ProgramFamily(program, (), family_of(program, [{"x": ScoreFunction()}]))
    monkeypatch.setattr(tuner, "ProgramFamily", lambda *_: family)  # traced once
    monkeypatch.setattr(ProgramFamily, "only", lambda self, _: self)
    for seed in range(2000):
        fit = ppl.fit(program, steps=1, optimizer=ppl.optim.SGD(1.0), seed=seed, tune=True)
        steps.append(0.1 - float(fit.params["mu"]))
        taken.append(int(fit.choices.taken[0]))
    x, weights = np.polynomial.legendre.leggauss(300)
    x, weights = 0.1 + 3 * x, 3 * weights * np.exp(-0.5 * (10 * x) ** 2) / (0.3 * np.sqrt(2 * np.pi))
    slope = np.sum(weights * 12 * x * np.exp(-6 * x**2))
    assert 0.1 < np.mean(taken) < 0.9
    for which in (0, 1):  # whichever was taken, its step knows nothing of why
        found = np.array(steps)[np.array(taken) == which]
        assert abs(found.mean() - slope) <= 4 * found.std() / np.sqrt(len(found))


def test_a_baseline_is_compared_as_it_would_be_in_use():
    """After 32 gradients a moving average would lie at a quarter of its mean: what it began with is taken out."""

    @ppl.model
    def high():
        x = ppl.sample("x", Normal(ppl.param("mu", 0.0), 1.0))
        ppl.cost("c", 1000 + x)

    program = ppl.compile(high, AVERAGE, dtype="float64")
    state = program.init(0)
    fresh = frozenset(state.aux)
    found = tuner.GradientProbe(state, lambda i: tuner.Batch((), None, None, 1, False, True), None)
    (baseline,) = found.adapted(program, state, fresh).aux.values()
    assert abs(baseline - 1000) <= 5 / np.sqrt(32)


def test_biased_choices_compete_by_their_squared_error(monkeypatch):
    """The measured square of a bias is that of enumeration and quadrature; without leave they are never taken."""

    @ppl.model
    def coin():
        b = ppl.sample("b", Bernoulli(logits=ppl.param("a", 0.3)))
        ppl.cost("c", 1 + (b - 0.45) ** 4)

    members = [{"b": Relaxed(temperature=0.5)}]
    given(monkeypatch, members)
    monkeypatch.setattr(tuner, "GRADIENT_PAIRS", 400)
    monkeypatch.setattr(tuner, "GRADIENT_PAIRS", 400)
    program = ppl.compile(coin, ScoreFunction(), allow_bias=True, dtype="float64")
    fit = ppl.fit(program, steps=1, optimizer=ppl.optim.SGD(1e-9), tune=True)
    u = (np.arange(200_000) + 0.5) / 200_000
    z = (0.3 + np.log(u) - np.log1p(-u)) / 0.5
    soft = 1 / (1 + np.exp(-z))
    slopes = 4 * (soft - 0.45) ** 3 * soft * (1 - soft) / 0.5
    p = 1 / (1 + np.exp(-0.3))
    truth = p * (1 - p) * (0.55**4 - 0.45**4)
    decision = fit.choices[0]
    relaxed, score = decision.measured[1], decision.measured[0]
    bias, spread = slopes.mean() - truth, slopes.std()
    assert abs(relaxed.variance - spread**2) <= 4 * relaxed.variance_error
    noise = 2 * abs(bias) * spread / np.sqrt(800) + 2 * spread**2 / np.sqrt(400)
    assert abs(relaxed.squared_bias - bias**2) <= 4 * noise and score.squared_bias == 0
    better = spread**2 + bias**2 < score.variance
    assert decision.chosen == (relaxed if better else score)
    kept = ppl.fit(ppl.compile(coin, ScoreFunction(), dtype="float64"), steps=1, optimizer=SGD, tune=True)
    assert kept.choices[0].chosen.estimators == (("b", ScoreFunction()),)


def test_what_a_run_with_nothing_random_does(monkeypatch):
    program = ppl.compile(exact)
    fit = ppl.fit(program, steps=50, optimizer=ppl.optim.SGD(0.1), tune=True)
    same(fit, ppl.fit(program, steps=50, optimizer=ppl.optim.SGD(0.1))._replace(choices=fit.choices))
    assert len(fit.choices) == 1 and fit.choices[0].estimators == {}
    assert "no random nodes" in repr(fit.choices)


def test_callbacks_validation_and_errors_see_states_of_the_program_that_was_passed(monkeypatch):
    given(monkeypatch)
    program = ppl.compile(rows, {"z": Pathwise(), "b": AVERAGE}, data=X)
    moved = ppl.compile(rows, {"z": AVERAGE, "b": AVERAGE}, data=X)
    monkeypatch.setattr(tuner, "best_configuration", lambda errors, seconds, current, may: 1)
    states = []
    rate = ppl.optim.SGD(lambda t: 1e-4 if t < 90 else np.inf)
    with pytest.raises(FitError) as stopped:
        ppl.fit(program, X, steps=100, optimizer=rate, batch_size=20, validation=X, tune=True,
                callback=lambda t, s, m: states.append(s))  # fmt: skip
    for state in (states[0], states[-1], stopped.value.state, stopped.value.fit.state):
        assert state.estimators == program.init(0).estimators
        assert np.isfinite(program.value(state, X))
    fit = stopped.value.fit
    assert fit.program.explain().as_dict() == moved.explain().as_dict() != program.explain().as_dict()
    assert fit.history["validation"][-1] == pytest.approx(program.value(states[89], X) / len(X))
    more = ppl.fit(program, X, steps=10, batch_size=20, optimizer=SGD, state=fit.state, tune=True)
    assert more.choices[0].step == 90 and more.state.step == 100


def test_seconds_and_families_are_measured_where_nobody_gives_them(monkeypatch):
    """The whole way, with the candidates of the registry: the well's last choice is none of a path alone."""
    monkeypatch.setattr(tuner, "LEAST_SPACING", 500)
    program = ppl.compile(well)
    fit = ppl.fit(program, steps=4000, optimizer=ppl.optim.SGD(2e-3), tune=True)
    family = fit.choices.family
    assert 2 <= len(family) <= 4 and len({c.estimators for c in family}) >= 2
    assert all(fit.choices.seconds > 0) and fit.choices.probing > 0
    assert fit.choices[-1].estimators["x"] != Pathwise()
    nothing_is_measured(monkeypatch)
    same(fit, ppl.fit(program, steps=4000, optimizer=ppl.optim.SGD(2e-3), tune=fit.choices))


@pytest.mark.parametrize(
    ("tune", "message"), [("yes", "tune= is True, False, None, or"), (1, "tune= is True"), ({}, "tune= is True")]
)
def test_other_values_are_refused(tune, message):
    with pytest.raises(OptionError, match=message):
        ppl.fit(ppl.compile(exact), steps=1, optimizer=SGD, tune=tune)


def test_devices_and_several_processes_are_refused():
    with pytest.raises(OptionError, match=r"ppl\.tune before training on a GPU"):
        ppl.fit(ppl.compile(well, target="cuda"), steps=1, optimizer=SGD, tune=True)
    errors = on_ranks(2, lambda comm: ppl.fit(ppl.compile(exact).on(comm), steps=1, optimizer=SGD, tune=True))
    assert all(isinstance(e, OptionError) and "tune= is for one process" in str(e) for e in errors)


def test_choices_of_another_program_are_refused(monkeypatch):
    given(monkeypatch)
    choices = ppl.fit(ppl.compile(well), steps=1, optimizer=SGD, tune=True).choices
    for other in (ppl.compile(well, ScoreFunction()), ppl.compile(well, particles=2), ppl.compile(exact)):
        with pytest.raises(OptionError, match="they are not of this program"):
            ppl.fit(other, steps=1, optimizer=SGD, tune=choices)
