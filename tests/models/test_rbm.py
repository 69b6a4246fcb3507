"""Boltzmann machines: densities against enumeration and quadrature, gradients against NumPy, log Z, training."""

import itertools
import json

import numpy as np
import pytest
from scipy.integrate import quad

import ppl
from ppl.models import annealing, boltzmann, data, gb_rbm, rbm
from tests.helpers.needs import needs

pytestmark = needs("sklearn", "matplotlib")

ROWS, PIXELS, UNITS = 5, 6, 3


def machine(model, seed=0, pixels=PIXELS, units=UNITS, spread=0.7):
    """Parameters of a small machine, in the order of the model's functions."""
    rng = np.random.default_rng(seed)
    theta = {
        "weight": spread * rng.normal(size=(pixels, units)),
        "visible": rng.normal(size=pixels),
        "hidden": rng.normal(size=units),
    }
    return theta | ({"sigma": rng.uniform(0.5, 1.5, pixels)} if model is gb_rbm else {})


def bits(n):
    """All rows of n bits."""
    return np.array(list(itertools.product([0.0, 1.0], repeat=n)))


def some_rows(model, rows=ROWS, pixels=PIXELS):
    """Data of the model's kind."""
    rng = np.random.default_rng(5)
    return (rng.random((rows, pixels)) < 0.4).astype(float) if model is rbm else rng.normal(size=(rows, pixels))


@pytest.mark.parametrize("model", [rbm, gb_rbm], ids=["rbm", "gb_rbm"])
def test_the_free_energy_sums_the_energy_over_hidden_states(model):
    theta, v, h = machine(model).values(), some_rows(model), bits(UNITS)
    joint = model.energy(v[:, None], h, *theta)
    np.testing.assert_allclose(model.free_energy(v, *theta), -np.log(np.exp(-joint).sum(1)), rtol=1e-12)


def test_log_z_is_the_sum_over_both_layers():
    theta = machine(rbm).values()
    total = np.exp(-rbm.energy(bits(PIXELS)[:, None], bits(UNITS), *theta)).sum()
    assert rbm.log_partition(*theta) == pytest.approx(np.log(total), rel=1e-12)
    assert rbm.log_partition(*theta) == pytest.approx(
        np.log(np.exp(-rbm.free_energy(bits(PIXELS), *theta)).sum()), rel=1e-12
    )


def test_log_z_of_a_gaussian_machine_is_its_integral():
    theta = machine(gb_rbm, pixels=1).values()
    integral = quad(lambda v: np.exp(-gb_rbm.free_energy(np.array([v]), *theta)), -25, 25, epsabs=1e-13)[0]
    assert gb_rbm.log_partition(*theta) == pytest.approx(np.log(integral), rel=1e-9)


def test_states_come_in_chunks_and_are_all_there():
    parts = list(annealing.states(5, chunk=7))
    assert [len(p) for p in parts] == [7, 7, 7, 7, 4]
    assert len(np.unique(np.concatenate(parts), axis=0)) == 32


def slopes(model, v, weight, visible, hidden, sigma=None):
    """The derivatives of F at every row of v, written out by hand."""
    if model is rbm:
        on = annealing.sigmoid(hidden + v @ weight)
        return {"weight": -v[:, :, None] * on[:, None], "visible": -v, "hidden": -on}
    on = annealing.sigmoid(hidden + (v / sigma) @ weight)
    found = {"weight": -(v / sigma)[:, :, None] * on[:, None], "visible": -(v - visible) / sigma**2, "hidden": -on}
    squares, pull = -((v - visible) ** 2) / sigma**2, (v / sigma) * (on @ weight.T)
    return found | {"sigma": squares + pull}  # with respect to log σ, the parameter without its constraint


@pytest.mark.parametrize("method", ["contrastive", "persistent"])
@pytest.mark.parametrize("model", [rbm, gb_rbm], ids=["rbm", "gb_rbm"])
def test_gradients_are_contrastive_divergence_at_the_values_drawn(model, method):
    """∇F at the data less ∇F at the ends of the chains that `program.sample` shows, to rounding; no estimator."""
    theta, x, steps = machine(model), some_rows(model), 2
    static = {
        "units": UNITS,
        "steps": steps,
        **({"rates": np.full(PIXELS, 0.4)} if model is rbm else {"pixels": PIXELS}),
    }
    chains = {"chains": 4} if method == "persistent" else {}
    program = ppl.compile(getattr(model, method).bind(**static, **chains), dtype="float64", data=x)
    assert {c.estimator.label for c in program.explain().choices.values()} == {"NotNeeded()"}
    state = program.init(3, x, params=theta)
    for _ in range(2):
        v = program.sample(state, x, sites=f"v/{steps - 1}")[f"v/{steps - 1}"]
        here, there = slopes(model, x, *theta.values()), slopes(model, v, *theta.values())
        assert v.shape == ((4 if chains else ROWS), PIXELS)
        loss, grads, state = program.step(state, x)
        for name, found in grads.items():
            expected = here[name].sum(0) - there[name].mean(0) * ROWS
            np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12, err_msg=name)
        gap = model.free_energy(x, *theta.values()).sum() - ROWS * model.free_energy(v, *theta.values()).mean()
        assert loss == pytest.approx(gap, rel=1e-10)
        if chains:
            np.testing.assert_allclose(state.aux["chains"], v, rtol=1e-12)


