"""Small graphs that between them use every op the backends know, with data to run them on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ppl.compiler.lower import target as targets
from ppl.compiler.lower.request import Request
from ppl.compiler.lower.target import Target
from ppl.ir import cdfs, ops
from ppl.ir.differentiate import gradient
from ppl.ir.external import External
from ppl.ir.loop import trace_loop
from ppl.ir.node import Node, make
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate
from ppl.ir.types import PARTICLES, PRIMAL, Axis, Branch, Kind, Type, branch_axis
from ppl.runtime.executable import compile_request

DATA = Axis("data", Kind.PLATE)

OTHER = Axis("other", Kind.PLATE)

INNER = Axis("inner", Kind.PLATE, 4, 1)

GROUPS = Axis("groups", Kind.PLATE, 200)

ENUM = Axis("enum", Kind.ENUM, 3)

BRANCH = branch_axis((PRIMAL, Branch(0, "b", 1), Branch(0, "b", 2)))

ROWS = 37


@dataclass
class Graph:
    """Leaves and outputs of one test program."""

    scalars: dict[str, Node] = field(default_factory=dict)
    arrays: dict[str, Node] = field(default_factory=dict)
    params: dict[str, tuple[int, ...]] = field(default_factory=dict)
    inputs: dict[str, Type] = field(default_factory=dict)
    grads: bool = True
    high: int = 3

    def param(self, name: str, *shape: int) -> Node:
        self.params[name] = shape
        return make("param", name=name, shape=shape, dtype="float")

    def input(self, name: str, axes: tuple[Axis, ...], *shape: int, dtype: str = "float") -> Node:
        node = make("input", name=name, axes=axes, shape=shape, dtype=dtype)
        self.inputs[name] = node.type
        return node

    def total(self, x: Node, name: str = "loss") -> Node:
        """Declare the sum of everything in `x` as a scalar output."""
        self.scalars[name] = ops.sum_axes(ops.reduce_sum(x), x.type.axes)
        return self.scalars[name]


def request_of(g: Graph) -> Request:
    leaves = [make("param", name=n, shape=s, dtype="float") for n, s in g.params.items()]
    grads = gradient(next(iter(g.scalars.values())), leaves) if g.grads and g.scalars and leaves else []
    return Request(tuple(g.scalars.items()), tuple(zip(g.params, grads, strict=False)), (), tuple(g.arrays.items()),
                   tuple(g.params.items()), (), (), tuple(g.inputs.items()))  # fmt: skip


def assume(monkeypatch, **groups: dict[str, Any]) -> None:
    """Let the CPU's record have other values for a test: those of `rewrites`, `fusion`, `buffers` or `sharing`."""
    cpu = targets.TARGETS["cpu"]
    changed = {group: replace(getattr(cpu, group), **values) for group, values in groups.items()}
    monkeypatch.setattr(targets, "TARGETS", {**targets.TARGETS, "cpu": replace(cpu, **changed)})


def data_of(g: Graph, dtype: str, rows: int = ROWS) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    rng = np.random.default_rng(1)
    size = sum(int(np.prod(s)) for s in g.params.values())
    params = rng.normal(size=size).astype(dtype)
    inputs = {}
    for name, t in g.inputs.items():
        shape = (*(rows if a.size is None else a.size for a in t.axes), *t.shape)
        if t.dtype == "float":
            inputs[name] = rng.normal(size=shape).astype(dtype)
        else:
            inputs[name] = rng.integers(0, g.high if t.dtype == "int" else 2, shape).astype(
                np.int64 if t.dtype == "int" else np.bool_
            )
    return params, inputs


