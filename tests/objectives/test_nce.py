"""`ppl.nce` against NumPy written by hand, on the noise that the program itself drew; what it refuses; `ppl.factor`."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit, log_expit

import ppl
from ppl import Bernoulli, Categorical, Laplace, Normal
from ppl.errors import ModelError, ShapeError

N, K = 40, 3


@ppl.model
def gaussian(x):
    """exp(-(x - mu)² e^{-2 ls} / 2 - log_z)."""
    mu, log_sigma, log_z = (ppl.param(n, v) for n, v in (("mu", 0.3), ("log_sigma", -0.2), ("log_z", 0.7)))
    with ppl.plate("data", x) as x:
        ppl.factor("score", -0.5 * ((x - mu) * np.exp(-log_sigma)) ** 2 - log_z)


def compiled(objective, *data):
    """A float64 program, its state, and the data."""
    program = ppl.compile(objective, data=data, dtype="float64")
    return program, program.init(0)


def rows(seed=0, shape=(N,)):
    return np.random.default_rng(seed).normal(0.5, 1.5, shape)


def by_hand(score, log_q, x, noise, k):
    """Loss and the weights -∂J/∂s of the data's and of the noise's scores."""
    data = score(x) - log_q(x) - np.log(k)
    false = score(noise) - log_q(noise) - np.log(k)
    return -log_expit(data).sum() - log_expit(-false).sum(), expit(-data), -expit(false)


@pytest.mark.parametrize("k", [1, 5])
def test_loss_and_gradient_are_those_written_by_hand(k):
    x = rows()
    program, state = compiled(ppl.nce(gaussian, Normal(0.2, 2.0), k), x)
    noise = program.sample(state, x)["noise/x"]
    assert noise.shape == (N, k) and len(np.unique(noise)) == N * k
    mu, log_sigma, log_z = 0.3, -0.2, 0.7
    t = lambda v: (v - mu) * np.exp(-log_sigma)  # noqa: E731
    score = lambda v: -0.5 * t(v) ** 2 - log_z  # noqa: E731
    expected, w_data, w_noise = by_hand(score, stats.norm(0.2, 2.0).logpdf, x, noise, k)
    loss, grads = program.value_and_grad(state, x)
    assert loss == pytest.approx(expected, rel=1e-12)
    assert program.value(state, x) == pytest.approx(expected, rel=1e-12)
    slopes = {"mu": lambda v: t(v) * np.exp(-log_sigma), "log_sigma": lambda v: t(v) ** 2, "log_z": lambda v: -(v**0)}
    for name, slope in slopes.items():
        by_parts = -(w_data * slope(x)).sum() - (w_noise * slope(noise)).sum()
        assert grads[name] == pytest.approx(by_parts, rel=1e-10), name


def test_the_noise_needs_no_estimator():
    program, _ = compiled(ppl.nce(gaussian, Normal(0.0, 2.0), K), rows())
    assert repr(program.explain()["noise/x"].estimator) == "NotNeeded()"


def test_minibatches_are_scaled_and_have_noise_of_their_own_rows():
    x = rows()
    program, state = compiled(ppl.nce(gaussian, Normal(0.0, 2.0), K), x)
    whole = program.value(state, x, per_row=True)
    part = program.value(state, x[10:15], per_row=True, rows=np.arange(10, 15))
    np.testing.assert_allclose(part, whole[10:15], rtol=1e-12)
    total = program.value(state, x[10:15], rows=np.arange(10, 15), total_rows=N)
    assert total == pytest.approx(whole[10:15].sum() * N / 5, rel=1e-12)


def test_observations_are_factors_and_names_may_coincide():
    """s = log|det W| + Σ log Laplace(W x), and an observation called like the noise."""

    @ppl.model
    def ica(x):
        w = ppl.param("w", np.array([[1.0, 0.4], [-0.3, 0.8]]))
        with ppl.plate("data", x) as x:
            ppl.sample("x", Laplace(np.zeros(2), 1.0), obs=w @ x)
            ppl.factor("shift", ppl.param("c", 0.25))

    @ppl.model
    def noise(x):
        with ppl.plate("data", x):
            ppl.sample("x", Normal(np.zeros(2), 2.0))

    x = rows(shape=(N, 2))
    program, state = compiled(ppl.nce(ica, noise, K), x)
    drawn = program.sample(state, x)["noise/x"]
    w = np.array([[1.0, 0.4], [-0.3, 0.8]])
    score = lambda v: stats.laplace.logpdf(v @ w.T).sum(-1) + 0.25  # noqa: E731
    expected, w_data, w_noise = by_hand(score, lambda v: stats.norm(0, 2).logpdf(v).sum(-1), x, drawn, K)
    loss, grads = program.value_and_grad(state, x)
    assert loss == pytest.approx(expected, rel=1e-12)
    slope = -np.einsum("n,ni,nj->ij", -w_data, np.sign(x @ w.T), x)
    slope -= np.einsum("nk,nki,nkj->ij", -w_noise, np.sign(drawn @ w.T), drawn)
    np.testing.assert_allclose(grads["w"], slope, rtol=1e-10)
    assert grads["c"] == pytest.approx(-w_data.sum() - w_noise.sum(), rel=1e-10)


def test_conditional_models_keep_what_the_noise_does_not_draw():
    """Words given contexts: score u_wᵀ v_c, noise a fixed categorical."""
    words, dim = 6, 2
    q = np.array([0.3, 0.1, 0.1, 0.2, 0.2, 0.1])

    @ppl.model
    def scores(word, context):
        u = ppl.param("u", ppl.init.normal(1.0), shape=(words, dim))
        v = ppl.param("v", ppl.init.normal(1.0), shape=(words, dim))
        with ppl.plate("data", word, context) as (word, context):
            ppl.factor("score", u[word] @ v[context])

    @ppl.model
    def noise(word):
        with ppl.plate("data", word):
            ppl.sample("word", Categorical(probs=q))

    rng = np.random.default_rng(1)
    word, context = rng.integers(0, words, N), rng.integers(0, words, N)
    program, state = compiled(ppl.nce(scores, noise, K), word, context)
    drawn = program.sample(state, word, context)["noise/word"]
    u, v = state.params["u"], state.params["v"]
    table = u @ v.T
    data = table[word, context] - np.log(K * q[word])
    false = table[drawn, context[:, None]] - np.log(K * q[drawn])
    loss, grads = program.value_and_grad(state, word, context)
    assert loss == pytest.approx(-log_expit(data).sum() - log_expit(-false).sum(), rel=1e-12)
    slope = np.zeros_like(u)
    np.add.at(slope, word, -expit(-data)[:, None] * v[context])
    np.add.at(slope, drawn, expit(false)[..., None] * v[context][:, None])
    np.testing.assert_allclose(grads["u"], slope, rtol=1e-10, atol=1e-12)


def test_noise_of_several_dependent_nodes():
    """q(a, b) = N(a; 0, 2) N(b; a + c, 1) with c given: log q of the data uses the data's own a."""

    @ppl.model
    def model(a, b):
        log_z = ppl.param("log_z", 0.5)
        with ppl.plate("data", a, b) as (a, b):
            ppl.factor("energy", -0.5 * a**2 - 0.5 * (b - a) ** 2)
            with ppl.plate("twice", 2):
                ppl.factor("half of log Z", -0.5 * log_z)

    @ppl.model
    def noise(a, c):
        with ppl.plate("data", a, c) as (_, c):
            first = ppl.sample("a", Normal(0.0, 2.0))
            ppl.sample("b", Normal(first + c, 1.0))

    a, b, c = rows(0), rows(1), rows(2)
    program, state = compiled(ppl.nce(model, noise, K), a, b, c)
    assert program.argument_names == ("a", "b", "c")
    drawn = program.sample(state, a, b, c)
    x, y = drawn["noise/a"], drawn["noise/b"]
    log_q = lambda a, b, c: stats.norm(0, 2).logpdf(a) + stats.norm(a + c, 1).logpdf(b)  # noqa: E731
    score = lambda a, b: -0.5 * a**2 - 0.5 * (b - a) ** 2 - 0.5  # noqa: E731
    data = score(a, b) - log_q(a, b, c) - np.log(K)
    false = score(x, y) - log_q(x, y, c[:, None]) - np.log(K)
    expected = -log_expit(data).sum() - log_expit(-false).sum()
    assert program.value(state, a, b, c) == pytest.approx(expected, rel=1e-12)


