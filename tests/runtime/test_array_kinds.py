"""Arrays of any layout, byte order and kind, and what stands for one: the numbers of native contiguous arrays, or an
error."""

import array as standard
import copy
import pickle
import threading
from functools import cache

import numpy as np
import pytest

import ppl
from ppl.errors import DataError, ModelError, PplError

RNG = np.random.default_rng(0)
X, K, SEEN = RNG.normal(size=(6, 3)), np.array([0, 1, 2, 3, 0, 1]), np.array([1, 0, 1, 1, 0, 1], bool)


@ppl.model
def model(x, k, seen):
    """Floats, indices that are observed and looked up, and a mask."""
    table = ppl.param("table", np.arange(12.0).reshape(4, 3) * 0.1)
    with ppl.plate("data", x, k, seen) as (x, k, seen):
        z = ppl.sample("z", ppl.Bernoulli(logits=table @ x))
        scale = ppl.param("scale", 1.0, constraint="positive")
        ppl.sample("y", ppl.Normal(np.sum(z) * scale, 1.0), obs=x[0], obs_mask=seen)
        ppl.sample("k", ppl.Categorical(logits=np.concatenate([table[0], z[:1]])), obs=k)
        ppl.cost("entry", ppl.param("entries", np.arange(4.0))[k])


@ppl.model
def guide(x, k, seen):
    """Four units."""
    with ppl.plate("data", x) as x:
        ppl.sample("z", ppl.Bernoulli(logits=ppl.param("guide", np.full((4, 3), 0.1)) @ x))


class Boxed:
    """What has `__array__`, as data frames have, and counts how often it is asked; the dtype it shows is wrong."""

    dtype = np.dtype(np.int32)

    def __init__(self, value):
        self.value, self.asked = value, 0

    def __array__(self, dtype=None, copy=None):
        self.asked += 1
        return np.array(self.value, dtype)


def read_only(value):
    frozen = value.copy()
    frozen.setflags(write=False)
    return frozen


def unaligned(value):
    return np.frombuffer(b"\0" + value.tobytes(), np.uint8)[1:].view(value.dtype).reshape(value.shape)


SAME = {
    "columns first": lambda v: np.array(v, order="F"),
    "strided": lambda v: np.repeat(v, 2, 0)[::2] if v.ndim else v,
    "reversed": lambda v: v[::-1].copy()[::-1] if v.ndim else v,
    "other byte order": lambda v: v.astype(v.dtype.newbyteorder()),
    "read-only": read_only,
    "unaligned": unaligned,
    "list": lambda v: v.tolist(),
    "boxed": Boxed,
    "unmasked": lambda v: np.ma.masked_array(v, False),
}
LONGER = {"long double": lambda v: v.astype(np.longdouble)}
WRONG = {
    "objects": lambda v: v.astype(object),
    "complex": lambda v: v.astype(complex),
    "text": lambda v: v.astype(str),
    "masked": lambda v: np.ma.masked_array(v, np.ones(v.shape, bool)),
    "one axis more": lambda v: v[None],
    "empty": lambda v: v.ravel()[:0],
    "dates": lambda v: v.astype(int).astype("M8[D]"),
    "record": lambda v: np.zeros(v.shape, [("a", float)]),
    "none": lambda v: None,
    "a program": lambda v: program(),
    "a set": lambda v: set(np.ravel(v).tolist()),
}


@cache
def program():
    estimator = ppl.estimators.ScoreFunction("moving_average")
    return ppl.compile(ppl.elbo(model, guide), estimator, dtype="float64", data=(X, K, SEEN))


@cache
def start():
    return program().init(0)


def gradient(state, *data, **options):
    loss, grads = program().value_and_grad(state, *data, seed=1, **options)
    return loss, {name: value.tobytes() for name, value in grads.items()}


@cache
def expected():
    return gradient(start(), X, K, SEEN)


