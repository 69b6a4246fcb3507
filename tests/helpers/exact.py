"""Exact expected losses by summation and quadrature over a trace: the oracle of the estimators' law tests.

Independent of expansion and differentiation: every random node is replaced by a grid of values along an axis of its
own, weighted by its probability; gradients are central differences of the expected loss.

A biased estimator estimates the gradient of something else. `surrogates` says of what, node by node: ("relaxed",
temperature) integrates the relaxed value over its noise; ("hard", temperature) and ("straight_through",) keep the true
sample and its probability at the base parameters, and let only the relaxation, or the mean, move.

A value behind `ppl.stop_gradient` stays at the base parameters while differences are taken. Where it reads a random
node its law would have to stay there, too: such graphs are refused here, and `tests/oracle` has their gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from ppl.distributions.base import Distribution
from ppl.ir import ops
from ppl.ir.node import Node, make, topological
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate
from ppl.ir.types import Axis, Kind, union_axes
from ppl.lang.trace import Trace

GRIDS = {"Normal": (-9.0, 9.0), "Logistic": (-30.0, 30.0), "Gumbel": (-8.0, 32.0)}

POSITIVE = ("Exponential", "LogNormal", "Gamma")

BASE = "@base"

Surrogate = tuple[str, float] | tuple[str]

AxisOf = Callable[[int], Axis]


def _joint(x: np.ndarray, units: int) -> np.ndarray:
    """All combinations of the entries of `x` over `units`: shape (len(x) ** units, units)."""
    index = np.indices((len(x),) * units).reshape(units, -1).T
    return x[index]


def _gumbel_density(g: np.ndarray) -> np.ndarray:
    return np.exp(-g - np.exp(-g))


def _logistic_density(t: np.ndarray) -> np.ndarray:
    return 1 / (4 * np.cosh(t / 2) ** 2)


def at_base(node: Node) -> Node:
    """`node` with every parameter at its base value."""
    env: dict[int, Node] = {}
    for n in topological([node]):
        if n.op == "param":
            env[id(n)] = make("param", name=n.attrs["name"] + BASE, shape=n.type.shape)
        else:
            env[id(n)] = make(n.op, *(env[id(a)] for a in n.args), **n.attrs) if n.args else n
    return env[id(node)]


def is_user_stop(node: Node) -> bool:
    """Whether `node` is the user's `stop_gradient`, not a stop that steadies a formula."""
    return node.op == "stop" and node.attrs["tag"] == "user"


def _refuse_stopped_draws(costs: list[Node]) -> None:
    """Raise where a random node is read behind `stop_gradient`."""
    for node in topological(costs):
        if is_user_stop(node):
            drawn = [n.attrs["site"].name for n in topological([node]) if n.op == "sample"]
            if drawn:
                raise NotImplementedError(f"{drawn} behind stop_gradient: tests.oracle.exact.solve has the gradient")


def _over(axis: Axis, array: np.ndarray, dtype: str | None = None) -> Node:
    return ops.distribute(ops.const(array, dtype), axis)


def _relaxation(dist: Distribution, temperature: float, hard: bool, points: int, axis_of: AxisOf) -> tuple[Node, Node]:
    """The relaxed value over a grid of its noise, and the noise's weights."""
    one_hot = dist.unit_rank == 1
    low, high = (-4.0, 20.0) if one_hot else (-30.0, 30.0)
    t = np.linspace(low, high, points)
    density = (_gumbel_density(t) if one_hot else _logistic_density(t)) * (t[1] - t[0])
    units = int(np.prod(dist.event_shape))
    noise, weight = _joint(t, units), np.prod(_joint(density, units), axis=1)
    axis = axis_of(len(noise))
    z = ops.add(dist.logits, _over(axis, noise.reshape(-1, *dist.event_shape)))
    soft = ops.softmax(ops.div(z, temperature)) if one_hot else ops.sigmoid(ops.div(z, temperature))
    if not hard:
        return soft, _over(axis, weight)
    fixed = at_base(z)
    true = ops.one_hot(ops.argmax(fixed), dist.event_shape[-1]) if one_hot else ops.cast(ops.less(0.0, fixed), "float")
    return ops.add(true, ops.sub(soft, at_base(soft))), _over(axis, weight)


