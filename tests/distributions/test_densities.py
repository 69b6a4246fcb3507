"""Laws of every registered distribution: log-density, cdf, mean, entropy, against independent formulas."""

from __future__ import annotations

import numpy as np
import pytest
from distribution_laws import CASES, IDS, LAWS, build, leaf, symbolic, value_of, values_of
from scipy import integrate, special

from ppl.compiler.lower.request import Request
from ppl.distributions import REGISTRY, Cauchy, InverseGamma, Pareto, StudentT
from ppl.errors import ModelError
from ppl.ir import ops
from ppl.ir.differentiate import gradient
from ppl.ir.node import make
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate
from ppl.ir.rewrites.simplify import erase_markers
from ppl.ir.types import Axis, Kind
from ppl.runtime.executable import compile_request

each_case = pytest.mark.parametrize(("name", "case"), CASES, ids=IDS)

COMPILED = (
    ("Normal", "StudentT", "Cauchy", "Laplace", "Logistic"),
    ("Gamma", "Beta", "InverseGamma", "Weibull", "Kumaraswamy"),
    ("Poisson", "Binomial", "NegativeBinomial", "Geometric"),
    ("MultivariateNormal", "Dirichlet", "Categorical", "VonMises"),
)


def assert_close(got, wanted, tolerance=1e-10):
    """Error relative to max(1, |wanted|), infinities equal."""
    got, wanted = np.asarray(got, float), np.asarray(wanted, float)
    finite = np.isfinite(wanted)
    np.testing.assert_array_equal(got[~finite], wanted[~finite])
    error = np.abs(got[finite] - wanted[finite]) / np.maximum(1, np.abs(wanted[finite]))
    assert error.max(initial=0) <= tolerance, (got, wanted)


def test_every_registered_distribution_has_a_law():
    assert set(LAWS) == set(REGISTRY)


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning:scipy")
@each_case
def test_log_prob(name, case):
    law = LAWS[name]
    dist, reference = build(name, case), law.reference(**case)
    log_density = getattr(reference, "logpdf", None) or reference.logpmf
    with np.errstate(divide="ignore"):
        values = np.asarray(central(reference, law.values))
        assert_close(dist.log_prob(values), log_density(values))


def in_single(value):
    """Float32 numbers as float64; whole numbers as they are."""
    if isinstance(value, int):
        return value
    rounded = np.asarray(value, np.float32).astype(float)
    return rounded if rounded.ndim else float(rounded)


def grid_in_single(values):
    """A grid in float32, what that cannot hold moved to where it ends, so that no value changes sides of 0 or 1."""
    x = np.asarray(values)
    if x.dtype.kind != "f":
        return x
    held = np.sign(x) * np.clip(np.abs(x), 1e-37, 1e37)
    return in_single(np.where(x < 1, np.minimum(held, 1 - 2.0**-24), held))


def central(reference, values):
    """Values about the middle of a continuous law, whose densities are small numbers made of large ones."""
    if not hasattr(reference, "ppf") or np.ndim(values) > 1 or not hasattr(reference, "logpdf"):
        return values
    return np.concatenate([values, reference.ppf(np.array([0.03, 0.4, 0.55, 0.97]))])


def single_case(name, case):
    """A distribution over named leaves, their float32 values, a grid and its exact log-densities."""
    case, law = {k: in_single(v) for k, v in case.items()}, LAWS[name]
    reference = law.reference(**case)
    values = grid_in_single(central(reference, law.values))
    log_density = getattr(reference, "logpdf", None) or reference.logpmf
    dist, leaves, at = symbolic(build(name, case))
    with np.errstate(divide="ignore", over="ignore"):
        return dist, leaves, at, values, np.asarray(log_density(values)).astype(np.float32)


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning:scipy")
@each_case
def test_log_prob_in_single_precision(name, case):
    dist, _, at, values, wanted = single_case(name, case)
    rows = ops.distribute(ops.const(values), Axis("rows", Kind.PLATE, len(values)))
    (found,) = evaluate([dist.node_log_prob(rows)], Env(params=at, dtype=np.float32))
    assert found.dtype == np.float32
    assert_close(found, wanted, 2e-5)


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning:scipy")
@pytest.mark.parametrize("names", COMPILED, ids=" ".join)
def test_log_prob_in_compiled_single_precision(names):
    """Some laws in one program, one row for every case and value, with parameters that come with the row."""
    axis, rows = Axis("data", Kind.PLATE), 0
    inputs, arrays, exact = [], [], []
    for i, cases in enumerate(by_signature(names)):
        at = {
            k: np.concatenate([np.broadcast_to(own[k], (len(values), *own[k].shape)) for _, own, values, _ in cases])
            for k in cases[0][1]
        }
        at["x"] = np.concatenate([values for *_, values, _ in cases])
        leaves = {
            k: make("input", name=f"{k}{i}", axes=(axis,), shape=v.shape[1:], dtype=kind(v)) for k, v in at.items()
        }
        x = leaves.pop("x")
        density = cases[0][0].with_params(tuple(leaves.values())).node_log_prob(x)
        arrays.append((f"log_p{i}", *erase_markers([density])))
        inputs += zip((*leaves.values(), x), at.values(), strict=True)
        exact.append(np.concatenate([wanted for *_, wanted in cases]))
        rows = max(rows, len(exact[-1]))
    types = tuple((x.attrs["name"], x.type) for x, _ in inputs)
    given = [np.resize(v, (rows, *v.shape[1:])).astype(int if kind(v) == "int" else np.float32) for _, v in inputs]
    request = Request((), (), (), tuple(arrays), (), (), (), types)
    compiled = compile_request(request, "float32", "cpu")
    found = compiled.run(np.zeros(0, np.float32), inputs=given, rows={"data": rows}, total_rows={"data": rows})
    for (label, _), wanted in zip(arrays, exact, strict=True):
        got = found.arrays[label]
        assert got.dtype == np.float32
        assert_close(got[: len(wanted)], wanted, 2e-5)