@pytest.mark.parametrize("kind", SAME)
def test_data_of_a_kind(kind):
    made = SAME[kind]
    for data in ((made(X), K, SEEN), (X, made(K), SEEN), (X, K, made(SEEN)), (made(X), made(K), made(SEEN))):
        assert gradient(start(), *data) == expected()
    assert gradient(start(), X, K, SEEN, rows=made(np.arange(6))) == expected()


@pytest.mark.parametrize("kind", {**SAME, **LONGER})
def test_parameters_of_a_kind(kind):
    made, values = {**SAME, **LONGER}[kind], program().params(start())
    given = {name: made(np.array(value)) for name, value in start().params.items()}
    assert gradient(start().replace(params=given), X, K, SEEN) == expected()
    held = {name: made(np.array(value)) for name, value in start().aux.items()}
    assert gradient(start().replace(aux=held), X, K, SEEN) == expected()
    made_anew = program().init(0, params={name: made(value) for name, value in values.items()})
    assert gradient(made_anew, X, K, SEEN) == expected()
    vector = program().unravel(made(program().ravel(start())))
    assert {name: part.tobytes() for name, part in vector.items()} == {
        name: part.tobytes() for name, part in start().params.items()
    }


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_array_of_numbers(kind):
    made = WRONG[kind]
    for data in ((made(X), K, SEEN), (X, made(K), SEEN), (X, K, made(SEEN))):
        with pytest.raises(PplError):
            gradient(start(), *data)
    with pytest.raises(DataError, match="parameter 'guide'"):
        start().replace(params={name: made(np.array(value)) for name, value in start().params.items()})
    with pytest.raises(DataError):
        start().replace(aux={name: made(np.array(value)) for name, value in start().aux.items()})
    with pytest.raises(DataError, match="vector"):
        program().unravel(made(program().ravel(start())))
    if kind != "none":
        with pytest.raises(DataError, match="rows="):
            gradient(start(), X, K, SEEN, rows=made(np.arange(6)))


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", ">i4", "uint8", "uint64", "int64"])
def test_integers_of_any_width(dtype):
    assert gradient(start(), X, K.astype(dtype), SEEN) == expected()


def test_floats_of_other_widths_are_what_they_hold():
    half = X.astype(np.float16)
    assert gradient(start(), half, K, SEEN) == gradient(start(), half.astype(float), K, SEEN)
    assert gradient(start(), X.astype(np.longdouble), K, SEEN) == expected()
    with pytest.raises(DataError, match="overflows float64"):
        gradient(start(), X * np.longdouble("1e400"), K, SEEN)


def test_buffers_of_the_standard_library():
    column = standard.array("q", K.tolist())
    assert gradient(start(), memoryview(X), column, SEEN) == expected()


def test_truth_values_for_floats():
    truth, state = X[:, 0] > 0, masked().init(0)
    assert masked().value(state, truth, SEEN) == masked().value(state, truth.astype(float), SEEN)


def test_what_stands_for_an_array_is_asked_once():
    boxed = Boxed(X)
    assert gradient(start(), boxed, K, SEEN) == expected() and boxed.asked == 1
    program().sample(start(), boxed, K, SEEN, seed=1)
    assert boxed.asked == 2


@cache
def masked():
    """A normal observation with a mask."""

    @ppl.model
    def normal(x, seen):
        with ppl.plate("data", x, seen) as (x, seen):
            ppl.sample("y", ppl.Normal(ppl.param("loc", 0.3), 1.0), obs=x, obs_mask=seen)

    return ppl.compile(ppl.likelihood(normal), dtype="float64", data=(X[:, 0], SEEN))