def _continuous(dist: Distribution, points: int, axis_of: AxisOf) -> tuple[Node, Node]:
    """A grid of values and the probability of each; the grid moves with the parameters where the density
    has edges."""
    name = type(dist).__name__
    units = int(np.prod(dist.event_shape))
    if name == "Uniform":
        u = _joint((np.arange(points) + 0.5) / points, units)
        axis = axis_of(len(u))
        low, high = dist.params["low"], dist.params["high"]
        grid = _over(axis, u.reshape(-1, *dist.event_shape))
        return ops.add(low, ops.mul(ops.sub(high, low), grid)), _over(axis, np.full(len(u), 1 / len(u)))
    if name == "Laplace":
        t = np.linspace(-30, 30, points)
        loc, scale = dist.params["loc"], dist.params["scale"]
        axis = axis_of(points)
        value = ops.add(loc, ops.mul(scale, _over(axis, np.broadcast_to(t, (*dist.event_shape, points)).T)))
        assert units == 1, "one Laplace unit at a time"
        return value, _over(axis, np.exp(-abs(t)) / 2 * (t[1] - t[0]))
    if name in POSITIVE:
        t = np.linspace(-12, 6, points)
        x, w = np.exp(t), np.exp(t) * (t[1] - t[0])
    elif name == "StudentT":
        t = np.linspace(-14, 14, points)
        x, w = np.sinh(t), np.cosh(t) * (t[1] - t[0])
    elif name == "Beta":
        t = np.linspace(-25, 25, points)
        x = 1 / (1 + np.exp(-t))
        w = np.exp(-np.abs(t)) / (1 + np.exp(-np.abs(t))) ** 2 * (t[1] - t[0])
    elif name == "VonMises":
        x = (2 * np.arange(points) + 1 - points) * np.pi / points
        w = np.full(points, 2 * np.pi / points)
    elif name == "Poisson":
        x = np.arange(min(points, 80))
        w = np.ones(len(x))
    else:
        x = np.linspace(*GRIDS[name], points)
        w = np.full(points, x[1] - x[0])
    grid, weight = _joint(x, units), np.prod(_joint(w, units), axis=1)
    axis = axis_of(len(grid))
    value = _over(axis, grid.reshape(-1, *dist.event_shape))
    return value, ops.mul(ops.exp(dist.node_log_prob(value)), _over(axis, weight))


def _states(dist: Distribution, how: Surrogate | None, points: int, axis_of: AxisOf) -> tuple[Node, Node]:
    """Values of one node over an axis of its own, and their weights."""
    if how is not None and how[0] in ("relaxed", "hard"):
        return _relaxation(dist, how[1], how[0] == "hard", points, axis_of)  # type: ignore[misc]
    if type(dist).__name__ == "RelaxedBernoulli":
        temperature = float(dist.params["temperature"].attrs["value"].value)
        return _relaxation(dist, temperature, False, points, axis_of)
    if dist.support_size() == np.inf:
        return _continuous(dist, points, axis_of)
    table = dist.support_table()
    value = _over(axis_of(len(table)), table, dist.dtype)
    weight = ops.exp(dist.node_log_prob(value))
    if how is not None:
        mean = dist.node_mean()
        return ops.add(value, ops.sub(mean, at_base(mean))), at_base(weight)
    return value, weight


def expected_loss(trace: Trace, points: int = 401, surrogates: Mapping[str, Surrogate] | None = None) -> Node:
    """The expected loss as one IR node (unplated), with random nodes summed or integrated out."""
    env: dict[int, Node] = {}
    weights: dict[Axis, Node] = {}

    def visit(node: Node) -> Node:
        if node.op == "sample":
            site = node.attrs["site"]
            dist = site.dist.with_params(tuple(env[id(a)] for a in node.args))
            dist.event_mask = None
            made: list[Axis] = []

            def axis_of(n: int) -> Axis:
                made.append(Axis(f"grid:{site.name}", Kind.ENUM, n, depth=len(weights)))
                return made[0]

            value, weight = _states(dist, (surrogates or {}).get(site.name), points, axis_of)
            weights[made[0]] = weight
            return ops.expand(value, node.type.axes)
        if not node.args:
            return node
        args = [env[id(a)] for a in node.args]
        if is_user_stop(node):
            return at_base(args[0])
        if node.op == "expand":
            return ops.expand(args[0], node.attrs["axes"], node.type.shape)
        axes = union_axes(*(a.type.axes for a in args))
        return make(node.op, *(ops.expand(a, axes) for a in args), **node.attrs)

    costs = [c.node for c in trace.costs.values()]
    _refuse_stopped_draws(costs)
    for node in topological(costs):
        env[id(node)] = visit(node)
    total = ops.const(0.0)
    for cost in costs:
        total = ops.add(total, _expectation(env[id(cost)], weights))
    return total


def _expectation(x: Node, weights: dict[Axis, Node]) -> Node:
    while True:
        axes = [a for a in x.type.axes if a in weights]
        if not axes:
            break
        axis = max(axes, key=lambda a: a.depth)
        x = ops.sum_axes(ops.mul(weights[axis], x), (axis,))
    for axis in [a for a in x.type.axes if a.kind is Kind.PLATE]:
        x = ops.sum_axes(x, (axis,))
        x = ops.mul(x, make("scale", axis=axis)) if axis.size is None else x
    return x


def central_differences(loss: Callable[[dict[str, np.ndarray]], float], params: dict[str, np.ndarray], h: float = 1e-5):
    """{name: gradient} of a plain function of parameters."""
    grads = {}
    for name, value in params.items():
        g = np.zeros_like(value)
        for i in np.ndindex(value.shape):
            moved = [{**params, name: value.copy()} for _ in range(2)]
            moved[0][name][i] += h
            moved[1][name][i] -= h
            g[i] = (loss(moved[0]) - loss(moved[1])) / (2 * h)
        grads[name] = g
    return grads


def exact_gradient(
    trace: Trace,
    params: dict[str, np.ndarray],
    env: dict,
    points: int = 401,
    surrogates: Mapping[str, Surrogate] | None = None,
):
    """(loss, {name: gradient}) by central differences of the exact expected loss."""
    node = expected_loss(trace, points, surrogates)
    base = {name + BASE: value for name, value in params.items()}

    def loss(values: dict[str, np.ndarray]) -> float:
        return float(evaluate([node], Env(params={**values, **base}, dtype=np.float64, **env))[0])

    return loss(params), central_differences(loss, params)
