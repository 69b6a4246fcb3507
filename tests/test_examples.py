"""The scripts in examples/ run, are short, and show what they say."""

import runpy
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parent.parent / "examples"


def _main(name: str):
    return runpy.run_path(str(FOLDER / f"{name}.py"), run_name="example")["main"]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda p: p.stem)
def test_examples_are_short_and_documented(path):
    lines = path.read_text().splitlines()
    assert len(lines) <= (80 if "ppl.external(" in path.read_text() or path.stem == "large_data" else 60)
    assert lines[0].startswith('"""') and f"Run: python examples/{path.name}" in lines


def test_the_controller_learns_inside_the_simulation(capsys):
    losses, learned = _main("embed_in_simulation")()
    assert losses[-500:].mean() < 0.1 * losses[:500].mean()
    np.testing.assert_allclose(learned["w"], -1 / 1.1, atol=0.3)
    assert learned["sigma"] < 0.2 and "learned: {'w':" in capsys.readouterr().out


def test_estimators_agree_and_rank_by_variance(capsys):
    results = _main("choose_estimators")()
    exact, nothing = results["summed exactly"]
    assert nothing < 1e-20
    for name, (mean, spread) in results.items():
        assert np.linalg.norm(mean - exact) <= 5 * np.sqrt(spread / 2000) + 1e-12, name
    plain, moving, rebar = (
        results[n][1] for n in ("score function", "moving-average baseline", "REBAR on h1, h2 summed exactly")
    )
    assert rebar < moving < plain
    assert "Rebar()" in capsys.readouterr().out


def test_annealed_bound_finds_the_noise(capsys):
    fit = _main("minibatch_elbo")()
    assert fit.params["sigma"] == pytest.approx(0.3, rel=0.1)
    assert fit.history["KL(z)"][0] == 0.0 and fit.history["KL(z)"][-1] > 1.0
    assert "negative bound on held-out rows" in capsys.readouterr().out


def test_relax_and_disarm_beat_rebar_on_the_symmetric_cost(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = _main("rebar_relax")(steps=1500, seeds=[1, 2], checkpoints=3, repeats=2000)
    assert (tmp_path / "outputs/rebar_relax.png").stat().st_size > 10_000
    for target in (0.499, 0.501):
        ends = {
            n: np.array([c[:, -1] for c, _ in results[n, target]])
            for n in ("score function", "REBAR", "RELAX", "DisARM")
        }
        assert all(np.array_equal(e[:, 0], [1500, 1500]) for e in ends.values())
        variance = {name: end[:, 2] for name, end in ends.items()}
        # The control variate has mean f(½) ≈ 0 there: it takes off little. A learned one, and a pair, take off most.
        assert (variance["REBAR"] > 0.5 * variance["score function"]).all()
        assert (variance["RELAX"] < 0.2 * variance["REBAR"]).all()
        assert (variance["DisARM"] < 1e-6).all()
        assert (ends["DisARM"][:, 1] < 1e-4).all()


def _in_cwd(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    found = _main(name)
    return lambda *args, **options: (found(*args, **options), (tmp_path / f"outputs/{name}.png").stat().st_size)


def test_a_queue_is_tuned_by_its_score_and_by_its_path(tmp_path, monkeypatch):
    """The expected cost is 1/(μ − 1) + μ/4: gradients at μ = 2 against its derivative −3/4, in standard errors."""
    (programs, rates), size = _in_cwd(tmp_path, monkeypatch, "tune_queue")()
    assert size > 10_000
    for way, program in programs.items():
        assert np.mean(rates[way][-300:]) == pytest.approx(3.0, abs=0.05)
        state = program.init(0).replace(params={"spare": np.zeros(())})
        runs = [program.value_and_grad(state, seed=s) for s in range(2000)]
        losses, grads = np.array([r[0] for r in runs]), np.array([float(r[1]["spare"]) for r in runs])
        for draws, exact in ((losses, 1.5), (grads, -0.75)):
            assert abs(draws.mean() - exact) < 5 * draws.std() / np.sqrt(len(draws)) < 0.06


def test_the_posterior_of_reaction_rates_is_the_exact_one(tmp_path, monkeypatch):
    (found, exact), size = _in_cwd(tmp_path, monkeypatch, "gillespie_posterior")(steps=600)
    assert size > 10_000
    np.testing.assert_allclose(found.mean(), exact.mean(), atol=0.2 * exact.std().min() / exact.std().max(), rtol=0.01)
    np.testing.assert_allclose(found.std(), exact.std(), rtol=0.1)
    np.testing.assert_array_less(np.abs(exact.mean() - [1.0, 0.01, 0.6]), 4 * exact.std())


def test_data_of_files_give_the_least_squares_fit(tmp_path):
    pytest.importorskip("h5py")
    pytest.importorskip("pyarrow")
    found = _main("large_data")(str(tmp_path))
    x, y = np.load(tmp_path / "x.npy"), np.load(tmp_path / "y.npy")
    exact = np.linalg.lstsq(x, y)[0]
    assert len(found) == 3
    for w in found.values():
        np.testing.assert_allclose(w, exact, atol=0.05)  # of minibatches: the rate times the gradient's deviation


@pytest.mark.slow
def test_a_sweep_ranks_the_estimators(tmp_path, capsys):
    """An antithetic pair sees f(1) − f(0) = 0.002 in every draw; a score function loses it in the noise of 20 costs."""
    result = _main("sweep")(str(tmp_path), "serial")
    assert [row["status"] for row in result] == ["done"] * 18 and "least probability first" in capsys.readouterr().out
    found = {row["seed"]: row["probability"] for row in result if (row["estimator"], row["lr"]) == ("DisARM", 10.0)}
    assert len(found) == 3 and max(found.values()) < 0.03


@pytest.mark.slow
def test_a_lorenz_system_is_found_from_noisy_paths(tmp_path, monkeypatch):
    """SciPy's integrator gives the same paths; the parameters are within their standard errors, of about 0.1 %."""
    from scipy.integrate import solve_ivp

    (followed, starts, seen), size = _in_cwd(tmp_path, monkeypatch, "lorenz_fit")(steps=200)
    assert size > 10_000
    np.testing.assert_allclose(followed[-1], 1.0, atol=0.01)

    def speed(t, y):
        return [10.0 * (y[1] - y[0]), y[0] * (28.0 - y[2]) - y[1], y[0] * y[1] - 8 / 3 * y[2]]

    times = 0.02 * np.arange(1, 41)
    for start, rows in zip(starts[:3], seen[:3], strict=True):
        path = solve_ivp(speed, (0.0, times[-1]), start, t_eval=times, rtol=1e-9, atol=1e-9).y.T
        assert np.std(rows - path) == pytest.approx(0.5, rel=0.25)


def test_a_growth_curve_is_fitted_through_scipy(tmp_path, monkeypatch):
    """The least squares fit of the closed form, by SciPy's own routine, is the maximum of the likelihood."""
    from scipy.optimize import curve_fit

    (params, seen), size = _in_cwd(tmp_path, monkeypatch, "growth_curve")()
    assert size > 10_000
    exact = lambda t, r, k: k / (1 + (k / 0.2 - 1) * np.exp(-r * t))  # noqa: E731
    best, _ = curve_fit(exact, np.linspace(1.0, 12.0, 15), seen, p0=[0.9, 5.0])
    np.testing.assert_allclose(params["p"], best, rtol=1e-3)