def kind(values):
    """The IR dtype of an array."""
    return "int" if values.dtype.kind == "i" else "float"


def by_signature(names):
    """`single_case` of all cases of some laws, by name, names and shapes of parameters, and shape of values."""
    found = {}
    for name in names:
        for case in LAWS[name].cases:
            dist, _, at, values, exact = single_case(name, case)
            signature = (name, tuple((k, v.shape) for k, v in at.items()), values.shape[1:])
            found.setdefault(signature, []).append((dist, at, values, exact))
    return found.values()


@each_case
def test_log_prob_is_minus_infinity_outside(name, case):
    outside = np.asarray(LAWS[name].outside)
    if len(outside):
        np.testing.assert_array_equal(build(name, case).log_prob(outside), -np.inf)


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning:scipy")
@each_case
def test_cdf(name, case):
    law = LAWS[name]
    dist = build(name, case)
    if "cdf" not in law.closed:
        with pytest.raises(ModelError, match="no cdf"):
            dist.cdf(np.asarray(law.values))
        return
    values = np.asarray(law.values)
    wanted = law.reference(**case).cdf(values)
    np.testing.assert_allclose(dist.cdf(values), wanted, rtol=1e-10, atol=1e-300)
    for outside in law.outside:
        if dist.dtype == "int":
            assert dist.cdf(outside) == pytest.approx(law.reference(**case).cdf(outside), rel=1e-10)
        else:
            assert dist.cdf(outside) == (0.0 if outside < np.min(values) else 1.0)


@each_case
def test_mean_and_entropy(name, case):
    law = LAWS[name]
    dist, reference = build(name, case), law.reference(**case)
    for what in ("mean", "entropy"):
        if what not in law.closed:
            with pytest.raises(ModelError, match=f"no {what} in closed form"):
                getattr(dist, what)() if what == "entropy" else dist.mean
    if "mean" in law.closed and name != "OneHotCategorical":
        assert_close(dist.mean, reference.mean())
    if "entropy" in law.closed and name != "OneHotCategorical":
        assert_close(dist.entropy(), reference.entropy(), 1e-9)


@each_case
def test_covariance(name, case):
    law, dist = LAWS[name], build(name, case)
    if "mean" not in law.closed or name in ("Categorical", "LKJCholesky", "VonMises"):
        with pytest.raises(ModelError, match="no covariance in closed form"):
            dist.unit_covariance()
        return
    found = value_of(dist.unit_covariance())
    if name == "OneHotCategorical":
        p = np.asarray(dist.mean)
        assert_close(found, np.einsum("k,ki,kj->ij", p, np.eye(len(p)) - p, np.eye(len(p)) - p))
    else:
        assert_close(found, law.reference(**case).cov() if dist.unit_rank else law.reference(**case).var())


def test_covariance_of_a_student_is_infinite_up_to_two_degrees_of_freedom():
    assert value_of(StudentT(np.array([1.0, 2.0, 3.0]), 0.0, 2.0).unit_covariance()).tolist() == [np.inf, np.inf, 12.0]


@each_case
def test_density_sums_or_integrates_to_one(name, case):
    dist = build(name, case)
    if dist.unit_support() is not None:
        assert np.exp(dist.log_prob(dist.support_table())).sum() == pytest.approx(1.0, abs=1e-12)
        assert dist.support_size() == len(dist.support_table())
    elif name == "RelaxedBernoulli":
        y = np.linspace(-20, 20, 20001)  # in y = logit x, where the mass is not squeezed against the ends
        x = special.expit(y)
        mass = integrate.trapezoid(np.exp(dist.log_prob(x)) * x * special.expit(-y), y)
        low, high = dist.cdf(x[[0, -1]])
        assert mass == pytest.approx(high - low, abs=1e-6)


