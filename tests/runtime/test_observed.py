"""Observed values outside the support of their distribution are one DataError, wherever they come from."""

import numpy as np
import pytest

import ppl
from ppl.errors import DataError, ParameterError
from ppl.runtime.call import Call, bind_call

ROWS = 4


def probs():
    return ppl.param("p", np.full(3, 0.2))


DISTRIBUTIONS = {
    "Poisson": (lambda a: ppl.Poisson(np.exp(a)), np.array([0, 3, 1, 2]), [-1]),
    "NegativeBinomial": (lambda a: ppl.NegativeBinomial(2.0, logits=a), np.array([0, 3, 1, 2]), [-1]),
    "ZeroInflatedPoisson": (lambda a: ppl.ZeroInflatedPoisson(0.3, np.exp(a)), np.array([0, 3, 1, 2]), [-2]),
    "Geometric": (lambda a: ppl.Geometric(logits=a), np.array([0, 3, 1, 2]), [-1]),
    "Binomial": (lambda a: ppl.Binomial(3, logits=a), np.array([0, 3, 1, 2]), [-1, 4]),
    "BetaBinomial": (lambda a: ppl.BetaBinomial(np.exp(a), 1.0, 3), np.array([0, 3, 1, 2]), [-1, 4]),
    "DiscreteUniform": (lambda a: ppl.DiscreteUniform(-2, 3), np.array([-2, 3, 1, 2]), [-3, 4]),
    "Categorical": (lambda a: ppl.Categorical(logits=a * np.arange(3.0)), np.array([0, 2, 1, 2]), [-1, 3]),
    "Bernoulli": (lambda a: ppl.Bernoulli(logits=a), np.array([0.0, 1.0, 0.5, 1.0]), [-0.1, 1.5, np.nan, np.inf]),
    "Bernoulli-int": (lambda a: ppl.Bernoulli(logits=a), np.array([0, 1, 1, 1]), [-1, 2]),
    "Normal": (lambda a: ppl.Normal(a, 1.0), np.array([0.0, -3.0, 1.0, 2.0]), [np.nan, np.inf, -np.inf]),
    "Gamma": (lambda a: ppl.Gamma(np.exp(a), 1.0), np.array([0.1, 3.0, 1.0, 2.0]), [0.0, -1.0, np.inf]),
    "LogNormal": (lambda a: ppl.LogNormal(a, 1.0), np.array([0.1, 3.0, 1.0, 2.0]), [0.0, -1.0]),
    "InverseGamma": (lambda a: ppl.InverseGamma(np.exp(a), 1.0), np.array([0.1, 3.0, 1.0, 2.0]), [0.0]),
    "Weibull": (lambda a: ppl.Weibull(np.exp(a), 1.0), np.array([0.1, 3.0, 1.0, 2.0]), [0.0]),
    "Exponential": (lambda a: ppl.Exponential(np.exp(a)), np.array([0.0, 3.0, 1.0, 2.0]), [-1e-3]),
    "HalfNormal": (lambda a: ppl.HalfNormal(np.exp(a)), np.array([0.0, 3.0, 1.0, 2.0]), [-1e-3]),
    "Beta": (lambda a: ppl.Beta(np.exp(a), 1.0), np.array([0.1, 0.9, 0.5, 0.3]), [0.0, 1.0, 1.5]),
    "Kumaraswamy": (lambda a: ppl.Kumaraswamy(np.exp(a), 1.0), np.array([0.1, 0.9, 0.5, 0.3]), [0.0, 1.0]),
    "Uniform": (lambda a: ppl.Uniform(-1.0, 2.0), np.array([-1.0, 2.0, 0.5, 0.3]), [-1.01, 2.01]),
    "TruncatedNormal": (lambda a: ppl.TruncatedNormal(a, 1.0, 0.0, 2.0), np.array([0.0, 2.0, 1.0, 1.0]), [-0.1, 2.1]),
    "Truncated": (lambda a: ppl.Truncated(ppl.Normal(a, 1.0), high=2.0), np.array([-9.0, 2.0, 1.0, 1.0]), [2.1]),
    "Pareto": (lambda a: ppl.Pareto(2.0, np.exp(a)), np.array([2.0, 3.0, 4.0, 5.0]), [1.9]),
    "VonMises": (lambda a: ppl.VonMises(a, 1.0), np.array([-3.0, 6.0, 0.0, 100.0]), [np.inf, np.nan]),
    "RelaxedBernoulli": (lambda a: ppl.RelaxedBernoulli(0.5, logits=a), np.array([0.1, 0.9, 0.5, 0.3]), [0.0, 1.0]),
    "OneHotCategorical": (
        lambda a: ppl.OneHotCategorical(logits=a * np.arange(3.0)),
        np.eye(3)[[0, 2, 1, 1]],
        [[1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [2.0, -1.0, 0.0]],
    ),
    "Dirichlet": (
        lambda a: ppl.Dirichlet(np.exp(a) * np.ones(3)),
        np.full((ROWS, 3), 1 / 3),
        [[0.5, 0.5, 0.5], [1.0, 0.0, 0.0], [1.5, -0.5, 0.0]],
    ),
    "Multinomial": (
        lambda a: ppl.Multinomial(4, logits=a * np.arange(3.0)),
        np.array([[4, 0, 0], [1, 1, 2], [0, 4, 0], [2, 2, 0]]),
        [[4, 1, 0], [5, -1, 0], [0, 0, 0]],
    ),
    "PlackettLuce": (
        lambda a: ppl.PlackettLuce(logits=a * np.arange(3.0)),
        np.array([[0, 1, 2], [2, 1, 0], [1, 0, 2], [0, 2, 1]]),
        [[0, 1, 1], [1, 2, 3], [0, 0, 0]],
    ),
    "Mixture": (
        lambda a: ppl.Mixture(np.array([0.5, 0.5]), [ppl.Gamma(np.exp(a), 1.0), ppl.Exponential(1.0)]),
        np.array([0.0, 3.0, 1.0, 2.0]),
        [-1.0],
    ),
    "Transformed": (
        lambda a: ppl.Transformed(ppl.Normal(a, 1.0), ppl.bijectors.Exp()),
        np.array([0.1, 3.0, 1.0, 2.0]),
        [0.0, -1.0],
    ),
}


def program_of(name, observe=lambda y: y, dtype="float64", rows=DISTRIBUTIONS):
    make, good, bad = rows[name]

    @ppl.model
    def observing(y):
        a = ppl.param("a", 0.3)
        with ppl.plate("data", y) as y:
            ppl.sample("y", make(a), obs=observe(y))

    return ppl.compile(ppl.likelihood(observing), dtype=dtype, data=(good,)), good, bad


def spoiled(good, value, row=2):
    out = np.array(good)
    out[row] = value
    return out


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_data_outside_the_support_are_named(name, dtype):
    program, good, bad = program_of(name, dtype=dtype)
    binder = program.prepare().binder
    binder.bind((good,))
    for value in bad:
        with pytest.raises(DataError, match=r"argument 'y' is .* at \(2,.*observed value of node 'y'"):
            binder.bind((spoiled(good, value),))


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_constants_outside_the_support_are_named(name):
    make, good, bad = DISTRIBUTIONS[name]

    def compiled(value, mask=None):
        @ppl.model
        def observing():
            with ppl.plate("k", value) as y:
                ppl.sample("y", make(ppl.param("a", 0.3)), obs=y, obs_mask=mask)

        return ppl.compile(ppl.likelihood(observing))

    compiled(good)
    for value in bad:
        with pytest.raises(DataError, match=r"node 'y': obs is .* at \(2.*\n  at test_observed.py"):
            compiled(spoiled(good, value))


COMPUTED = ("Poisson", "Categorical", "Bernoulli", "OneHotCategorical", "Gamma", "Multinomial", "Beta")


@pytest.mark.parametrize("name", COMPUTED)
def test_computed_observations_are_guarded(name):
    """Seen by the guards of the traced program, in the interpreter."""
    from ppl.runtime.nonfinite import find_violation

    counts = DISTRIBUTIONS[name][1].dtype.kind == "i"
    program, good, bad = program_of(name, lambda y: y + 1 if counts else y * 2.0)
    compiled, state = program.prepare(), program.init(0)
    assert compiled.trace.guards
    for value, wrong in [(None, False), *((b, True) for b in bad)]:
        data = good if value is None else spoiled(good, value)
        data = data - 1 if counts else data / 2
        bound = bind_call(program, Call(state, (data,)))
        found = find_violation(compiled, "value", bound.environment(), bound.data)
        finite = value is None or np.all(np.isfinite(value))
        assert (found is not None) == wrong or not finite
        if found is not None:
            assert "observed value" in found.text and "row 2 of 'data'" in found.text


def test_a_column_is_checked_and_the_others_are_not():
    @ppl.model
    def columns(x):
        with ppl.plate("data", x) as x:
            ppl.sample("k", ppl.Poisson(np.exp(ppl.param("a", 0.0) * x[0])), obs=x[1])

    x = np.array([[-3, 2], [5, 0], [-1, 7]])
    program = ppl.compile(ppl.likelihood(columns), dtype="float64", data=(x,))
    binder = program.prepare().binder
    binder.bind((x,))
    x[2, 1] = -7
    with pytest.raises(DataError, match=r"argument 'x' is -7 at \(2, 1\)"):
        binder.bind((x,))


def test_each_index_of_several_is_checked():
    """A wrong column would otherwise read the next row of the table."""

    @ppl.model
    def pairs(i, j):
        table = ppl.param("t", np.arange(6.0).reshape(2, 3))
        with ppl.plate("data", i, j) as (i, j):
            ppl.cost("c", table[i, j] + table[i + 1 - 1, j])

    good = np.array([0, 1, 1])
    program = ppl.compile(pairs, dtype="float64", data=(good, good))
    binder = program.prepare().binder
    binder.bind((good, np.array([2, 2, 0])))
    with pytest.raises(DataError, match=r"argument 'j' is 3 at \(0,\); an index into an axis of length 3"):
        binder.bind((good, np.array([3, 0, 0])))
    with pytest.raises(DataError, match=r"argument 'i' is 2 at \(2,\); an index into an axis of length 2"):
        binder.bind((np.array([0, 1, 2]), good))


def test_a_computed_index_is_guarded():
    @ppl.model
    def shifted(i):
        table = ppl.param("t", np.arange(5.0))
        with ppl.plate("data", i) as i:
            ppl.cost("c", table[i - 1])

    program = ppl.compile(shifted, dtype="float64", data=(np.array([1, 5]),))
    state = program.init(0)
    assert program.value(state, np.array([1, 5])) == 4.0
    for wrong in (0, 6):
        with pytest.raises(ParameterError, match=rf"an index must be between 0 and 4, not {wrong - 1} in row 1"):
            program.value(state, np.array([1, wrong]))


def converting(x):
    """One float argument, one of integers, both free."""

    @ppl.model
    def plain(x, k):
        with ppl.plate("data", x, k) as (x, k):
            ppl.cost("c", x * k * ppl.param("a", 0.5))

    return ppl.compile(plain, dtype=x, data=(np.ones(3), np.ones(3, int)))


LAYOUTS = {
    "swapped": lambda a: a.astype(a.dtype.newbyteorder()),
    "strided": lambda a: np.repeat(a, 3)[::3],
    "backwards": lambda a: a[::-1].copy()[::-1],
    "read only": lambda a: np.frombuffer(a.tobytes(), a.dtype),
    "list": lambda a: a.tolist(),
    "narrow": lambda a: a.astype(a.dtype.kind + "4"),
    "short": lambda a: a.astype(a.dtype.kind + "2"),
    "unmasked": lambda a: np.ma.masked_array(a, mask=False),
    "field": lambda a: np.array([(v, 1) for v in a.tolist()], [("v", a.dtype), ("pad", "i1")])["v"],
    "duck": lambda a: type("Duck", (), {"__array__": lambda self, dtype=None, copy=None: a})(),
}


@pytest.fixture(scope="module")
def plain_program():
    return converting("float32")


@pytest.mark.parametrize("name", LAYOUTS)
def test_arrays_of_every_layout_give_the_same(name, plain_program, tmp_path):
    x, k = np.array([1.5, -2.0, 4.0]), np.array([3, 1, 2])
    state = plain_program.init(0)
    wanted = plain_program.value_and_grad(state, x, k)
    assert wanted[0] == 0.5 * float(x @ k)
    got = plain_program.value_and_grad(state, LAYOUTS[name](x), LAYOUTS[name](k))
    assert got[0] == wanted[0] and np.array_equal(got[1]["a"], wanted[1]["a"])


def test_memory_maps_and_shared_memory(plain_program, tmp_path):
    both = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float64, (3,))
    both[:] = [1.0, 2.0, 3.0]
    state = plain_program.init(0)
    assert plain_program.value(state, both, both.astype(int)) == 7.0
    assert plain_program.value(state, np.load(tmp_path / "x.npy", mmap_mode="r"), np.array([1, 1, 1])) == 3.0


