"""The model zoo: every main runs, prints its plan and result, and leaves its picture; what training reaches."""

import json

import numpy as np
import pytest

import ppl
from ppl import cli
from ppl.models import common, data, regression, sbn, toy, vae
from tests.helpers.needs import needs

pytestmark = needs("sklearn", "matplotlib")

TINY = {
    toy: ["--steps", "40"],
    sbn: ["--epochs", "6", "--estimator", "ScoreFunction:leave_one_out"],
    vae: ["--epochs", "6"],
    regression: ["--epochs", "30"],
}
SAYS = {
    toy: ["Enumerate()", "exact", "REBAR", "straight-through (biased)", "expected loss after 40 steps, exact"],
    sbn: ["h/0", "h/1", "leave_one_out", "negative bound on training rows", "negative bound on held-out rows"],
    vae: ["Pathwise()", "negative bound on held-out rows", "nats per row"],
    regression: ["no random nodes", "negative log-likelihood: ", "least squares"],
}


def _number(text: str, label: str) -> float:
    """The first number after `label` in printed text."""
    return float(text.partition(label)[2].partition(":")[2].split()[0])


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """Run a main once; its text and its folder."""
    done = {}

    def run(model, capsys):
        if model not in done:
            folder = tmp_path_factory.mktemp(model.__name__.rpartition(".")[2])
            capsys.readouterr()
            assert model.main([*TINY[model], "--out", str(folder)]) == 0
            done[model] = capsys.readouterr().out, folder
        return done[model]

    return run


@pytest.mark.parametrize("model", TINY, ids=lambda m: m.__name__.rpartition(".")[2])
def test_main_prints_plan_and_result_and_leaves_a_picture(model, printed, capsys):
    text, folder = printed(model, capsys)
    for words in SAYS[model]:
        assert words in text
    name = model.__name__.rpartition(".")[2]
    picture = folder / f"{name}.png"
    record = json.loads((folder / f"{name}.metrics.json").read_text())
    assert record["model"] == name and record["metrics"] and record["options"]["seed"] == 0
    assert all(np.isfinite(v) for v in record["metrics"].values())
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and picture.stat().st_size > 10_000
    assert f"picture: {picture}" in text


def test_the_belief_network_improves_its_bound(printed, capsys):
    """Independent pixels at their own rates cost 26.8 nats per row; the untrained network costs more than 64 log 2."""
    text, _ = printed(sbn, capsys)
    rows, _ = data.digits()
    program = ppl.compile(ppl.elbo(sbn.generative, sbn.guide), common.estimator("ScoreFunction:leave_one_out"),
                          particles=2, data=rows)  # fmt: skip
    untrained, _ = common.per_row(program, program.init(0), rows[:300])
    assert untrained > 64 * np.log(2)
    assert _number(text, "negative bound on training rows") < 30.0


def test_the_autoencoder_passes_a_stated_bound_after_a_short_run(printed, capsys):
    """Six epochs reach 27.4; independent pixels at their own rates cost 26.8, fifty epochs reach 19."""
    text, _ = printed(vae, capsys)
    assert _number(text, "negative bound on held-out rows") < 28.5


def test_the_autoencoders_samples_are_probabilities():
    rows, held_out = data.digits()
    program = ppl.compile(ppl.elbo(vae.generative, vae.guide), data=rows)
    state = program.init(0)
    pixels = program.sample(state, held_out[:5], sites=["pixels"])["pixels"]
    assert pixels.shape == (5, 64) and (pixels > 0).all() and (pixels < 1).all()
    z = program.sample(state, held_out[:5], sites=["z"])["z"]
    np.testing.assert_allclose(vae.decode(program, state, z), pixels, rtol=1e-5, atol=1e-6)


def test_regression_gradients_are_those_derived_by_hand():
    x, t = regression.features()
    program = ppl.compile(ppl.likelihood(regression.heteroscedastic), dtype="float64", data=(x, t))
    rng = np.random.default_rng(0)
    params = {"w": rng.normal(size=x.shape[1]), "v": rng.normal(size=x.shape[1])}
    state = program.init(0, params=params)
    loss, grads = program.value_and_grad(state, x, t)
    w, v = regression.hand_gradients(params["w"], params["v"], x, t)
    np.testing.assert_allclose(grads["w"], w, rtol=1e-10)
    np.testing.assert_allclose(grads["v"], v, rtol=1e-10)
    variance = 1 + (x @ params["v"]) ** 2
    expected = 0.5 * np.sum(np.log(2 * np.pi * variance) + (t - x @ params["w"]) ** 2 / variance)
    assert loss == pytest.approx(expected, rel=1e-12)
    part, part_grads = program.value_and_grad(state, x[40:80], t[40:80], total_rows=len(t))
    w, v = regression.hand_gradients(params["w"], params["v"], x[40:80], t[40:80])
    np.testing.assert_allclose(part_grads["v"], v * len(t) / 40, rtol=1e-10)
    assert part != loss


