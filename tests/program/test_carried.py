"""`ppl.carried` and `ppl.carry`: values that a step hands to the next, at true samples, advanced by steps alone."""

import numba
import numpy as np
import pytest

import ppl
from ppl import Bernoulli, Normal
from ppl.errors import EstimatorError, ModelError, ShapeError
from ppl.estimators import DisARM, Enumerate, Rebar, Relaxed, ScoreFunction, StraightThrough
from ppl.inference.diagnose import adapt_state, warm_up
from ppl.ir.reference.interpret import evaluate
from ppl.notebook.graph_picture import to_dot
from ppl.runtime.call import Call, bind_call
from tests.program.programs import same

CHAINS = 6


@ppl.model
def walk(x):
    """Random walks whose spread is learned, a decaying mean of them, and a cost of data about that mean."""
    sigma = ppl.param("sigma", 0.5, constraint="positive")
    old = ppl.carried("walkers", ppl.init.normal(), shape=(CHAINS, 2))
    mean = ppl.carried("mean", np.array([1.0, -1.0]))
    with ppl.plate("walker", old) as at:
        at = ppl.sample("step", Normal(at, ppl.stop_gradient(sigma)))
    ppl.carry("walkers", ppl.collect(at, "walker"))
    ppl.carry("mean", 0.9 * mean + 0.1 * np.mean(ppl.collect(at, "walker"), axis=0))
    with ppl.plate("data", x) as x:
        ppl.cost("fit", np.sum((x - ppl.param("mu", 0.3) * mean) ** 2) / sigma)


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).normal(size=(7, 2))


@pytest.fixture(scope="module")
def program(x):
    return ppl.compile(walk, dtype="float64", data=x)


def test_a_step_replaces_it_and_nothing_else_does(program, x):
    state = program.init(3, x)
    before = {k: v.copy() for k, v in state.aux.items()}
    assert before["walkers"].shape == (CHAINS, 2) and before["mean"].tolist() == [1.0, -1.0]
    value = program.value(state, x)
    loss, grads = program.value_and_grad(state, x)
    drawn = program.sample(state, x)["step"]
    assert same(before, state.aux)
    stepped, step_grads, new = program.step(state, x)
    assert (loss, value) == (stepped, pytest.approx(stepped)) and same(grads, step_grads)
    assert same(before, state.aux), "a state is immutable"
    np.testing.assert_allclose(
        new.aux["walkers"], drawn, rtol=1e-14
    )  # another program may round its last bit otherwise
    np.testing.assert_allclose(new.aux["mean"], 0.9 * before["mean"] + 0.1 * drawn.mean(0), rtol=1e-14)
    updated, _ = program.update(state, x, optimizer=ppl.optim.SGD(0.1))
    assert same(updated.aux, new.aux)
    assert program.value(new, x) != value, "the next step reads what this one left"


def test_it_starts_from_seed_and_name(program, x):
    a, b, c = (program.init(s, x).aux["walkers"] for s in (3, 3, 4))
    assert (a == b).all() and (a != c).all()
    replaced = program.init(3, x)
    replaced = replaced.replace(aux={**replaced.aux, "walkers": np.zeros((CHAINS, 2))})
    moved, drawn = program.step(replaced, x)[2].aux["walkers"], program.sample(replaced, x)["step"]
    np.testing.assert_allclose(moved, drawn, rtol=1e-14)


def test_no_derivative_passes(program, x):
    """The gradient is that of the cost at the value read, a constant."""
    state = program.init(0, x)
    mean, sigma = state.aux["mean"], program.params(state)["sigma"]
    _, grads = program.value_and_grad(state, x)
    off = x - 0.3 * mean
    assert grads["mu"] == pytest.approx(-2 * (off @ mean).sum() / sigma, rel=1e-12)
    assert grads["sigma"] == pytest.approx(-np.sum(off**2) / sigma, rel=1e-12)


def test_it_follows_a_random_walk(program, x):
    """After n steps every coordinate has gained n increments of variance σ²."""
    state = program.init(0, x)
    first = state.aux["walkers"]
    gains = []
    for seed in range(60):
        moved = state.replace(seed=seed)
        for _ in range(5):
            _, _, moved = program.step(moved, x)
        gains.append(moved.aux["walkers"] - first)
    squares = np.ravel(gains) ** 2
    assert squares.mean() == pytest.approx(5 * 0.25, abs=5 * squares.std() / np.sqrt(squares.size))