def test_a_cost_is_a_penalty_counted_once():
    @ppl.model
    def penalised(x):
        gaussian(x)
        ppl.cost("decay", 10.0 * ppl.param("extra", 2.0) ** 2)

    x = rows()
    plain, state = compiled(ppl.nce(gaussian, Normal(0.0, 2.0), K), x)
    more, state_more = compiled(ppl.nce(penalised, Normal(0.0, 2.0), K), x)
    assert more.value(state_more, x) == pytest.approx(plain.value(state, x) + 40.0, rel=1e-12)


def test_bits_are_data_too():
    @ppl.model
    def bits(x):
        with ppl.plate("data", x) as x:
            ppl.factor("score", ppl.param("a", 0.4) * x)

    x = np.random.default_rng(0).random(N) < 0.3
    program, state = compiled(ppl.nce(bits, Bernoulli(0.4), K), x)
    drawn = program.sample(state, x)["noise/x"]
    expected, _, _ = by_hand(lambda v: 0.4 * v, lambda v: np.log(np.where(v, 0.4, 0.6)), x, drawn.astype(bool), K)
    assert program.value(state, x) == pytest.approx(expected, rel=1e-12)


@ppl.model
def parametric(x):
    with ppl.plate("data", x):
        ppl.sample("x", Normal(ppl.param("shift", 0.0), 1.0))


@ppl.model
def around_the_data(x):
    with ppl.plate("data", x) as row:
        ppl.sample("x", Normal(row, 1.0))


@ppl.model
def elsewhere(x):
    with ppl.plate("data", x):
        ppl.sample("y", Normal(0.0, 1.0))