def test_regression_beats_constant_noise(tmp_path):
    assert regression.main(["--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "regression.metrics.json").read_text())["metrics"]
    constant = found["negative log-likelihood of least squares, constant σ"]
    assert found["negative log-likelihood"] < constant - 0.025


def test_a_main_resumes_its_checkpoint(tmp_path, capsys):
    """Ten epochs in two runs end at the bits of ten epochs in one."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    regression.main(["--epochs", "10", "--out", str(whole)])
    regression.main(["--epochs", "6", "--out", str(parts)])
    regression.main(["--epochs", "10", "--resume", "--out", str(parts)])
    one, two = (ppl.load_state(folder / "regression.npz") for folder in (whole, parts))
    assert one.step == two.step
    for name, value in one.params.items():
        np.testing.assert_array_equal(value, two.params[name])
    regression.main(["--epochs", "2", "--out", str(parts)])
    assert ppl.load_state(parts / "regression.npz").step < one.step, "without --resume a run begins anew"


def test_the_toy_converges_with_the_exact_gradient():
    logits = toy.train(toy.CHOICES["exact"], steps=1500, lr=1e-2, seed=0).logits
    losses = toy.expected_loss(logits)
    assert losses[0] == pytest.approx(0.25, abs=1e-4) and (np.diff(losses) <= 1e-9).all()
    assert losses[-1] < toy.expected_loss(-4.0) and toy.expected_loss(-50.0) == pytest.approx(0.499**2)


@pytest.mark.parametrize("name", ["score function", "leave-one-out, 2 particles", "REBAR"])
def test_the_toys_estimators_are_unbiased(name):
    """The mean gradient over noise seeds, within 5 standard errors of p(1 − p)(1 − 2·target)."""
    estimator, particles = toy.CHOICES[name]
    program = ppl.compile(toy.toy, estimators=estimator, particles=particles, dtype="float64")
    state = program.init(0)
    for _ in range(500):
        _, _, state = program.step(state)
    found = np.array([program.value_and_grad(state, seed=s)[1]["logit"] for s in range(4000)])
    error = found.std(ddof=1) / np.sqrt(len(found))
    assert found.mean() == pytest.approx(0.25 * (1 - 2 * toy.TARGET), abs=5 * error)


def test_the_toy_reports_an_estimator_by_name_and_keeps_its_runs(tmp_path):
    options = ["--epochs", "30", "--estimator", "ARM", "--out", str(tmp_path)]
    toy.main(options)
    first = json.loads((tmp_path / "toy.metrics.json").read_text())["metrics"]
    assert "above the minimum, ARM" in first and "above the minimum, RELAX" in first
    np.savez(tmp_path / "toy-exact.npz", **{**np.load(tmp_path / "toy-exact.npz"), "logits": np.full(30, -9.0)})
    toy.main([*options, "--resume"])
    second = json.loads((tmp_path / "toy.metrics.json").read_text())["metrics"]
    changed = {label for label in first if first[label] != second[label]}
    assert changed == {"above the minimum, exact", "expected loss after 30 steps, exact"}, "the rest is read, not rerun"


def test_what_is_kept_is_for_the_same_options(tmp_path):
    job = common.Job("job", "", ["--out", str(tmp_path), "--lr", "0.5"])
    job.keep("part", x=np.arange(3))
    same, other, fresh = (
        common.Job("job", "", ["--out", str(tmp_path), *more])
        for more in (["--lr", "0.5", "--resume", "--epochs", "7"], ["--lr", "0.6", "--resume"], ["--lr", "0.5"])
    )
    np.testing.assert_array_equal(same.kept("part")["x"], np.arange(3))
    assert other.kept("part") == fresh.kept("part") == same.kept("none") == {}


def test_every_main_takes_the_common_options(capsys):
    for entry in cli.runnable():
        with pytest.raises(SystemExit):
            cli.run_model(entry.name, ["--help"])
        shown = capsys.readouterr().out
        for flag in ("--seed", "--estimator", "--epochs", "--target", "--out", "--resume"):
            assert flag in shown, f"{entry.name} has no {flag}"


def test_a_target_without_a_gpu_is_refused_by_name(monkeypatch, capsys):
    from ppl.kernels.cuda import launch

    monkeypatch.setattr(launch, "available", lambda: False)
    with pytest.raises(SystemExit):
        toy.main(["--target", "cuda"])
    assert "needs an NVIDIA GPU" in capsys.readouterr().err
    program = ppl.compile(toy.toy, target="cuda")
    with pytest.raises(ppl.errors.DataError, match="needs an NVIDIA GPU"):
        program.step(program.init(0))


def test_unknown_estimators_are_named():
    with pytest.raises(ppl.errors.PplError, match=r"unknown estimator 'Rbar'; there are auto, .*Rebar"):
        common.estimator("Rbar")