def check(g: Graph, dtype: str = "float64", particles: int = 2, repeats: int = 2, rows: int = ROWS,
          threads: tuple[int, ...] = (1,), ids: np.ndarray | None = None, target: str | Target = "cpu"):  # fmt: skip
    """Compile `g`, run it, compare everything with the interpreter; returns the executable.

    With several `threads`, rows are cut into several slabs besides, and every number of threads gives the same bits.
    """
    request = request_of(g)
    executable = compile_request(request, dtype, target)
    params, inputs = data_of(g, dtype, rows)
    named, at = {}, 0
    for name, shape in g.params.items():
        n = int(np.prod(shape))
        named[name], at = params[at : at + n].reshape(shape), at + n
    sizes = {"data": rows, "other": rows, "particles": particles, "repeats": repeats}
    env = Env(named, {}, {}, inputs, sizes, {} if ids is None else {"data": ids}, {"data": 1.5}, {"data": 100},
              seed=5, step=3, dtype=np.dtype(dtype).type)  # fmt: skip
    nodes = [n for _, n in (*request.scalars, *request.grads, *request.arrays)]
    values = evaluate(nodes, env)
    for slabs in (None, 2, 5)[: 1 if len(threads) == 1 else 3]:
        cut_into_slabs(executable, slabs)
        runs = [executable.run(params, inputs=list(inputs.values()), rows={"data": rows, "other": rows},
                               row_ids=None if ids is None else {"data": ids}, scales={"data": 1.5},
                               total_rows={"data": 100}, particles=particles, repeats=repeats, seed=5, step=3,
                               threads=count) for count in threads]  # fmt: skip
        compare(g, runs[0], iter(values), dtype)
        for found in runs[1:]:
            assert same_bits(found, runs[0])
    cut_into_slabs(executable, None)
    return executable


def cut_into_slabs(executable, count: int | None) -> None:
    """Have calls cut their rows into so many slabs; into as many as the program chooses if None."""
    vars(executable).pop("_slabs", None)
    if count is not None:
        executable._slabs = lambda sizes: count if executable.regions else 1


def same_bits(a, b) -> bool:
    """Whether two results are the same bits."""
    arrays = all(np.array_equal(a.arrays[k], b.arrays[k], equal_nan=True) for k in b.arrays)
    return a.scalars == b.scalars and a.grad.tobytes() == b.grad.tobytes() and arrays


def compare(g: Graph, found, expected, dtype: str) -> None:
    tol = {"rtol": 1e-9, "atol": 1e-10} if dtype == "float64" else {"rtol": 2e-4, "atol": 2e-4}
    for name in g.scalars:
        np.testing.assert_allclose(found.scalars[name], next(expected), err_msg=name, **tol)
    at = 0
    if found.grad.size:
        for name, shape in g.params.items():
            n = int(np.prod(shape))
            np.testing.assert_allclose(found.grad[at : at + n].reshape(shape), next(expected), err_msg=name, **tol)
            at += n
    for name in g.arrays:
        value = next(expected)
        assert found.arrays[name].dtype == value.dtype
        exact = value.dtype.kind != "f" or g.arrays[name].op == "noise"
        close = {"rtol": 0, "atol": 0} if exact else tol
        np.testing.assert_allclose(found.arrays[name], value, err_msg=name, **close)


GRAPHS: dict[str, Callable[[], Graph]] = {}


def graph(build: Callable[[], Graph]) -> Callable[[], Graph]:
    GRAPHS[build.__name__] = build
    return build


@graph
def distribution_functions() -> Graph:
    g = Graph()
    x, s = g.input("x", (DATA,), 7), g.param("s", 7)
    p, a = ops.sigmoid(ops.mul(x, s)), ops.add(ops.mul(x, x), 0.5)
    y = [cdfs.gammainc(a, ops.exp(s)), cdfs.gammaincc(a, ops.exp(s)), cdfs.gammaincinv(a, p),
         cdfs.gammainccinv(a, p), cdfs.betainc(a, 2.0, p), cdfs.betaincinv(a, 1.5, p),
         cdfs.student_cdf(a, s), cdfs.student_icdf(a, p), cdfs.vonmises_cdf(a, ops.tanh(s)),
         cdfs.vonmises_icdf(a, p), cdfs.poisson_icdf(a, p),
         cdfs.negative_binomial_icdf(a, ops.exp(s), p)]  # fmt: skip
    total = y[0]
    for term in y[1:]:
        total = ops.add(total, term)
    g.total(ops.mul(total, make("scale", axis=DATA)))
    return g