def test_relaxed_one_hot_integrates_to_one():
    dist = REGISTRY["RelaxedOneHotCategorical"](1.3, logits=np.array([0.3, -1.0, 0.9]))
    grid = np.linspace(-25, 25, 401)
    y = np.stack(np.meshgrid(grid, grid, indexing="ij"), -1)
    x = np.exp(np.concatenate([y, np.zeros((*y.shape[:-1], 1))], -1))
    x /= x.sum(-1, keepdims=True)
    mass = np.exp(dist.log_prob(x)) * x.prod(-1)  # the Jacobian of y -> x
    inner = integrate.trapezoid(mass, grid, axis=0)
    assert integrate.trapezoid(inner, grid) == pytest.approx(1.0, abs=1e-6)


@each_case
def test_score_matches_differences(name, case):
    """The derivative of the log-density in each parameter, where it is differentiable."""
    if 0.0 in np.ravel(case.get("probs", 0.5)) or 1.0 in np.ravel(case.get("probs", 0.5)):
        pytest.skip("a probability at the edge of its range")
    dist, leaves, at = symbolic(build(name, case))
    values = np.asarray(LAWS[name].values, float)
    moderate = values[(np.abs(values) < 50).reshape(len(values), -1).all(-1)]
    for value in moderate:
        if name == "Laplace" and 0 < abs(value) < 1e-4:
            continue  # differences would straddle the kink
        log_p = dist.node_log_prob(ops.const(value))
        grads = values_of(gradient(log_p, list(leaves.values())), **at)
        for (key, theta), grad in zip(at.items(), grads, strict=True):
            step = 1e-5 * np.maximum(1, np.abs(theta))
            for index in np.ndindex(theta.shape):
                if np.isinf(theta[index]):  # the logit of an impossible class
                    assert np.isfinite(grad[index])
                    continue
                shift = np.zeros(theta.shape)
                shift[index] = np.broadcast_to(step, theta.shape)[index]
                high, low = (values_of([log_p], **{**at, key: theta + s * shift})[0] for s in (1, -1))
                if np.isinf(high) or np.isinf(low):
                    continue
                slope = (high - low) / (2 * shift[index])
                rounding = 1e-15 * abs(high) / shift[index]
                assert grad[index] == pytest.approx(slope, rel=2e-5, abs=2e-5 + rounding), (value, key)


def test_pareto_below_its_scale():
    dist = Pareto(2.0, 3.0)
    assert dist.log_prob(2.0) == pytest.approx(np.log(1.5)) and dist.cdf(2.0) == 0.0
    np.testing.assert_array_equal(dist.log_prob(np.array([1.999, 0.0, -5.0, np.nan])), -np.inf)
    np.testing.assert_array_equal(dist.cdf(np.array([1.999, 0.0, -5.0])), 0.0)
    scale, x = leaf("scale"), leaf("x")
    grads = gradient(Pareto(scale, 3.0).node_log_prob(x), [scale, x])
    np.testing.assert_array_equal(values_of(grads, scale=2.0, x=1.0), [0.0, 0.0])


def test_moments_that_are_infinite():
    inf = np.inf
    for law, mean in (
        (Pareto(2.0, np.array([0.5, 1.0, 1.5])), 6.0),
        (InverseGamma(np.array([0.5, 1.0, 1.5]), 3.0), 6.0),
    ):
        np.testing.assert_array_equal(law.mean, [inf, inf, mean])
        np.testing.assert_array_equal(law.variance, [inf] * 3)


@pytest.mark.parametrize("x", [1e25, 2.0**60, 2.0**59, 3.0, 1.0, 0.2, 1e-25, 0.0, -1.7, -1e19, -1e25])
def test_cauchy_where_the_square_overflows(x):
    value = leaf("x")
    node = Cauchy(0.0, 1.0).node_log_prob(value)
    outputs = [node, *gradient(node, [value])]
    got, slope = evaluate(outputs, Env(params={"x": np.float32(x)}, dtype=np.float32))
    x = np.longdouble(np.float32(x))
    assert float(got) == pytest.approx(float(-np.log(np.pi) - np.log1p(x * x)), rel=1e-6)
    assert float(slope) == pytest.approx(float(-2 * x / (1 + x * x)), rel=1e-6)


@pytest.mark.parametrize("x", [1e100, 2.0**60, 2.0**59, 3.0, 0.2, 1e-25, 0.0, -1.7, -1e19, -1e25])
def test_second_derivatives_of_cauchy_and_students_t_where_the_square_overflows(x):
    value = leaf("x")
    for law, df in ((Cauchy(0.0, 1.0), 1.0), (StudentT(4.0, 0.0, 1.0), 4.0)):
        slope = gradient(law.node_log_prob(value), [value])
        bend = evaluate(gradient(slope[0], [value]), Env(params={"x": np.float64(x)}, dtype=np.float64))[0]
        square = np.longdouble(x) ** 2
        wanted = -(df + 1) * (df - square) / (df + square) ** 2
        assert float(bend) == pytest.approx(float(wanted), rel=1e-12)