@pytest.mark.parametrize("model", [rbm, gb_rbm], ids=["rbm", "gb_rbm"])
def test_block_gibbs_leaves_the_machine_as_it_is(model):
    """Persistent chains at fixed parameters have the machine's own means, within 5 standard errors of chains apart."""
    theta, count = machine(model, spread=0.5), 2000
    static = {
        "units": UNITS,
        "chains": count,
        **({"rates": np.full(PIXELS, 0.4)} if model is rbm else {"pixels": PIXELS}),
    }
    x = some_rows(model)
    program = ppl.compile(model.persistent.bind(**static), dtype="float64", data=x)
    state = program.init(1, x, params=theta)
    for _ in range(60):
        _, _, state = program.step(state, x)
    v, w, b, c = state.aux["chains"], *list(theta.values())[:3]
    if model is rbm:
        weights = np.exp(-rbm.free_energy(bits(PIXELS), *theta.values()))
        mean = weights @ bits(PIXELS) / weights.sum()
    else:
        h = bits(UNITS)
        a, sigma = h @ w.T, theta["sigma"]
        weights = np.exp(h @ c + a @ (b / sigma) + (a**2).sum(-1) / 2)
        mean = b + sigma * (weights @ a) / weights.sum()
    assert (np.abs(v.mean(0) - mean) < 5 * v.std(0) / np.sqrt(count)).all()


def path_of(model, theta):
    """From other independent pixels than those of any machine here."""
    if model is rbm:
        return rbm.Annealed(theta, np.linspace(0.2, 0.7, PIXELS))
    return gb_rbm.Annealed(theta, loc=0.3, scale=1.2)


@pytest.mark.parametrize("model", [rbm, gb_rbm], ids=["rbm", "gb_rbm"])
@pytest.mark.parametrize("temperatures", [1, 30])
def test_annealed_weights_are_unbiased_for_any_number_of_temperatures(model, temperatures):
    """E[w] = Z₁/Z₀ even with one temperature (plain importance sampling), within 5 standard errors."""
    theta = machine(model, spread=0.4)
    path = path_of(model, theta)
    exact = model.log_partition(*theta.values())
    found = annealing.log_partition(path, temperatures, chains=4000, seed=2)
    ratios = np.exp(found.log_weights + path.log_base - exact)
    error = ratios.std(ddof=1) / np.sqrt(len(ratios))
    assert ratios.mean() == pytest.approx(1.0, abs=5 * error) and error < 0.2
    assert found.error == pytest.approx(error / ratios.mean(), rel=1e-6)
    assert 1 < found.effective <= 4000


@pytest.mark.parametrize("model", [rbm, gb_rbm], ids=["rbm", "gb_rbm"])
def test_a_path_ends_at_the_machine_and_begins_at_its_base(model):
    theta, v = machine(model), some_rows(model)
    path = path_of(model, theta)
    np.testing.assert_allclose(path.log_density(1.0, v), -model.free_energy(v, *theta.values()), rtol=1e-12)
    found = annealing.log_partition(path, 200, chains=2000, seed=0)
    assert abs(found.log_z - model.log_partition(*theta.values())) < max(5 * found.error, 1e-3)


TINY = ["--epochs", "8", "--temperatures", "300", "--annealed", "200"]