@graph
def unary_chain() -> Graph:
    g = Graph()
    x, s = g.input("x", (DATA,), 7), g.param("s", 7)
    p = ops.add(ops.sigmoid(ops.mul(x, s)), 0.01)
    y = [ops.exp(p), ops.log(p), ops.log1p(p), ops.expm1(p), ops.sqrt(p), ops.sin(x), ops.cos(x), ops.tan(p),
         ops.atan(x), ops.tanh(x), ops.softplus(x), ops.absolute(x), ops.sign(x), ops.floor(x), ops.lgamma(p),
         ops.erf(x), ops.ndtr(x), ops.log_ndtr(x), ops.power(p, 1.5), ops.maximum(x, s), ops.minimum(x, s),
         ops.polygamma(0, p), ops.log_i0e(p), ops.where(ops.less(x, s), x, p), ops.neg(p)]  # fmt: skip
    total = y[0]
    for term in y[1:]:
        total = ops.add(total, term)
    g.total(ops.mul(total, make("scale", axis=DATA)))
    return g


@graph
def row_outputs() -> Graph:
    g = Graph(grads=False)
    x = g.input("x", (DATA,), 6)
    g.arrays["row"] = ops.reduce_sum(x)
    g.arrays["hit"] = ops.less(0.0, x)
    g.arrays["top"] = ops.argmax(x)
    g.arrays["max"] = ops.reduce("amax", x)
    g.arrays["ids"] = make("rowid", axis=DATA)
    g.arrays["noise"] = ops.noise("z", 1, (DATA, PARTICLES), (3,))
    g.arrays["flat"] = ops.noise("y", 0, (PARTICLES,), (2, 3))
    g.total(x)
    return g


@graph
def softmax_matrix() -> Graph:
    g = Graph()
    x, w = g.input("x", (DATA,), 20, 10), g.param("w", 20, 10)
    g.total(ops.mul(ops.log_softmax(ops.mul(x, w)), ops.softmax(x, 0)))
    return g


@graph
def dense_layers() -> Graph:
    g = Graph()
    x, w, b = g.input("x", (DATA,), 40), g.param("w", 40, 30), g.param("b", 30)
    v, c = g.param("v", 30, 20), g.param("c", 20)
    a = ops.add(ops.matmul(x, w), b)
    u = ops.noise("h", 0, (DATA, PARTICLES), (30,))
    h = ops.where(ops.less(u, ops.sigmoid(a)), ops.mul(a, 0.5), 1.0)
    g.total(ops.softplus(ops.add(ops.matmul(h, v), c)))
    return g


@graph
def joined_products() -> Graph:
    g = Graph()
    x, y, w, c = g.input("x", (DATA,), 40), g.input("y", (DATA,), 40), g.param("w", 40, 30), g.param("c")
    first, second = (
        make("contract", z, ops.tanh(ops.matmul(z, w)), a="i", b="j", out="ij", over=(DATA,)) for z in (x, y)
    )
    g.arrays["difference"] = ops.sub(ops.mul(first, ops.exp(c)), second)
    g.total(ops.add(ops.softplus(ops.matmul(x, w)), ops.softplus(ops.matmul(y, w))))
    return g


@graph
def branches() -> Graph:
    g = Graph()
    x, w, v = g.input("x", (DATA,), 5), g.param("w", 5, 30), g.param("v", 30, 40)
    a = ops.matmul(x, w)
    u = ops.noise("h", 0, (DATA, PARTICLES), (30,))
    soft = ops.sigmoid(ops.sub(a, u))
    h = ops.assemble_branches(
        {BRANCH.copies[0]: ops.stop(soft), BRANCH.copies[1]: soft, BRANCH.copies[2]: ops.mul(soft, a)}, BRANCH
    )
    f = ops.reduce_sum(ops.tanh(ops.matmul(h, v)))
    g.total(
        ops.sub(
            ops.pick_branch(f, BRANCH.copies[1]),
            ops.mul(ops.pick_branch(f), ops.stop(ops.pick_branch(f, BRANCH.copies[2]))),
        )
    )
    g.arrays["f"] = f
    return g


@graph
def tables() -> Graph:
    g = Graph(high=6)
    i, w = g.input("i", (DATA,), 4, dtype="int"), g.param("w", 6, 5)
    x = g.input("x", (DATA,), 9, 2)
    rows = ops.take(w, i)
    own = ops.take(x, i)
    g.total(ops.add(ops.tanh(ops.reduce_sum(rows, 1)), ops.reduce_sum(own, 1)))
    g.arrays["hot"] = ops.one_hot(i, 6)
    return g