@ppl.model
def outside(x):
    ppl.sample("x", Normal(np.zeros(N), 1.0))


@ppl.model
def nothing(x):
    with ppl.plate("data", x):
        pass


@ppl.model
def costly(x):
    with ppl.plate("data", x):
        ppl.cost("c", 1.0)


@ppl.model
def factored(x):
    with ppl.plate("data", x):
        ppl.factor("f", 1.0)


@pytest.mark.parametrize(
    ("noise", "error", "message"),
    [
        (parametric, ModelError, r"declares parameters \('shift'\)"),
        (around_the_data, ModelError, "depends on the data 'x' that noise replaces"),
        (elsewhere, ModelError, "samples 'y' .* no data argument of model 'gaussian': x"),
        (outside, ShapeError, "is drawn in plates none, the model opens 'x' by plate 'data'"),
        (nothing, ModelError, "the noise samples nothing"),
        (costly, ModelError, "the noise declares 'noise/c'"),
        (factored, ModelError, "noise distribution has no factors"),
        (Normal(np.zeros(2), 1.0), ShapeError, r"event shape \(2,\), a row of the data \(\)"),
        (ppl.Poisson(2.0), ShapeError, "is of ints, the data of floats"),
        (3.0, ModelError, "the noise is a function decorated with @ppl.model or a distribution"),
    ],
    ids=lambda v: getattr(v, "name", None),
)
def test_noise_that_has_no_known_density_is_refused(noise, error, message):
    with pytest.raises(error, match=message):
        ppl.compile(ppl.nce(gaussian, noise, K), data=rows())


@ppl.model
def latent(x):
    with ppl.plate("data", x) as x:
        z = ppl.sample("z", Normal(0.0, 1.0))
        ppl.factor("f", -((x - z) ** 2))


@ppl.model
def log_z_outside(x):
    ppl.factor("log_z", -ppl.param("log_z", 0.0))
    with ppl.plate("data", x) as x:
        ppl.factor("f", -(x**2))


@ppl.model
def whole(x):
    ppl.factor("f", -np.sum(x**2))


@ppl.model
def two(x, y):
    with ppl.plate("data", x, y) as (x, y):
        ppl.factor("f", -(x**2) - y**2)


@pytest.mark.parametrize(
    ("model", "data", "message"),
    [
        (latent, 1, "samples 'z' .* sum or integrate the latent out"),
        (log_z_outside, 1, "factor 'log_z' .* stands outside plate 'data'"),
        (whole, 1, "does not open a plate over 'x'"),
        (costly, 1, "declares no log-density"),
        (two, 2, "takes 2 data arguments"),
    ],
    ids=lambda v: getattr(v, "name", None),
)
def test_models_without_a_log_density_of_a_row_are_refused(model, data, message):
    with pytest.raises(ModelError, match=message):
        ppl.compile(ppl.nce(model, Normal(0.0, 1.0), K), data=(rows(),) * data)


@pytest.mark.parametrize("k", [0, 1.5, "3"])
def test_k_is_a_positive_number(k):
    with pytest.raises(ModelError, match="k is a positive number"):
        ppl.nce(gaussian, Normal(0.0, 1.0), k)


def test_factors_are_terms_of_the_log_density_for_other_objectives():
    """likelihood: Σ -log p(x) - factor; elbo: the factor of a latent is a cost; no objective: refused."""
    x = rows()

    @ppl.model
    def observed(x):
        with ppl.plate("data", x) as x:
            ppl.sample("x", Normal(0.0, 1.0), obs=x)
            ppl.factor("tilt", 0.3 * x)

    program, state = compiled(ppl.likelihood(observed), x)
    expected = -stats.norm.logpdf(x).sum() - 0.3 * x.sum()
    assert program.value(state, x) == pytest.approx(expected, rel=1e-12)

    @ppl.model
    def latent_tilt():
        z = ppl.sample("z", Normal(0.0, 1.0))
        ppl.factor("tilt", 0.3 * z)

    @ppl.model
    def guide():
        ppl.sample("z", Normal(ppl.param("m", 0.0), 1.0))

    program, state = compiled(ppl.elbo(latent_tilt, guide))
    gradients = [program.value_and_grad(state, seed=s)[1]["m"] for s in range(3)]
    np.testing.assert_allclose(gradients, -0.3, rtol=1e-12)
    with pytest.raises(ModelError, match=r"factor 'tilt' .* does not enter the bound"):
        ppl.compile(ppl.iwae(latent_tilt, guide, 2))
    with pytest.raises(ModelError, match=r"has factors \(score\) but no objective"):
        ppl.compile(gaussian, data=x)
    with pytest.raises(ModelError, match="two nodes are called 'tilt'"):

        @ppl.model
        def twice():
            ppl.factor("tilt", 0.0)
            ppl.cost("tilt", 0.0)

        ppl.compile(twice)
    with pytest.raises(ShapeError, match="factor 'f' must be a scalar per row"):

        @ppl.model
        def vector():
            ppl.factor("f", ppl.param("w", np.zeros(3)))

        ppl.compile(ppl.elbo(vector, guide))
