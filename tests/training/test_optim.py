"""Optimizers against their formulas in NumPy, schedules, groups, and objects with optax's contract."""

from typing import NamedTuple

import numpy as np
import pytest

from ppl.errors import DataError, OptionError
from ppl.runtime.state import Layout, State, load_state
from ppl.training import optim
from ppl.training.optim import SGD, AdaGrad, Adam, AdamW, LazyAdam, Momentum, RMSProp, as_transform

LAYOUT = Layout((("enc.weight", (2, 3)), ("dec.weight", (3,)), ("enc.bias", ())))

NAMES = [name for name, _ in LAYOUT.shapes]


def _vector(seed, dtype=np.float64):
    return np.random.default_rng(seed).normal(size=LAYOUT.size).astype(dtype)


def _run(optimizer, steps=5, dtype=np.float64):
    """The path of parameters under gradients 1, 2, … of the generator."""
    transform, flat, opt, path = as_transform(optimizer), _vector(0, dtype), None, []
    for step in range(steps):
        flat, opt = transform.apply(flat, _vector(step + 1, dtype), opt, LAYOUT, step)
        path.append(flat)
    return path, opt


# --- formulas --------------------------------------------------------------------------------------------


def _sgd(p, gs):
    for g in gs:
        p = p - 0.1 * g
        yield p


def _momentum(p, gs, nesterov=False):
    b = np.zeros_like(p)
    for g in gs:
        b = 0.8 * b + g
        p = p - 0.1 * (g + 0.8 * b if nesterov else b)
        yield p


def _adam(p, gs):
    m = v = np.zeros_like(p)
    for t, g in enumerate(gs, 1):
        m, v = 0.7 * m + 0.3 * g, 0.95 * v + 0.05 * g**2
        p = p - 0.01 * (m / (1 - 0.7**t)) / (np.sqrt(v / (1 - 0.95**t)) + 1e-6)
        yield p


def _adagrad(p, gs):
    s = np.zeros_like(p)
    for g in gs:
        s = s + g**2
        p = p - 0.1 * g / (np.sqrt(s) + 1e-6)
        yield p


def _adamw(p, gs):
    m = v = np.zeros_like(p)
    for t, g in enumerate(gs, 1):
        m, v = 0.7 * m + 0.3 * g, 0.95 * v + 0.05 * g**2
        p = p - 0.01 * ((m / (1 - 0.7**t)) / (np.sqrt(v / (1 - 0.95**t)) + 1e-6) + 0.3 * p)
        yield p


def _rmsprop(p, gs):
    v = np.zeros_like(p)
    for g in gs:
        v = 0.9 * v + 0.1 * g**2
        p = p - 0.1 * g / (np.sqrt(v) + 1e-6)
        yield p