@graph
def pieces() -> Graph:
    g = Graph()
    x, w = g.input("x", (DATA,), 3, 4), g.param("w", 2, 4)
    y = ops.concat([ops.mul(x, 2.0), w, ops.sin(x)], 0)
    z = ops.window(y, ((1, 3, 2), (3, 4, -1)))
    t = ops.transpose(z, (1, 0))
    flat = ops.reshape(ops.mul(t, t), (12,))
    g.total(ops.mul(flat, ops.reshape(x, (12,))))
    g.arrays["t"] = t
    g.arrays["r"] = ops.reshape(ops.expand(ops.reduce_sum(x, 0), (), (3, 4)), (12,))
    return g


@graph
def nested_plates() -> Graph:
    g = Graph()
    x, w = g.input("x", (DATA, INNER), 3), g.param("w", 3)
    own = g.param("own", 4)
    u = ops.noise("u", 0, (DATA, INNER, PARTICLES), (3,))
    y = ops.reduce_sum(ops.mul(ops.tanh(ops.mul(x, w)), u))
    y = ops.mul(y, ops.distribute(own, INNER))
    z = ops.collect(y, INNER)
    g.total(ops.mul(ops.log_softmax(z), ops.reduce_sum(z)))
    g.arrays["y"] = y
    return g


@graph
def two_plates() -> Graph:
    g = Graph()
    x, y, w = g.input("x", (DATA,), 3), g.input("y", (OTHER,)), g.param("w", 3)
    a = ops.sum_axes(ops.reduce_sum(ops.exp(ops.mul(x, w))), (DATA,))
    b = ops.sum_axes(ops.mul(ops.sin(y), ops.log(a)), (OTHER,))
    g.total(ops.mul(b, a))
    return g


@graph
def centred() -> Graph:
    """A row mean that is used again per row: two regions."""
    g = Graph()
    x, w = g.input("x", (DATA,), 3), g.param("w", 3)
    y = ops.reduce_sum(ops.tanh(ops.mul(x, w)))
    mean = ops.div(ops.sum_axes(y, (DATA,)), ops.size(DATA))
    d = ops.sub(y, mean)
    g.total(ops.mul(d, d))
    return g


@graph
def totals() -> Graph:
    """Sums over rows that other regions read as they are: one number, and in the gradient one for every group."""
    g = Graph(high=200)
    x, index, w = g.input("x", (DATA,)), g.input("index", (DATA,), dtype="int"), g.param("w", 200)
    groups = ops.collect(ops.sin(ops.distribute(w, GROUPS)), GROUPS)
    y = ops.mul(x, ops.take(groups, index))
    g.total(ops.tanh(ops.sub(y, ops.sum_axes(y, (DATA,)))))
    return g


@graph
def enumerated() -> Graph:
    g = Graph()
    x, w = g.input("x", (DATA,), 4), g.param("w", 4)
    support = ops.distribute(ops.const(np.arange(3.0)), ENUM)
    logits = ops.mul(ops.reduce_sum(ops.mul(x, w)), support)
    top = ops.stop(make("amax", logits, axes=(ENUM,), dims=()))
    e = ops.exp(ops.sub(logits, top))
    g.total(ops.add(ops.log(ops.sum_axes(e, (ENUM,))), top))
    return g


@graph
def unplated() -> Graph:
    g = Graph()
    w, s = g.param("w", 30, 40), g.param("s", 40)
    u = ops.noise("u", 0, (PARTICLES,), (40,))
    a = ops.tanh(ops.matmul(w, ops.add(s, u)))
    g.total(ops.mul(ops.matmul(ops.matmul(w, ops.transpose(w)), a), a))
    return g


@graph
def repeated() -> Graph:
    g = Graph()
    from ppl.ir.types import REPEATS

    x, w = g.input("x", (DATA,), 3), g.param("w", 3)
    u = ops.noise("u", 0, (REPEATS, DATA), (3,))
    one = ops.noise("one", 0, (REPEATS,), ())
    y = ops.mul(ops.mul(ops.expand(x, (REPEATS,)), u), ops.mul(w, one))
    g.arrays["y"] = ops.sum_axes(ops.reduce_sum(ops.tanh(y)), (DATA,))
    g.total(ops.tanh(y))
    return g