REFUSED = {
    "masked": (np.ma.masked_array(np.ones(3), [0, 1, 0]), "masked array.*obs_mask"),
    "overflow": (np.array([1.0, 1e39, 0.0]), r"argument 'x' is 1e\+39 at \(1,\), which overflows float32"),
    "empty": (np.ones(0), r"argument 'x' is empty"),
    "complex": (np.ones(3) * 1j, "dtype complex128"),
    "object": (np.array([1.0, None, 2.0]), "dtype object"),
    "text": (np.array(["a", "b", "c"]), "dtype <U1"),
    "date": (np.array(["2020-01-01"] * 3, "datetime64[D]"), "dtype datetime64"),
    "structured": (np.zeros(3, [("a", "f8")]), "is not a number type"),
    "none": (None, "dtype object"),
    "huge": ([2**70, 1, 2], "dtype object"),
    "ragged": ([[1.0], [2.0, 3.0], [1.0]], "different lengths"),
    "dict": ({"a": 1}, "dtype object"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_array_of_numbers_is_refused(name, plain_program):
    given, message = REFUSED[name]
    state, k = plain_program.init(0), np.array([1, 2, 3])
    for call in (plain_program.value, plain_program.sample):
        with pytest.raises(DataError, match=message):
            call(state, given, k)
    with pytest.raises(DataError, match=message):
        ppl.fit(plain_program, given, k, steps=1, optimizer=ppl.optim.SGD(0.1), progress=False)
    with pytest.raises(DataError, match=message):
        batches = [(np.ones(3), k), (given, k)]
        ppl.fit(plain_program, batches=batches, steps=2, optimizer=ppl.optim.SGD(0.1), progress=False)


def test_sparse_matrices_are_refused(plain_program):
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(DataError, match=r"sparse.*toarray"):
        plain_program.value(plain_program.init(0), sparse.csr_array(np.ones((3, 1))), np.array([1, 2, 3]))


def test_integers_beyond_64_bits_are_refused(plain_program):
    state, k = plain_program.init(0), np.array([1, 2**63, 3], np.uint64)
    with pytest.raises(DataError, match=rf"argument 'k' is {2**63} at \(1,\), beyond the integers of 64 bits"):
        plain_program.value(state, np.ones(3), k)
    assert plain_program.value(state, np.ones(3), np.array([1, 2, 3], np.uint64)) == 3.0


def test_whole_numbers_that_a_float_cannot_tell_apart_are_refused():
    program, good, _ = program_of("Poisson", dtype="float32")
    program.prepare().binder.bind((spoiled(good, 2**24),))
    with pytest.raises(DataError, match=r"argument 'y' is 16777217 at \(2,\).*2\*\*24.*float64"):
        program.prepare().binder.bind((spoiled(good, 2**24 + 1),))
    program, good, _ = program_of("Poisson", dtype="float64")
    program.prepare().binder.bind((spoiled(good, 2**24 + 1),))

    @ppl.model
    def by_float(x):
        with ppl.plate("data", x) as x:
            ppl.cost("c", ppl.param("t", np.zeros(3))[x.astype(int) - 2**24])

    program = ppl.compile(by_float, dtype="float32", data=(np.ones(2),))
    with pytest.raises(DataError, match=r"argument 'x' is 16777217.0 at \(1,\).*astype\(int\)"):
        program.prepare().binder.bind((np.array([2.0**24 - 1, 2.0**24 + 1]),))


def test_masked_entries_may_be_anything():
    make, good, bad = DISTRIBUTIONS["Gamma"]

    @ppl.model
    def masked(y, known):
        with ppl.plate("data", y, known) as (y, known):
            ppl.sample("y", make(ppl.param("a", 0.3)), obs=y, obs_mask=known)

    known = np.array([True, True, False, True])
    program = ppl.compile(ppl.likelihood(masked), dtype="float32", data=(good, known))
    for value in (*bad, 1e300, np.nan):
        program.prepare().binder.bind((spoiled(good, value), known))
        with pytest.raises(DataError, match=r"argument 'y' is .* at \(1,\)"):
            program.prepare().binder.bind((spoiled(good, value, 1), known))
