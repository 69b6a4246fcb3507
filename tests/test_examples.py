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
    assert len(lines) <= 60 and lines[0].startswith('"""') and f"Run: python examples/{path.name}" in lines


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