@graph
def scanned() -> Graph:
    g = Graph()
    x, w, s = g.input("x", (DATA,), 6, 3), g.param("w", 3), g.param("s", 3)

    def step(t, carries, xs, consts):
        (h,), (row,) = carries, xs
        u = make("noise", t, name="eps", purpose=0, axes=(DATA,), shape=(3,))
        h = ops.tanh(ops.add(ops.mul(h, consts[0]), ops.add(row, ops.mul(u, consts[1]))))
        return [h], [ops.reduce_sum(h)]

    (last,), (path,) = trace_loop(step, [ops.zeros_like(Type((DATA,), (3,)))], [x], [w, s], 6)
    g.total(ops.add(ops.reduce_sum(last), ops.reduce_sum(ops.mul(path, path))))
    g.arrays["path"] = path
    return g


@graph
def scalar_rebar() -> Graph:
    """The toy program: straight-line code."""
    g = Graph()
    logit, eta = g.param("logit"), g.param("eta")
    u, v = ops.noise("b", 0, (), ()), ops.noise("b", 1, (), ())
    z = ops.add(logit, ops.sub(ops.log(u), ops.log1p(ops.neg(u))))
    hard = ops.cast(ops.less(0.0, z), "float")
    p = ops.sigmoid(ops.neg(logit))
    w = ops.where(ops.less(0.0, z), ops.add(ops.mul(v, ops.sub(1.0, p)), p), ops.mul(v, p))
    zt = ops.add(logit, ops.sub(ops.log(w), ops.log1p(ops.neg(w))))
    b = ops.assemble_branches({BRANCH.copies[0]: ops.stop(hard), BRANCH.copies[1]: ops.sigmoid(ops.mul(z, 2.0)),
                      BRANCH.copies[2]: ops.sigmoid(ops.mul(zt, 2.0))}, BRANCH)  # fmt: skip
    d = ops.sub(b, 0.499)
    f = ops.mul(d, d)
    f0, f1, f2 = (ops.pick_branch(f, c) for c in BRANCH.copies)
    score = ops.neg(ops.softplus(ops.mul(ops.sub(1.0, ops.mul(hard, 2.0)), logit)))
    g.total(
        ops.add(f0, ops.add(ops.mul(eta, ops.sub(f1, f2)), ops.mul(ops.stop(ops.sub(f0, ops.mul(eta, f2))), score)))
    )
    return g


@graph
def small_vectors() -> Graph:
    g = Graph(high=3)
    w, t, x = g.param("w", 3, 2), g.param("t", 3), g.input("x", (), 4)
    i = g.input("i", (), 2, dtype="int")
    y = ops.concat([ops.take(t, i), ops.mul(ops.window(x, ((3, 2, -1),)), 2.0)])
    z = ops.matmul(ops.transpose(w), ops.log_softmax(ops.mul(t, 2.0)))
    r = ops.add(ops.reduce_sum(ops.mul(y, x)), ops.reduce_sum(ops.sin(ops.reshape(z, (2, 1)))))
    g.total(ops.add(r, ops.reduce("amax", y)))
    g.arrays["top"] = ops.argmax(y)
    return g


@graph
def recurrent() -> Graph:
    """A recurrent net with particles, whose weights get gradient from every step and row."""
    g = Graph()
    x, w, b = g.input("x", (DATA,), 4, 32), g.param("w", 32, 32), g.param("b", 32)

    def step(t, carries, xs, consts):
        (h, total), (row,) = carries, xs
        u = make("noise", t, name="eps", purpose=0, axes=(DATA, PARTICLES), shape=(32,))
        h = ops.tanh(ops.add(ops.matmul(h, ops.mul(consts[0], 0.1)), ops.add(ops.mul(row, u), consts[1])))
        return [h, ops.add(total, ops.reduce_sum(ops.mul(h, h)))], []

    start = [ops.zeros_like(Type((DATA, PARTICLES), (32,))), ops.const(0.5)]
    (last, total), _ = trace_loop(step, start, [x], [w, b], 4)
    g.total(ops.add(ops.reduce_sum(last), total))
    return g


