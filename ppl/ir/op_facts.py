"""What every op means to analyses and compiler: one row an op.

`ppl.ir.node.type_rules` takes no shape rule of an op that has no row here, so that a new op fails when its module is
imported. All analyses ask this table, and all sets of ops are made from it; what depends on more than the op (constant
exponents, types, a user's function) is marked OWN, and who reads the column has a rule of its own for these ops."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

INF = math.inf

JUMP, KINK, ONCE, SMOOTH = -1.0, 0.0, 1.0, INF
"""Orders of smoothness: discontinuous or unbounded, kinked, once differentiable, smooth."""


class Singularity(NamedTuple):
    """Where a function is not smooth in an argument: `order` if the argument may lie in [lo, hi], or whole periods off.

    `words` say what lies there.
    """

    order: float
    lo: float
    hi: float
    period: float
    words: str


Singularities = tuple[Singularity, ...]

ArgumentSingularities = tuple[Singularities, ...] | Literal["own"]

Role = Literal["leaf", "view", "marker", "elementwise", "special", "shape", "reduction", "product", "choice", "loop",
               "user", "random", "lowered"]  # fmt: skip

Degree = Literal["fixed", "linear", "product", "first", "branches", "second", "power", "none"]

Angle = Literal["keeps", "periodic", "multiple", "breaks"]

Cost = Literal["free", "cheap", "again", "stored", "function", "vectors"]

Execution = Literal["given", "view", "fused", "step", "lanes"]

Signature = Literal["numbers", "comparison", "logic", "floats", "draw", "own"]

Growth = Literal["tames", "keeps", "grows"]

Saturation = Literal["never", "width", "unit"]


class Facts(NamedTuple):
    """One row; no column has a default.

    Attributes
    ----------
    role : leaf, view (re-reads its argument), marker (means something to reverse mode only), elementwise (the
        simplifier moves broadcasts and constants through it), special (elementwise, but left alone), ...
    edges : smoothness in each argument, the last entry standing for all further ones; OWN where the node decides.
    degree : as a polynomial: of its arguments jointly ("linear"), their product, linear in the "first", the "second" or
        the two "branches" while the others do not vary, "power" by a constant exponent, "none"; "fixed" of leaves.
    angle : whether a whole multiple of an angle stays one ("keeps"; "multiple": times whole numbers), enters with
        period 2 pi ("periodic") or loses its meaning.
    cost : of one entry: "free"; "cheap", a few instructions; "again", more, but reverse mode through a loop computes it
        again; "stored", reverse mode stores it; "function", besides, short events are flattened for it; "vectors",
        besides, its loops are worth vectors so much that short events run over rows.
    made : how compiled programs come by it: "given", a "view" of another value, "fused" into loops, a "step" of its
        own, or a step of "lanes" where there are many.
    types : which of the common shape rules it has; "own" has one in `ppl.ir.shapes`.
    arity : number of arguments, None where the node decides.
    pole : the argument that crosses a pole across which the value has no mean, if any.
    growth : whether a pole has a mean behind it ("tames"), and whether its slope grows with its argument ("grows").
    saturates : over which change of its argument it runs from one end of its values to the other, where these are
        bounded: "never", the "width" of its values, or a "unit".
    """

    role: Role
    edges: ArgumentSingularities
    degree: Degree
    angle: Angle
    cost: Cost
    made: Execution
    types: Signature
    arity: int | None
    pole: int | None
    growth: Growth
    saturates: Saturation


OWN: Literal["own"] = "own"

NOWHERE: Singularities = ()

LEAST = 5e-324

POLE_AT_0 = "a pole at 0"


def _singular_at(order: float, lo: float, hi: float, words: str, period: float = 0.0) -> Singularities:
    return (Singularity(order, lo, hi, period, words),)


FLAT, KINKED = _singular_at(JUMP, -INF, INF, "a step"), _singular_at(KINK, -INF, INF, "a kink")

ZERO, UP_TO_0 = _singular_at(JUMP, 0.0, 0.0, POLE_AT_0), _singular_at(JUMP, -INF, 0.0, POLE_AT_0)

BELOW_0 = _singular_at(JUMP, -INF, -LEAST, "no value below 0")

HALF_PI = _singular_at(JUMP, math.pi / 2, math.pi / 2, "a pole at pi / 2", math.pi)

SINGULAR = _singular_at(JUMP, -INF, INF, "a pole at singular matrices")

ROOT = _singular_at(KINK, -INF, 0.0, "a vertical tangent at 0")

OUTSIDE_UNIT = (*UP_TO_0, *_singular_at(JUMP, 1.0, INF, "a pole at 1"))

ENDS_OF_UNIT = (*ROOT, *_singular_at(KINK, 1.0, INF, "a vertical tangent at 1"))

INVERSE_UP = (*ROOT, *_singular_at(JUMP, 1.0, INF, "a pole at 1"))

OUTSIDE_SIGNED = (*_singular_at(JUMP, -INF, -1.0, "a pole at -1"), *_singular_at(JUMP, 1.0, INF, "a pole at 1"))

INVERSE_DOWN = (*UP_TO_0, *_singular_at(KINK, 1.0, INF, "a vertical tangent at 1"))


class Asymptotics(NamedTuple):
    """The last three columns: how a function behaves at its poles and towards the ends of its values."""

    pole: int | None
    growth: Growth
    saturates: Saturation


PLAIN, GROWS, TAMES = (
    Asymptotics(None, "keeps", "unit"),
    Asymptotics(None, "grows", "unit"),
    Asymptotics(None, "tames", "unit"),
)

NEVER, WIDTH, POLE = (
    Asymptotics(None, "keeps", "never"),
    Asymptotics(None, "keeps", "width"),
    Asymptotics(0, "keeps", "unit"),
)


def _leaf(cost: Cost, made: Execution) -> Facts:
    return Facts("leaf", (FLAT,), "fixed", "breaks", cost, made, "own", None, *PLAIN)  # of numbers of steps, if any


def _numbers(
    arity: int, edges: ArgumentSingularities, degree: Degree, angle: Angle, cost: Cost, ends: Asymptotics
) -> Facts:
    """Elementwise arithmetic."""
    return Facts("elementwise", edges, degree, angle, cost, "fused", "numbers", arity, *ends)


def _function(arity: int, cost: Cost, ends: Asymptotics, *edges: Singularities) -> Facts:
    """An elementwise function of numbers that is no polynomial."""
    return _numbers(arity, edges, "none", "breaks", cost, ends)


def _floats(arity: int, *edges: Singularities) -> Facts:
    """A distribution function, or its inverse: elementwise, of floats."""
    return Facts("elementwise", edges, "none", "breaks", "stored", "fused", "floats", arity, *PLAIN)


def _test(types: Signature, arity: int) -> Facts:
    """Truth values, numbers that do not move."""
    return Facts("elementwise", (FLAT,), "none", "breaks", "cheap", "fused", types, arity, *PLAIN)


def _special(arity: int, made: Execution, *edges: Singularities) -> Facts:
    return Facts("special", edges, "none", "breaks", "cheap", made, "floats", arity, *PLAIN)


def _draw(parameters: int, edge: Singularities) -> Facts:
    return Facts("special", (edge, FLAT), "none", "breaks", "stored", "lanes", "draw", parameters + 2, *PLAIN)


def _rearrangement(
    role: Role, degree: Degree, angle: Angle, arity: int | None, ends: Asymptotics, *edges: Singularities
) -> Facts:
    """Entries of arguments in other places, or sums of them."""
    return Facts(role, edges, degree, angle, "cheap", "fused", "own", arity, *ends)


def _marker(edges: ArgumentSingularities, degree: Degree, arity: int) -> Facts:
    return Facts("marker", edges, degree, "breaks", "free", "fused", "own", arity, *NEVER)


def _matrix(degree: Degree, ends: Asymptotics, *edges: Singularities) -> Facts:
    return Facts("product", edges, degree, "breaks", "stored", "step", "own", len(edges), *ends)


def _lowered(made: Execution) -> Facts:
    """Ops of compiled programs, behind every analysis: none of them is smooth, a polynomial or a view to any."""
    return Facts("lowered", (FLAT,), "none", "breaks", "cheap", made, "own", None, *PLAIN)


VIEW = Facts("view", (NOWHERE,), "linear", "keeps", "free", "view", "own", 1, *PLAIN)

LOOP = Facts("loop", OWN, "none", "breaks", "cheap", "fused", "own", None, *PLAIN)

FACTS: dict[str, Facts] = {
    **dict.fromkeys(("const", "param", "aux", "hyper", "input", "size", "scale"), _leaf("free", "given")),
    **dict.fromkeys(("arg", "step_input"), _leaf("free", "given")),
    **dict.fromkeys(("rowid", "rowkey"), _leaf("free", "step")),
    "noise": _leaf("stored", "step"),
    **dict.fromkeys(("expand", "reshape", "transpose", "slice", "collect", "distribute"), VIEW),
    **dict.fromkeys(("pad", "kept"), _rearrangement("shape", "linear", "breaks", 1, PLAIN, NOWHERE)),
    "concat": _rearrangement("shape", "linear", "keeps", None, PLAIN, NOWHERE),
    "route": _rearrangement("shape", "linear", "breaks", None, PLAIN, NOWHERE),
    "take": _rearrangement("choice", "first", "keeps", 2, NEVER, NOWHERE, FLAT),
    "put": _rearrangement("choice", "first", "breaks", 2, NEVER, NOWHERE, FLAT),
    "stop": _marker((NOWHERE,), "none", 1),
    "scale_grad": _marker((NOWHERE, FLAT), "none", 2),
    "graft": _marker(OWN, "none", 2),
    "mark": _marker((NOWHERE,), "linear", 1),
    "own_density": Facts("random", (NOWHERE,), "linear", "breaks", "free", "fused", "own", None, *PLAIN),
    "sample": Facts("random", OWN, "none", "breaks", "cheap", "fused", "own", None, *NEVER),
    "neg": _numbers(1, (NOWHERE,), "linear", "keeps", "cheap", PLAIN),
    **dict.fromkeys(("add", "sub"), _numbers(2, (NOWHERE,), "linear", "keeps", "cheap", PLAIN)),
    "mul": _numbers(2, (NOWHERE,), "product", "multiple", "cheap", PLAIN),
    "div": _numbers(2, (NOWHERE, ZERO), "first", "breaks", "cheap", Asymptotics(1, "keeps", "width")),
    "pow": _numbers(2, OWN, "power", "breaks", "function", Asymptotics(0, "grows", "unit")),
    "abs": _function(1, "cheap", NEVER, _singular_at(KINK, 0.0, 0.0, "a kink at 0")),
    **dict.fromkeys(("max", "min"), _function(2, "cheap", WIDTH, KINKED)),
    **dict.fromkeys(("sign", "floor"), _test("numbers", 1)),
    **dict.fromkeys(("lt", "le", "eq"), _test("comparison", 2)),
    **dict.fromkeys(("and", "or"), _test("logic", 2)), **dict.fromkeys(("not", "stopped"), _test("logic", 1)),
    "where": Facts("elementwise", OWN, "branches", "keeps", "cheap", "fused", "own", 3, *WIDTH),
    "cast": Facts("elementwise", OWN, "linear", "breaks", "cheap", "fused", "own", 1, *PLAIN),
    **dict.fromkeys(("exp", "expm1"), _function(1, "vectors", GROWS, NOWHERE)),
    **dict.fromkeys(("tanh", "sigmoid", "log_ndtr"), _function(1, "vectors", PLAIN, NOWHERE)),
    "softplus": _function(1, "vectors", TAMES, NOWHERE),
    **dict.fromkeys(("atan", "erf", "erfc", "ndtr"), _function(1, "function", PLAIN, NOWHERE)),
    **dict.fromkeys(("sin", "cos"), _numbers(1, (NOWHERE,), "none", "periodic", "vectors", PLAIN)),
    "tan": _numbers(1, (HALF_PI,), "none", "periodic", "function", POLE),
    "log": _function(1, "vectors", TAMES, UP_TO_0),
    "log1p": _function(1, "vectors", TAMES, _singular_at(JUMP, -INF, -1.0, "a pole at -1")),
    "log1mexp": _function(1, "function", PLAIN, _singular_at(JUMP, 0.0, INF, POLE_AT_0)),
    "sqrt": _function(1, "stored", TAMES, ROOT),
    "lgamma": _function(1, "vectors", PLAIN, UP_TO_0), "polygamma": _function(1, "function", POLE, UP_TO_0),
    "erfinv": _function(1, "function", PLAIN, OUTSIDE_SIGNED), "ndtri": _function(1, "vectors", PLAIN, OUTSIDE_UNIT),
    "log_i0e": _function(1, "function", PLAIN, _singular_at(KINK, -INF, -LEAST, "a kink at 0")),
    "log_poisson": _function(2, "again", PLAIN, BELOW_0, UP_TO_0),
    "log_poisson_log_rate": _function(2, "again", PLAIN, BELOW_0, NOWHERE),
    "log_binomial": _function(3, "again", PLAIN, BELOW_0, BELOW_0, OUTSIDE_UNIT),
    "log_binomial_logits": _function(3, "again", PLAIN, BELOW_0, BELOW_0, NOWHERE),
    # of an interval whose makers require a < b
    "log_mass_between": _special(2, "fused", NOWHERE), "quantile_between": _special(3, "fused", OUTSIDE_UNIT, NOWHERE),
    # distribution functions and their inverses: parameters, then the value
    **dict.fromkeys(("gammainc", "gammaincc"), _floats(2, UP_TO_0, ROOT)),
    "betainc": _floats(3, UP_TO_0, UP_TO_0, ENDS_OF_UNIT),
    "student_cdf": _floats(2, UP_TO_0, NOWHERE), "vonmises_cdf": _floats(2, BELOW_0, NOWHERE),
    "gammaincinv": _floats(2, UP_TO_0, INVERSE_UP),
    "gammainccinv": _floats(2, UP_TO_0, INVERSE_DOWN),
    "betaincinv": _floats(3, UP_TO_0, UP_TO_0, ENDS_OF_UNIT),
    "student_icdf": _floats(2, UP_TO_0, OUTSIDE_UNIT), "vonmises_icdf": _floats(2, BELOW_0, ENDS_OF_UNIT),
    **dict.fromkeys(("poisson_icdf", "poisson_isf"), _floats(2, FLAT)),
    **dict.fromkeys(("negative_binomial_icdf", "negative_binomial_isf"), _floats(3, FLAT)),
    # draws by rejection: of parameters, key and column; and their slopes
    "loggamma_draw": _draw(1, UP_TO_0), "vonmises_draw": _draw(1, BELOW_0),
    "poisson_draw": _draw(1, FLAT), "binomial_draw": _draw(3, FLAT),
    "loggamma_slope": _special(2, "lanes", NOWHERE, UP_TO_0), "vonmises_slope": _special(2, "fused", NOWHERE, BELOW_0),
    "sum": _rearrangement("reduction", "linear", "keeps", 1, PLAIN, NOWHERE),
    "cumsum": Facts("reduction", (NOWHERE,), "linear", "breaks", "cheap", "step", "own", 1, *PLAIN),
    "amax": _rearrangement("reduction", "none", "breaks", 1, NEVER, KINKED),
    "argmax": _rearrangement("reduction", "none", "breaks", 1, PLAIN, FLAT),
    "contract": Facts("product", (NOWHERE,), "product", "breaks", "stored", "fused", "own", 2, *PLAIN),
    # of triangles whose makers require a positive diagonal; a factor of what is not positive definite is NaN
    "solve": Facts("product", (NOWHERE,), "second", "breaks", "cheap", "step", "own", 2, *PLAIN),
    "cholesky": _matrix("none", PLAIN, NOWHERE),
    "inverse": _matrix("none", POLE, SINGULAR),
    "linsolve": _matrix("second", POLE, SINGULAR, NOWHERE),
    "det": _matrix("none", PLAIN, NOWHERE),
    "log_det": _matrix("none", TAMES, SINGULAR), "sign_det": _matrix("none", PLAIN, FLAT),
    # loops and users' functions
    "loop": LOOP,
    "get": LOOP._replace(edges=(NOWHERE,), cost="free", arity=1),
    # of traces: what a step of a loop reads, its values seen from outside, and carries of a sketch
    **dict.fromkeys(("stacked", "final"), LOOP._replace(edges=(FLAT,))),
    "entered": VIEW._replace(role="random", degree="none", made="fused"),
    "external": Facts("user", OWN, "none", "breaks", "cheap", "step", "own", None, *PLAIN),
    # what compiled programs are lowered to
    "copy": _lowered("fused"), **dict.fromkeys(("lu", "lu_solve"), _lowered("step")),
    **dict.fromkeys(("gemm", "table_dot", "table_sum", "turns", "draw_rows", "lanes"), _lowered("step")),
}  # fmt: skip


def require_row(op: str) -> None:
    """Raise where the table has no row of `op`."""
    if op not in FACTS:
        raise NotImplementedError(f"op {op!r} has no row in ppl/ir/op_facts.py, which tells analyses what ops mean")


def ops_with(column: str, *values: object) -> frozenset[str]:
    """The ops whose row has one of these values in a column."""
    return frozenset(op for op, facts in FACTS.items() if getattr(facts, column) in values)


def ops_of_role(*roles: Role) -> frozenset[str]:
    """The ops of these roles."""
    return ops_with("role", *roles)


def singularities_in(op: str, position: int) -> Singularities:
    """The row's entry for argument number `position` of an op whose edges are not its own."""
    edges = FACTS[op].edges
    if edges == OWN:
        raise KeyError(f"{op} decides its edges by the node")
    return edges[min(position, len(edges) - 1)]