def test_a_mask_holds_truth_values():
    x, state = X[:, 0], masked().init(0)
    expected_loss = (0.5 * (x[SEEN] - 0.3) ** 2 + 0.5 * np.log(2 * np.pi)).sum()
    for numbers in (SEEN, SEEN.astype(int), SEEN.astype(float), SEEN.astype("uint8")):
        np.testing.assert_allclose(masked().value(state, x, numbers), expected_loss, rtol=1e-12)
    for wrong in (np.nan, 0.5, 2.0, -1.0, np.inf):
        with pytest.raises(DataError, match=r"argument 'seen' is .* at \(3,\); an entry of obs_mask of node 'y' must"):
            masked().value(state, x, np.where(np.arange(6) == 3, wrong, SEEN.astype(float)))
    with pytest.raises(DataError, match=r"argument 'seen' is 2 at \(0,\)"):
        masked().value(state, x, 2 * SEEN.astype(int))

    @ppl.model
    def weighted():
        ppl.sample("y", ppl.Normal(ppl.param("w", np.zeros(2)), 1.0), obs=np.ones(2), obs_mask=np.array([0.5, 1.0]))

    with pytest.raises(ModelError, match="obs_mask holds truth values"):
        ppl.compile(ppl.likelihood(weighted))


COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    **{f"pickle {n}": lambda s, n=n: pickle.loads(pickle.dumps(s, n)) for n in range(pickle.HIGHEST_PROTOCOL + 1)},
}


@pytest.mark.parametrize("how", COPIES)
def test_copies_of_states(how):
    optimizer = ppl.optim.Adam(0.1)
    state, _ = program().update(start(), X, K, SEEN, optimizer=optimizer)
    copied = COPIES[how](state)
    assert (copied.step, copied.seed, copied.estimators) == (state.step, state.seed, state.estimators)
    ours, theirs = (program().update(s, X, K, SEEN, optimizer=optimizer) for s in (state, copied))
    assert ours[1] == theirs[1]
    for name, value in ours[0].params.items():
        assert value.tobytes() == theirs[0].params[name].tobytes()


def test_copies_of_states_with_symbolic_options():
    relaxed = ppl.compile(model_of_a_unit, ppl.estimators.Relaxed(temperature=ppl.hyper("t", 0.5)))
    state = relaxed.init(0)
    for how in COPIES.values():
        assert relaxed.value_and_grad(how(state), seed=1) == relaxed.value_and_grad(state, seed=1)


@ppl.model
def model_of_a_unit():
    """One binary unit."""
    ppl.cost("c", (ppl.sample("b", ppl.Bernoulli(logits=ppl.param("logit", 0.3))) - 0.4) ** 2)


def test_a_pickle_that_was_changed_is_no_state():
    made, parts = start().__reduce__()
    for changed in (np.zeros(3), parts[0].astype(np.float32), parts[0].astype(object)):
        with pytest.raises(DataError):
            made(changed, *parts[1:])
    for layouts in (None, (), 3, parts[2][:1], [*parts[2]]):
        with pytest.raises(DataError, match="layouts"):
            made(*parts[:2], layouts, *parts[3:])


def test_copies_of_programs():
    for copied in (copy.copy(program()), copy.deepcopy({"program": program()})["program"]):
        assert copied.value(start(), X, K, SEEN, seed=1) == program().value(start(), X, K, SEEN, seed=1)


def test_copies_of_distributions():
    normal = ppl.Normal(np.array([0.0, 1.0]), 2.0)
    for copied in (copy.deepcopy(normal), pickle.loads(pickle.dumps(normal))):
        np.testing.assert_array_equal(copied.log_prob(0.5), normal.log_prob(0.5))


def test_calls_while_other_threads_compile():
    fresh = [ppl.compile(ppl.elbo(model, guide), program().explain().as_dict(), dtype="float64") for _ in range(2)]
    found, wrong = [], []

    def work(i):
        try:
            for _ in range(2):
                loss, grads = fresh[i % 2].value_and_grad(start(), X, K, SEEN, seed=1)
                found.append((loss, {name: value.tobytes() for name, value in grads.items()}))
                fresh[i % 2].sample(start(), X, K, SEEN, particles=1 + i, seed=i)
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and all(one == expected() for one in found) and len(found) == 10