@graph
def unplated_loop() -> Graph:
    g = Graph()
    w, s = g.param("w", 40), g.param("s", 5, 40)

    def step(t, carries, xs, consts):
        (a, b), (row,) = carries, xs
        return [b, ops.sin(ops.add(ops.mul(a, consts[0]), row))], [ops.mul(a, ops.cast(t, "float"))]

    (a, b), (path,) = trace_loop(step, [ops.zeros_like(Type((), (40,))), w], [s], [w], 5)
    g.total(ops.add(ops.mul(a, b), ops.reduce_sum(path, 0)))
    return g


@graph
def triangular() -> Graph:
    """A shared triangle, one of every row, a stack of them in the event; both directions."""
    g = Graph()
    tril, x = g.param("tril", 3, 3), g.input("x", (DATA,), 3)
    tril = ops.add(ops.mul(0.2, tril), np.eye(3))
    y = ops.solve_lower(tril, x)
    own = ops.mul(tril, ops.add(2.0, ops.sin(ops.reduce_sum(x))))
    z = ops.solve_lower(own, ops.tanh(y), transposed=True)
    both = ops.concat([ops.reshape(v, (1, 3)) for v in (z, x)])
    trils = ops.concat([ops.reshape(t, (1, 3, 3)) for t in (own, ops.expand(tril, (DATA,)))])
    g.total(ops.tanh(ops.solve_lower(trils, both)))
    g.total(ops.mul(ops.solve_lower(tril, np.arange(3.0), transposed=True), g.param("w", 3)), "unplated")
    return g


@graph
def linear_algebra() -> Graph:
    """Factors, systems and determinants: of a shared matrix and of one of every row, one that no block divides."""
    g = Graph()
    w, x = g.param("w", 5, 5), g.input("x", (DATA,), 5)
    shared = ops.add(ops.mul(0.3, w), 2.0 * np.eye(5))
    own = ops.add(shared, ops.mul(ops.reshape(x, (5, 1)), 0.3 * np.ones(5)))
    g.total(ops.tanh(ops.linsolve(shared, x)))
    g.total(ops.tanh(ops.linsolve(own, ops.concat([ops.reshape(x, (1, 5)), w]), transposed=True)))
    g.total(ops.tanh(ops.add(ops.inverse(own), ops.inverse(shared))))
    g.total(ops.add(ops.mul(ops.sign_det(own), ops.log_det(own)), ops.tanh(ops.det(ops.mul(0.5, own)))))
    both = ops.concat([ops.reshape(v, (1, 5, 5)) for v in (own, ops.expand(shared, (DATA,)))])
    covariance = ops.add(ops.matmul(both, ops.matrix_transpose(both)), 0.1 * np.eye(5))
    tril = ops.cholesky(covariance)
    right = ops.concat([ops.reshape(v, (2, 1, 5)) for v in (ops.tanh(ops.reduce_sum(tril, -1)), np.ones((2, 5)))], 1)
    g.total(ops.tanh(ops.solve_lower(tril, right)))
    g.total(ops.log_det(ops.cholesky(ops.add(ops.matmul(shared, ops.transpose(shared)), np.eye(5)))), "unplated")
    return g


@graph
def running_sums() -> Graph:
    """Running sums of a shared vector, of one of every row, and of a stack seen backwards."""
    g = Graph()
    w, x = g.param("w", 5), g.input("x", (DATA,), 5)
    own = ops.cumsum(ops.mul(w, x))
    g.total(ops.tanh(ops.add(own, ops.cumsum(ops.exp(w)))))
    stack = ops.concat([ops.reshape(v, (1, 5)) for v in (own, ops.expand(w, (DATA,)))])
    g.total(ops.tanh(ops.cumsum(ops.window(stack, ((0, 2, 1), (4, 5, -1))))))
    g.total(ops.cumsum(ops.mul(w, w)), "unplated")
    return g


@graph
def rows_of_draws() -> Graph:
    """Draws by rejection of events long enough for a step of their own, one per row and particle, and short ones."""
    g = Graph()
    a, x = g.param("a", 40), g.input("x", (DATA,), 5, 8)
    key = ops.row_key("g", (DATA, PARTICLES))
    wide = ops.loggamma_draw(ops.exp(a), key, 1)
    moved = ops.loggamma_draw(ops.exp(x), key, 2)
    few = ops.loggamma_draw(ops.exp(ops.window(a, ((0, 3, 1),))), key)
    counts = ops.poisson_draw(ops.exp(ops.mul(3.0, ops.reshape(x, (40,)))), key, 3)
    many = ops.poisson_draw(ops.add(ops.exp(x), 20.0), key, 4)
    g.total(ops.concat([ops.mul(wide, counts), ops.reshape(moved, (40,)), few, ops.reshape(many, (40,))]))
    g.arrays.update(wide=wide, moved=moved, counts=counts, many=many)
    return g