CASES = {
    "adamw": (AdamW(0.01, b1=0.7, b2=0.95, eps=1e-6, weight_decay=0.3), _adamw),
    "rmsprop": (RMSProp(0.1, decay=0.9, eps=1e-6), _rmsprop),
    "adagrad": (AdaGrad(0.1, eps=1e-6), _adagrad),
    "sgd": (SGD(0.1), _sgd),
    "momentum": (Momentum(0.1, beta=0.8), _momentum),
    "nesterov": (Momentum(0.1, 0.8, nesterov=True), lambda p, gs: _momentum(p, gs, True)),
    "adam": (Adam(0.01, b1=0.7, b2=0.95, eps=1e-6), _adam),
    "lazy adam": (LazyAdam(0.01, b1=0.7, b2=0.95, eps=1e-6), _adam),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_lazy_adam_leaves_entries_without_a_gradient(dtype):
    """Entries move as Adam's would, with t the steps of all and the moments of their own gradients."""
    rng = np.random.default_rng(0)
    optimizer, p = LazyAdam(0.01, b1=0.7, b2=0.95, eps=1e-6), rng.normal(size=9).astype(dtype)
    opt, wanted, m, v = optimizer.init({"a": p}), p.astype(float), np.zeros(9), np.zeros(9)
    for t in range(1, 7):
        g = (rng.normal(size=9) * (rng.random(9) < 0.4)).astype(dtype)
        updates, opt = optimizer.update({"a": g}, opt, {"a": p})
        before, p, on = p, p + updates["a"], g != 0
        m[on], v[on] = 0.7 * m[on] + 0.3 * g[on], 0.95 * v[on] + 0.05 * g[on].astype(float) ** 2
        step = 0.01 * (m / (1 - 0.7**t)) / (np.sqrt(v / (1 - 0.95**t)) + 1e-6)
        wanted = np.where(on, wanted - step, wanted)
        assert p[~on].tobytes() == before[~on].tobytes() and (p[on] != before[on]).all()
        np.testing.assert_allclose(p, wanted, atol=30 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", CASES)
def test_formula(name, dtype):
    optimizer, formula = CASES[name]
    path, opt = _run(optimizer, dtype=dtype)
    gs = [_vector(s, dtype).astype(float) for s in range(1, 6)]
    for got, want in zip(path, formula(_vector(0, dtype).astype(float), gs), strict=True):
        assert got.dtype == dtype
        np.testing.assert_allclose(got, want, atol=30 * np.finfo(dtype).eps)
    assert opt["t"] == 5


@pytest.mark.parametrize("name", CASES)
def test_dict_form_is_the_flat_form(name):
    optimizer, _ = CASES[name]
    path, _ = _run(optimizer)
    params = LAYOUT.split(_vector(0))
    opt = optimizer.init(params)
    for step, want in enumerate(path):
        updates, opt = optimizer.update(LAYOUT.split(_vector(step + 1)), opt, params)
        params = {n: params[n] + updates[n] for n in NAMES}
        np.testing.assert_allclose(LAYOUT.join(params, float), want, rtol=1e-13)


@pytest.mark.parametrize("name", CASES)
def test_nothing_given_is_written_to(name):
    transform = as_transform(CASES[name][0])
    flat, grad = _vector(0), _vector(1)
    _, opt = transform.apply(flat, grad, None, LAYOUT, 0)
    before = {k: np.copy(v) for k, v in opt.items()}
    for array in (flat, grad, *opt.values()):
        if isinstance(array, np.ndarray):
            array.setflags(write=False)
    first, _ = transform.apply(flat, grad, opt, LAYOUT, 1)
    second, _ = transform.apply(flat, grad, opt, LAYOUT, 1)
    assert np.array_equal(first, second) and first is not second
    assert all(np.array_equal(before[k], opt[k]) for k in before)


TORCH = {
    "SGD": (SGD(0.1), {"lr": 0.1}),
    "AdaGrad": (AdaGrad(0.1, eps=1e-10), {"lr": 0.1}),
    "Adam": (Adam(0.01), {"lr": 0.01}),
    "AdamW": (AdamW(0.01), {"lr": 0.01}),
    "RMSProp": (RMSProp(0.01), {"lr": 0.01}),
}


@pytest.mark.parametrize("name", TORCH)
def test_the_defaults_are_those_of_torch(name):
    torch = pytest.importorskip("torch")
    optimizer, options = TORCH[name]
    path, _ = _run(optimizer)
    theirs = torch.nn.Parameter(torch.tensor(_vector(0)))
    rule = getattr(torch.optim, {"RMSProp": "RMSprop", "AdaGrad": "Adagrad"}.get(name, name))([theirs], **options)
    for step, ours in enumerate(path):
        theirs.grad = torch.tensor(_vector(step + 1))
        rule.step()
        np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-12)


OPTAX = {"adam": (Adam, {}), "adamw": (AdamW, {"weight_decay": 0.1}), "rmsprop": (RMSProp, {"decay": 0.9})}


@pytest.mark.parametrize("name", OPTAX)
def test_the_rules_are_those_of_optax(name):
    optax = pytest.importorskip("optax")
    own, options = OPTAX[name]
    more = {"eps_in_sqrt": False} if name == "rmsprop" else {}
    path, _ = _run(own(0.01, **options))
    theirs, _ = _run(getattr(optax, name)(0.01, **options, **more))
    for ours, other in zip(path, theirs, strict=True):
        np.testing.assert_allclose(ours, other, rtol=1e-4, atol=1e-5)


def test_decay_needs_the_parameters():
    opt = AdamW().init({"a": np.ones(2)})
    with pytest.raises(DataError, match=r"AdamW\.update needs params="):
        AdamW().update({"a": np.ones(2)}, opt)


def test_clip_norm_shortens_long_gradients_only():
    grad = np.array([3.0, 4.0] + [0.0] * (LAYOUT.size - 2))
    start = np.zeros(LAYOUT.size)
    clipped, _ = SGD(1.0, clip_norm=1.0).apply(start, grad, None, LAYOUT, 0)
    np.testing.assert_allclose(clipped[:2], [-0.6, -0.8])
    assert np.array_equal(SGD(1.0, clip_norm=5.5).apply(start, grad, None, LAYOUT, 0)[0], -grad)
    huge = np.full(LAYOUT.size, 1e25, np.float32)
    new, _ = SGD(1.0, clip_norm=1.0).apply(np.zeros(LAYOUT.size, np.float32), huge, None, LAYOUT, 0)
    np.testing.assert_allclose(np.linalg.norm(new), 1.0, rtol=1e-5)


# --- schedules -------------------------------------------------------------------------------------------


def test_schedules():
    assert [optim.constant(0.3)(t) for t in (0, 9)] == [0.3, 0.3]
    np.testing.assert_allclose([optim.linear(1.0, 0.2, 4)(t) for t in (0, 1, 4, 9)], [1, 0.8, 0.2, 0.2])
    np.testing.assert_allclose([optim.cosine(1.0, 0.2, 4)(t) for t in (0, 2, 4, 9)], [1, 0.6, 0.2, 0.2])
    np.testing.assert_allclose([optim.exponential(2.0, 0.5, 10)(t) for t in (0, 10, 15)], [2, 1, 0.5**0.5])
    steps = optim.piecewise([2, 5], [1.0, 0.1, 0.01])
    assert [steps(t) for t in (0, 1, 2, 4, 5, 99)] == [1.0, 1.0, 0.1, 0.1, 0.01, 0.01]
    np.testing.assert_allclose(
        [optim.robbins_monro(2.0, 3.0, 0.75)(t) for t in (0, 7)], 2 / np.array([3.0, 10.0]) ** 0.75
    )
    assert repr(optim.linear(1.0, 0.2, 4)) == "linear(1.0, 0.2, 4)"


def test_schedule_drives_the_learning_rate():
    path, _ = _run(SGD(optim.robbins_monro(0.5, 2.0, 1.0)), steps=2)
    want = _vector(0) - 0.5 / 2 * _vector(1) - 0.5 / 3 * _vector(2)
    np.testing.assert_allclose(path[-1], want, rtol=1e-13)
    params = LAYOUT.split(_vector(0))
    optimizer = SGD(lambda t: 0.5 / (2 + t))
    _, opt = optimizer.update(params, optimizer.init(params))
    updates, _ = optimizer.update(params, opt)
    np.testing.assert_allclose(updates["dec.weight"], -0.5 / 3 * params["dec.weight"])


@pytest.mark.parametrize("power", [0.5, 0.4, 1.01, -1.0, float("nan")])
def test_robbins_monro_needs_its_power(power):
    with pytest.raises(OptionError, match="power"):
        optim.robbins_monro(1.0, 1.0, power)


@pytest.mark.parametrize(
    "make",
    [
        lambda: optim.robbins_monro(-1.0, 1.0, 1.0),
        lambda: optim.robbins_monro(1.0, 0.0, 1.0),
        lambda: optim.linear(1.0, 0.0, 0),
        lambda: optim.exponential(1.0, -0.5),
        lambda: optim.piecewise([3, 2], [1.0, 2.0, 3.0]),
        lambda: optim.piecewise([3], [1.0]),
        lambda: optim.constant(float("inf")),
        lambda: SGD(-0.1),
        lambda: SGD("fast"),
        lambda: SGD(0.1, clip_norm=0.0),
        lambda: Momentum(0.1, beta=1.0),
        lambda: Adam(b2=1.0),
        lambda: Adam(eps=0.0),
        lambda: AdaGrad(eps=0.0),
        lambda: RMSProp(decay=1.0),
        lambda: RMSProp(eps=0.0),
        lambda: AdamW(weight_decay=-1e-3),
        lambda: AdamW(b2=1.0),
    ],
)
def test_bad_options(make):
    with pytest.raises(OptionError):
        make()


# --- groups ----------------------------------------------------------------------------------------------


def test_groups_are_independent_and_frozen_does_not_move():
    path, opt = _run({"enc.*": Adam(0.1, clip_norm=1.0), "*": None})
    inside = np.r_[0:6, 9]
    assert np.array_equal(path[-1][6:9], _vector(0)[6:9])
    assert set(opt) == {"enc.*"}
    alone = as_transform(Adam(0.1, clip_norm=1.0))
    flat, own = _vector(0)[inside], None
    for step in range(5):
        flat, own = alone.apply(flat, _vector(step + 1)[inside], own, LAYOUT, step)
    np.testing.assert_array_equal(path[-1][inside], flat)


def test_frozen_survives_a_bad_gradient():
    transform = as_transform({"dec*": None, "*": SGD(0.1)})
    grad = _vector(1)
    grad[6:9] = [np.nan, np.inf, 1.0]
    new, _ = transform.apply(_vector(0), grad, None, LAYOUT, 0)
    assert np.array_equal(new[6:9], _vector(0)[6:9])
    assert transform.trainable(LAYOUT).tolist() == [True] * 6 + [False] * 3 + [True]


def test_first_match_wins():
    path, opt = _run({"*.weight": SGD(0.1), "enc*": Momentum(0.2), "*": Adam()}, steps=1)
    g = _vector(1)
    np.testing.assert_allclose(path[0], _vector(0) - np.r_[[0.1] * 9, 0.2] * g)
    assert set(opt) == {"*.weight", "enc*"}


@pytest.mark.parametrize("groups", [{"enc*": SGD(0.1)}, {"*": SGD(0.1), "none*": None}, {}])
def test_groups_must_cover_and_match(groups):
    with pytest.raises(OptionError):
        _run(groups)


def test_state_of_another_optimizer_is_refused():
    for first, second in [(SGD(0.1), Adam()), (Adam(), {"*": Adam()}), ({"*": Adam()}, Adam())]:
        _, opt = _run(first)
        with pytest.raises(DataError, match="optimizer state"):
            as_transform(second).apply(_vector(0), _vector(1), opt, LAYOUT, 0)


# --- optax's contract ------------------------------------------------------------------------------------


class TraceState(NamedTuple):
    count: np.ndarray
    trace: dict


class LikeOptax:
    """optax.chain(trace(0.9), scale(-0.1)): nested named tuples of dicts."""

    def init(self, params):
        return (TraceState(np.zeros((), np.int32), {k: np.zeros_like(v) for k, v in params.items()}), ())

    def update(self, grads, state, params=None):
        trace = {k: grads[k] + 0.9 * state[0].trace[k] for k in grads}
        return {k: -0.1 * v for k, v in trace.items()}, (TraceState(state[0].count + 1, trace), ())


def test_optax_like():
    path, opt = _run(LikeOptax())
    want, _ = _run(Momentum(0.1))
    np.testing.assert_allclose(path, want, rtol=1e-12)
    assert opt[0].count == 5


def test_optax_like_state_survives_a_checkpoint(tmp_path):
    transform = as_transform(LikeOptax())
    flat, opt = transform.apply(_vector(0), _vector(1), None, LAYOUT, 0)
    State(flat, np.zeros(0), (LAYOUT, Layout(())), 1, 0, opt).save(tmp_path / "s.npz")
    state = load_state(tmp_path / "s.npz")
    want, _ = transform.apply(flat, _vector(2), opt, LAYOUT, 1)
    got, _ = as_transform(LikeOptax()).apply(state._flat, _vector(2), state.opt, LAYOUT, 1)
    assert np.array_equal(got, want)
    with pytest.raises(DataError):
        transform.apply(flat, _vector(2), {"t": 1}, LAYOUT, 1)


def test_optax_like_in_a_group():
    path, _ = _run({"enc*": LikeOptax(), "*": None})
    assert np.array_equal(path[-1][6:9], _vector(0)[6:9]) and not np.array_equal(path[-1][:6], _vector(0)[:6])


@pytest.mark.parametrize("wrong", [None, 0.1, "adam", Adam, {"*": "adam"}])
def test_not_an_optimizer(wrong):
    with pytest.raises(OptionError):
        as_transform(wrong)