def run(model, folder, *options):
    """The metrics of a main."""
    assert model.main([*TINY, *options, "--out", str(folder)]) == 0
    name = model.__name__.rpartition(".")[2]
    assert (folder / f"{name}.png").stat().st_size > 10_000
    return json.loads((folder / f"{name}.metrics.json").read_text())["metrics"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The binary machine's main: its metrics and its folder."""
    folder = tmp_path_factory.mktemp("rbm")
    return run(rbm, folder, "--epochs", "60"), folder


def test_the_binary_machine_learns_and_its_log_z_is_confirmed(trained):
    """Sixty epochs reach −20.0 (200: −18.6; independent pixels at their rates have −26.8); AIS within 0.1 nat."""
    found, _ = trained
    assert found["log-likelihood of held-out rows"] > -20.5
    exact, annealed = found["log Z, exact"], found["log Z, annealed importance sampling"]
    assert abs(exact - annealed) < 0.1


def test_it_beats_scikit_learn_after_the_same_updates():
    """The same learning rate, batch size, epochs, chains and Gibbs steps; scikit-learn's mean over 5 seeds is −21.0."""
    from sklearn.neural_network import BernoulliRBM

    rows, test = data.digits()
    other = BernoulliRBM(16, learning_rate=0.1, batch_size=100, n_iter=20, random_state=0).fit(rows)
    theirs = other.components_.T, other.intercept_visible_, other.intercept_hidden_
    program = ppl.compile(rbm.persistent.bind(rates=rbm.smoothed(rows)), data=rows)
    fit = ppl.fit(program, rows, epochs=20, batch_size=100, optimizer=ppl.optim.SGD(0.1), seed=0, progress=False)
    ours = [np.asarray(p, np.float64) for p in program.params(fit.state).values()]
    scores = [-rbm.free_energy(test, *theta).mean() - rbm.log_partition(*theta) for theta in (ours, theirs)]
    assert scores[0] > scores[1]


def test_chains_resume_bit_for_bit(trained, tmp_path):
    """Chains, parameters and all, after a run in two parts."""
    rows, _ = data.digits()
    program = ppl.compile(rbm.persistent.bind(rates=rbm.smoothed(rows), steps=5), data=rows)
    settings = {"batch_size": 100, "optimizer": ppl.optim.SGD(0.1), "seed": 0, "progress": False}
    whole = ppl.fit(program, rows, epochs=4, **settings).state
    path = tmp_path / "parts.npz"
    ppl.fit(program, rows, epochs=1, checkpoint=path, **settings)
    parts = ppl.fit(program, rows, epochs=4, checkpoint=path, **settings).state
    assert whole.aux["chains"].tobytes() == parts.aux["chains"].tobytes()
    assert all(whole.params[k].tobytes() == v.tobytes() for k, v in parts.params.items())
    assert set(np.unique(whole.aux["chains"])) == {0.0, 1.0}


def test_contrastive_divergence_and_many_units_run_too(tmp_path):
    """With more than 20 hidden units log Z is annealed only."""
    found = run(rbm, tmp_path, "--method", "cd", "--units", "24", "--steps", "1")
    assert "log Z, exact" not in found and np.isfinite(found["log-likelihood of held-out rows"])


def test_the_gaussian_machine_learns_and_its_log_z_is_confirmed(tmp_path):
    """Forty epochs reach −78 (200: −75.7); independent normal pixels have −89.1. σ falls as units explain pixels."""
    found = run(gb_rbm, tmp_path, "--epochs", "40")
    assert found["log-likelihood of held-out rows"] > -80.0
    exact, annealed = found["log Z, exact"], found["log Z, annealed importance sampling"]
    assert abs(exact - annealed) < 0.1 and found["mean of σ"] < 0.85


def test_a_gaussian_machine_recovers_the_one_that_made_the_data():
    """σ within 5 %, W up to the order of its units within 0.2, held-out log-likelihood within 0.01 nat of its."""
    weight = np.array([[2, 0], [2, 0], [0, 2], [0, 1.5], [0, -2], [-1.5, 0], [0, 0], [0, 0]])
    visible, sigma = np.linspace(-0.3, 0.3, 8), np.linspace(0.4, 1.2, 8)
    hidden = -(weight**2).sum(0) / 2 - (visible / sigma) @ weight  # every unit is on half of the time
    teacher = {"weight": weight, "visible": visible, "hidden": hidden, "sigma": sigma}
    x = boltzmann.draw(gb_rbm.Annealed(teacher), 6000, seed=0, steps=200)
    rows, test = x[:4000], x[4000:]
    program = ppl.compile(gb_rbm.persistent.bind(pixels=8, units=2, steps=3, chains=400), data=rows)
    rate = ppl.optim.Adam(ppl.optim.linear(0.03, 0.0, 1200))
    fit = ppl.fit(program, rows, epochs=60, batch_size=200, optimizer=rate, seed=0, progress=False)
    found = {k: np.asarray(v, np.float64) for k, v in program.params(fit.state).items()}
    np.testing.assert_allclose(found["sigma"], sigma, rtol=0.05)
    assert min(np.abs(found["weight"][:, order] - weight).max() for order in ([0, 1], [1, 0])) < 0.2
    mine, truth = (
        -gb_rbm.free_energy(test, *t.values()).mean() - gb_rbm.log_partition(*t.values()) for t in (found, teacher)
    )
    assert abs(mine - truth) < 0.01