@graph
def lanes_of_draws() -> Graph:
    """Draws and slopes that run over rows: one a row, a few a row and particle, and counts and angles in rows."""
    g = Graph()
    a, x = g.param("a", 3), g.input("x", (DATA,), 3)
    rate, key, both = ops.exp(x), ops.row_key("g", (DATA,)), ops.row_key("h", (DATA, PARTICLES))
    one = ops.loggamma_draw(ops.exp(ops.reduce_sum(x)), key)
    few = ops.loggamma_draw(ops.mul(ops.exp(ops.mul(3.0, x)), ops.exp(a)), both, 1)
    counts = ops.poisson_draw(ops.mul(20.0, rate), both, 2)
    trials = ops.binomial_draw(ops.floor(ops.mul(90.0, rate)), 0.7, 0.3, key, 3)
    rare = ops.binomial_draw(ops.floor(ops.mul(90.0, rate)), 0.01, 0.99, key, 4)
    angle, wide = ops.vonmises_draw(rate, key, 5), ops.reshape(ops.mul(rate, ops.const(np.ones((7, 3)))), (21,))
    wider = ops.add(
        ops.vonmises_draw(wide, key, 6), ops.binomial_draw(ops.floor(ops.mul(80.0, wide)), 0.4, 0.6, key, 7)
    )
    g.total(ops.concat([few, ops.mul(counts, trials), ops.mul(angle, rare), ops.mul(one, a), wider]))
    g.arrays.update(one=one, few=few, counts=counts, trials=trials, rare=rare, wider=wider)
    return g


@graph
def regression() -> Graph:
    """Scalar products of rows, functions of what they give, a row and a particle, of counts too; and their slopes."""
    g = Graph()
    x, y = g.input("x", (DATA,), 13), g.input("y", (DATA,), dtype="int")
    w, v, m = g.param("w", 13), g.param("v"), g.param("m", 13, 10)
    z = ops.reduce_sum(ops.mul(x, w))
    rate = ops.add(ops.log1p(ops.mul(z, z)), ops.exp(ops.mul(0.1, ops.add(z, v))))
    again = ops.tanh(ops.reduce_sum(ops.mul(ops.mul(x, w), ops.sigmoid(ops.log(rate)))))
    moved = ops.add(x, ops.noise("e", 0, (DATA, PARTICLES), (13,)))
    each = ops.softplus(ops.reduce_sum(ops.mul(moved, w)))
    hidden = ops.tanh(ops.matmul(ops.tanh(x), m))
    g.total(ops.add(ops.add(ops.log_poisson(y, rate), ops.mul(again, ops.reduce_sum(hidden))), each))
    g.arrays.update(rate=rate, again=again)
    return g


@graph
def short_tables() -> Graph:
    """Entries taken from a few numbers that all rows share, with indices beyond both ends."""
    g = Graph(grads=False, high=9)
    a, i = g.param("a", 5), g.input("i", (DATA,), 4, dtype="int")
    g.total(ops.mul(ops.take(ops.tanh(a), ops.sub(i, 2)), 1.5))
    return g


@graph
def externals() -> Graph:
    from tests.compiler.functions import area, area_gradient, keyed

    g = Graph()
    x, w = g.input("x", (DATA,), 3), g.param("w", 3)
    y = ops.mul(x, w)
    z = make("external", y, ops.reduce_sum(x), fn=External(area, area_gradient), output=None, axes=(DATA,), shape=(),
             dtype="float")  # fmt: skip
    key = make("rowkey", name="k", axes=(DATA,))
    v = make("external", key, y, fn=External(keyed, None, True), output=None, axes=(DATA,), shape=(2,), dtype="float")
    g.total(ops.add(z, ops.mul(ops.sin(z), ops.reduce_sum(ops.stop(v)))))
    return g