def test_the_interpreter_agrees_with_the_compiled_step(program, x):
    compiled = program.prepare(x)
    state = program.init(1, x)
    variant = compiled.variant("gradient")
    env = bind_call(program, Call(state, (x,))).environment(variant)
    found = dict(zip(variant.aux, evaluate(list(variant.aux.values()), env), strict=True))
    new = program.step(state, x)[2].aux
    assert set(found) == set(new) == {"walkers", "mean"}
    for name, value in new.items():
        np.testing.assert_allclose(value, found[name], rtol=1e-13)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_fits_resume_bit_for_bit(x, dtype, tmp_path):
    program = ppl.compile(walk, dtype=dtype, data=x)
    settings = {"optimizer": ppl.optim.Adam(0.01), "seed": 2, "batch_size": 3, "progress": False}
    whole = ppl.fit(program, x, epochs=6, **settings).state
    path = tmp_path / "walk.npz"
    ppl.fit(program, x, epochs=2, checkpoint=path, **settings)
    assert same(ppl.load_state(path).aux, ppl.fit(program, x, epochs=2, checkpoint=path, **settings).state.aux)
    resumed = ppl.fit(program, x, epochs=6, checkpoint=path, **settings).state
    assert same(whole.aux, resumed.aux) and same(whole.params, resumed.params)


def test_a_users_nopython_loop_carries_in_place(program, x):
    state = program.init(5, x)
    params, grad, aux, hyper = program.arrays(state)
    step_fn, work = program.njit, program.workspace(rows=len(x))

    @numba.njit
    def run(params, grad, aux, hyper, work, x, steps):
        for t in range(steps):
            step_fn(params, grad, aux, hyper, 5, t, 0, 1.0, work, x)

    run(params, grad, aux, hyper, work, x, 4)
    for _ in range(4):
        _, _, state = program.step(state, x)
    np.testing.assert_allclose(aux, state._aux, rtol=1e-12)


@ppl.model
def remembered():
    """A unit with a cost, remembered; the estimator may relax it, enumerate it or draw pairs."""
    last = ppl.carried("last", 0.5, shape=3)
    b = ppl.sample("b", Bernoulli(logits=ppl.param("a", np.array([0.3, -0.4, 0.1]))))
    ppl.carry("last", b)
    ppl.cost("loss", np.sum((b - 0.4) ** 2 * (1 + last)) ** 2)


@pytest.mark.parametrize(
    "estimator",
    [Enumerate(), Relaxed(), StraightThrough(), Rebar(), DisARM(), ScoreFunction("moving_average")],
    ids=lambda e: type(e).__name__,
)
def test_the_next_value_is_made_of_true_samples_whatever_the_estimator(estimator):
    program = ppl.compile(remembered, estimators=estimator, allow_bias=True)
    state = program.init(0)
    seen = set()
    for _ in range(8):
        drawn = program.sample(state)["b"]
        _, _, state = program.step(state)
        assert (state.aux["last"] == drawn).all()
        seen.add(tuple(drawn))
    assert len(seen) > 1


def test_gradients_stay_unbiased_at_the_carried_value():
    program = ppl.compile(remembered, estimators=DisARM(), dtype="float64")
    state = program.step(program.init(0))[2]
    assert program.check_unbiased(state, repeats=4000, reference="exact").ok


def test_a_counter_needs_no_random_node_and_any_number_of_particles():
    @ppl.model
    def counted():
        t = ppl.carried("t", 0.0)
        ppl.carry("t", t + 1)
        z = ppl.sample("z", Normal(ppl.param("mu", 0.0), 1.0))
        ppl.cost("loss", z * t)

    program = ppl.compile(counted, particles=4)
    state = program.init(0)
    for i in range(3):
        assert state.aux["t"] == i
        _, _, state = program.step(state, particles=2)


def test_scopes_and_kinds_of_nodes(program, x):
    @ppl.model
    def scoped(x):
        with ppl.scope("a"):
            ppl.carry("v", 2 * ppl.carried("v", 1.0))
        with ppl.scope("b"):
            v = ppl.carried("v", 1.0)
            ppl.carry("v", v > 3)
        with ppl.plate("data", x) as x:
            ppl.cost("loss", (x[0] - ppl.param("mu", 0.0)) ** 2 * v)

    scopes = ppl.compile(scoped, data=x)
    new = scopes.step(scopes.init(0, x), x)[2]
    assert {k: float(v) for k, v in new.aux.items()} == {"a/v": 2.0, "b/v": 0.0}
    assert program.graph.nodes["walkers"]["kind"] == "carried" and ("walkers", "step") in program.graph.edges
    assert '"walkers" [label="walkers"' in to_dot(program.graph)


def test_comparing_and_tuning_keep_it():
    """Every program is measured at the carried value of the state given."""
    programs = {n: ppl.compile(remembered, estimators=e) for n, e in (("a", Rebar()), ("b", ScoreFunction()))}
    state = programs["b"].init(0)
    state = state.replace(aux={"last": np.full(3, 7.0)})
    moved = warm_up(programs["a"], Call(adapt_state(programs["a"], state, ()), ()), 5)
    assert (moved.aux["last"] == 7.0).all() and moved.aux["b/eta"] != programs["a"].init(0).aux["b/eta"]
    assert moved.step == 0
    tuned = ppl.tune(programs["b"], state, budget_seconds=1.0)
    assert set(tuned.explain()) == {"b"}