VIEWS, MARKERS = ops_of_role("view"), ops_of_role("marker")

LEAVES, ELEMENTWISE = ops_of_role("leaf"), ops_of_role("elementwise")

POINTWISE = ops_of_role("elementwise", "special", "marker")
"""Ops whose every entry is a function of the arguments' entries in the same place."""

GIVEN, OWN_STEP, LANE_OPS = (ops_with("made", name) for name in ("given", "step", "lanes"))
"""Ops that compiled programs are given, compute in a step of their own, or may compute so."""

CHEAP = ops_with("cost", "cheap") & ELEMENTWISE

VECTORS, FUNCTIONS = ops_with("cost", "vectors"), ops_with("cost", "function", "vectors")

COSTLY, DRAWS = ops_with("cost", "stored", "function", "vectors"), ops_with("types", "draw")

LINEAR, PRODUCTS = ops_with("degree", "linear"), ops_with("degree", "product")

LINEAR_POSITIONS: dict[str, tuple[int, ...]] = {"first": (0,), "second": (1,), "branches": (1, 2)}

LINEAR_ARGUMENTS = {
    op: LINEAR_POSITIONS[facts.degree] for op, facts in FACTS.items() if facts.degree in LINEAR_POSITIONS
}
"""Ops that are jointly linear in these arguments while the others do not vary."""

PIECEWISE_CONSTANT = frozenset(
    op for op, f in FACTS.items() if f.edges == (FLAT,) and f.role not in ("leaf", "lowered")
)
"""Ops whose value moves in steps only."""

COUNTS = frozenset(op for op in DRAWS if singularities_in(op, 0) == FLAT)

NON_SATURATING = LINEAR | PRODUCTS | PIECEWISE_CONSTANT | ops_with("saturates", "never") | ops_of_role("lowered")
"""Ops that saturate nowhere, or jump anyway."""

POLES = {op: facts.pole for op, facts in FACTS.items() if facts.pole is not None}
"""Ops with poles across which they have no mean, and the argument that crosses them."""