def _compile(body, *data, **settings):
    def model(x):
        body(x)

    return ppl.compile(ppl.model(model), data=np.zeros((4, 2)), **settings)


def _cost(x):
    with ppl.plate("data", x) as row:
        ppl.cost("loss", np.sum(row) * ppl.param("w", 1.0))


def _twice(x):
    v = ppl.carried("v", 0.0)
    ppl.carry("v", v)
    ppl.carry("v", v + 1)
    _cost(x)


def _declared_twice(x):
    ppl.carry("v", ppl.carried("v", 0.0))
    ppl.carried("v", 0.0)


def _never(x):
    ppl.carried("v", 0.0)
    _cost(x)


def _unknown(x):
    ppl.carried("v", 0.0)
    ppl.carry("w", 1.0)


def _shape(x):
    ppl.carried("v", np.zeros(3))
    ppl.carry("v", 1.0)


def _fixed_plate(x):
    old = ppl.carried("v", np.zeros(3))
    with ppl.plate("k", old) as row:
        ppl.carry("v", row)


def _data_plate(x):
    ppl.carried("v", np.zeros(2))
    with ppl.plate("data", x) as row:
        ppl.carry("v", row)


def _integer(x):
    old = ppl.carried("v", 0.0)
    ppl.carry("v", old.astype(int))


def _not_finite(x):
    ppl.carried("v", np.nan)


def _no_shape(x):
    ppl.carried("v", ppl.init.normal())


def _node_too(x):
    ppl.sample("v", Normal(0.0, 1.0))
    ppl.carried("v", 0.0)


REFUSED = {
    _twice: (ModelError, "'v' is carried twice\n  first at test_carried.py"),
    _declared_twice: (ModelError, "two nodes are called 'v'"),
    _never: (ModelError, "carried 'v' is never carried: say ppl.carry"),
    _unknown: (ModelError, r"there is no carried value 'w' \(there are: 'v'\)"),
    _shape: (ShapeError, r"carry 'v': the value has shape \(\), the carried value \(3,\)"),
    _fixed_plate: (ModelError, r"varies over plate 'k'; ppl.collect\(value, 'k'\)"),
    _data_plate: (ModelError, "varies over plate 'data'; its rows are known at run time only"),
    _integer: (ModelError, "this is an integer; use .astype"),
    _not_finite: (ModelError, "carried 'v': init is not finite"),
    _no_shape: (ModelError, "carried 'v': an initialiser needs shape="),
    _node_too: (ModelError, "two nodes are called 'v'"),
}


@pytest.mark.parametrize("body", REFUSED, ids=lambda f: f.__name__)
def test_refusals_name_the_value_and_the_line(body):
    kind, message = REFUSED[body]
    with pytest.raises(kind, match=message):
        _compile(body)


def test_several_particles_have_no_one_next_value():
    message = "carried 'last' takes its next value from the random node 'b', with 2 particles: "
    with pytest.raises(EstimatorError, match=message):
        ppl.compile(remembered, particles=2)
    program = ppl.compile(remembered)
    state = program.init(0)
    with pytest.raises(EstimatorError, match=message):
        program.step(state, particles=2)
    assert np.isfinite(program.value(state, particles=50))


def test_importance_samples_have_no_one_next_value():
    @ppl.model
    def prior():
        ppl.sample("z", Normal(ppl.carried("m", 0.0), 1.0))

    @ppl.model
    def guide():
        z = ppl.sample("z", Normal(ppl.param("mu", 0.0), 1.0))
        ppl.carried("last", 0.0)
        ppl.carry("last", z)

    with pytest.raises(ModelError, match="varies over plate 'importance'"):
        ppl.compile(ppl.iwae(prior, guide, particles=3))


def test_the_name_of_a_baseline_is_refused():
    @ppl.model
    def clash():
        with ppl.scope("b"):
            ppl.carry("baseline", ppl.carried("baseline", 0.0))
        b = ppl.sample("b", Bernoulli(logits=ppl.param("a", 0.0)))
        ppl.cost("loss", (b - 0.4) ** 2)

    program = ppl.compile(clash, estimators=ScoreFunction("moving_average"))
    with pytest.raises(ModelError, match="the name of an auxiliary variable of node 'b'"):
        program.init(0)


def test_an_initialiser_of_another_shape_is_refused_when_it_draws():
    program = _compile(_wrong_draw)
    with pytest.raises(ShapeError, match=r"init returned shape \(2,\) instead of \(3,\)"):
        program.init(0)


def _wrong_draw(x):
    ppl.carry("v", ppl.carried("v", lambda rng, shape: rng.normal(size=2), shape=3))
    _cost(x)
