"""What every op means to the analyses: one row an op, no defaults.

`ppl.ir.node.type_rules` takes no shape rule of an op that has no row here, so that a new op fails when its module is
imported and not when an analysis meets it. Whoever asks about smoothness, poles, degrees, angles or the role of an op
asks this table; what depends on more than the op (constant exponents, types, a user's function) is marked OWN, and the
analysis that reads the column has a rule of its own for exactly these ops.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

INF = math.inf
JUMP, KINK, ONCE, SMOOTH = -1.0, 0.0, 1.0, INF
"""Orders of smoothness: discontinuous or unbounded, kinked, once differentiable, smooth."""


class Fault(NamedTuple):
    """Where a function is not smooth in an argument: `order` if the argument may lie in [lo, hi], or whole periods off.

    `words` say what lies there.
    """

    order: float
    lo: float
    hi: float
    period: float
    words: str


Edge = tuple[Fault, ...]
Role = Literal["leaf", "view", "marker", "elementwise", "special", "shape", "reduction", "product", "choice", "region",
               "user", "random", "lowered"]  # fmt: skip
Degree = Literal["fixed", "linear", "product", "first", "branches", "second", "power", "none"]
Angle = Literal["keeps", "periodic", "multiple", "breaks"]
Cost = Literal["free", "cheap", "costly"]


class Facts(NamedTuple):
    """One row.

    Attributes
    ----------
    role : leaf, view (re-reads its argument), marker (means something to reverse mode only), elementwise (the
        simplifier moves broadcasts and constants through it), special (elementwise, but left alone), ...
    edges : smoothness in each argument, the last entry standing for all further ones; OWN where the node decides.
    degree : as a polynomial: of its arguments jointly ("linear"), their product, linear in the "first", the "second" or
        the two "branches" while the others do not vary, "power" by a constant exponent, "none"; "fixed" of leaves.
    angle : whether a whole multiple of an angle stays one ("keeps"; "multiple": times whole numbers), enters with
        period 2 pi ("periodic") or loses its meaning.
    cost : whether reverse mode through a loop stores its result ("costly") or computes it again.
    """

    role: Role
    edges: tuple[Edge, ...] | Literal["own"]
    degree: Degree
    angle: Angle
    cost: Cost


OWN: Literal["own"] = "own"
NOWHERE: Edge = ()
FLAT: Edge = (Fault(JUMP, -INF, INF, 0.0, "a step"),)
KINKED: Edge = (Fault(KINK, -INF, INF, 0.0, "a kink"),)
LEAST = 5e-324


def _at(order: float, lo: float, hi: float, words: str, period: float = 0.0) -> Edge:
    return (Fault(order, lo, hi, period, words),)


ZERO = _at(JUMP, 0.0, 0.0, "a pole at 0")
UP_TO_0 = _at(JUMP, -INF, 0.0, "a pole at 0")
BELOW_0 = _at(JUMP, -INF, -LEAST, "no value below 0")
ROOT = _at(KINK, -INF, 0.0, "a vertical tangent at 0")
OUTSIDE_UNIT = (*UP_TO_0, *_at(JUMP, 1.0, INF, "a pole at 1"))
ENDS_OF_UNIT = (*ROOT, *_at(KINK, 1.0, INF, "a vertical tangent at 1"))
INVERSE_UP = (*ROOT, *_at(JUMP, 1.0, INF, "a pole at 1"))
INVERSE_DOWN = (*UP_TO_0, *_at(KINK, 1.0, INF, "a vertical tangent at 1"))


def _leaf(cost: Cost = "free") -> Facts:
    return Facts("leaf", (), "fixed", "breaks", cost)


def _function(*edges: Edge, cost: Cost = "costly") -> Facts:
    """An elementwise function that is no polynomial."""
    return Facts("elementwise", edges, "none", "breaks", cost)


def _test(role: Role = "elementwise") -> Facts:
    """Truth values, numbers that do not move."""
    return Facts(role, (FLAT,), "none", "breaks", "cheap")


def _special(*edges: Edge) -> Facts:
    return Facts("special", edges, "none", "breaks", "cheap")


def _draw(edge: Edge) -> Facts:
    return Facts("special", (edge, FLAT), "none", "breaks", "costly")


def _view(degree: Degree = "linear") -> Facts:
    return Facts("view", (NOWHERE,), degree, "keeps", "free")


LOWERED = Facts("lowered", (FLAT,), "none", "breaks", "cheap")
"""Ops of compiled programs, behind every analysis: none of them is smooth, a polynomial or a view to any."""

FACTS: dict[str, Facts] = {
    # leaves
    **dict.fromkeys(("const", "param", "aux", "hyper", "input", "size", "scale", "rowid", "rowkey", "arg"), _leaf()),
    "noise": _leaf("costly"),
    # views and other moves of entries
    **dict.fromkeys(("expand", "reshape", "transpose", "slice", "collect", "distribute"), _view()),
    "pad": Facts("shape", (NOWHERE,), "linear", "breaks", "cheap"),
    "concat": Facts("shape", (NOWHERE,), "linear", "keeps", "cheap"),
    "route": Facts("shape", (NOWHERE,), "linear", "breaks", "cheap"),
    "take": Facts("choice", (NOWHERE, FLAT), "first", "keeps", "cheap"),
    "put": Facts("choice", (NOWHERE, FLAT), "first", "breaks", "cheap"),
    # markers
    "stop": Facts("marker", (NOWHERE,), "none", "breaks", "free"),
    "scale_grad": Facts("marker", (NOWHERE, FLAT), "none", "breaks", "free"),
    "graft": Facts("marker", OWN, "none", "breaks", "free"),
    "mark": Facts("marker", (NOWHERE,), "linear", "breaks", "free"),
    "own_density": Facts("random", (NOWHERE,), "linear", "breaks", "free"),
    "sample": Facts("random", OWN, "none", "breaks", "cheap"),
    # arithmetic
    "neg": Facts("elementwise", (NOWHERE,), "linear", "keeps", "cheap"),
    "add": Facts("elementwise", (NOWHERE,), "linear", "keeps", "cheap"),
    "sub": Facts("elementwise", (NOWHERE,), "linear", "keeps", "cheap"),
    "mul": Facts("elementwise", (NOWHERE,), "product", "multiple", "cheap"),
    "div": Facts("elementwise", (NOWHERE, ZERO), "first", "breaks", "cheap"),
    "pow": Facts("elementwise", OWN, "power", "breaks", "costly"),
    "abs": _function(_at(KINK, 0.0, 0.0, "a kink at 0"), cost="cheap"),
    **dict.fromkeys(("max", "min"), _function(KINKED, cost="cheap")),
    **dict.fromkeys(("sign", "floor", "lt", "le", "eq", "and", "or", "not"), _test()),
    "where": Facts("elementwise", OWN, "branches", "keeps", "cheap"),
    "cast": Facts("elementwise", OWN, "linear", "breaks", "cheap"),
    # elementary functions
    **dict.fromkeys(("exp", "expm1", "tanh", "sigmoid", "softplus", "atan", "erf", "erfc"), _function(NOWHERE)),
    **dict.fromkeys(("ndtr", "log_ndtr"), _function(NOWHERE)),
    **dict.fromkeys(("sin", "cos"), Facts("elementwise", (NOWHERE,), "none", "periodic", "costly")),
    "tan": Facts("elementwise", (_at(JUMP, math.pi / 2, math.pi / 2, "a pole at pi / 2", math.pi),), "none",
                 "periodic", "costly"),
    "log": _function(UP_TO_0),
    "log1p": _function(_at(JUMP, -INF, -1.0, "a pole at -1")),
    "log1mexp": _function(_at(JUMP, 0.0, INF, "a pole at 0")),
    "sqrt": _function(ROOT),
    **dict.fromkeys(("lgamma", "polygamma"), _function(UP_TO_0)),
    "erfinv": _function((*_at(JUMP, -INF, -1.0, "a pole at -1"), *_at(JUMP, 1.0, INF, "a pole at 1"))),
    "ndtri": _function(OUTSIDE_UNIT),
    "log_i0e": _function(_at(KINK, -INF, -LEAST, "a kink at 0")),
    "log_poisson": _function(BELOW_0, UP_TO_0, cost="cheap"),
    "log_binomial": _function(BELOW_0, BELOW_0, OUTSIDE_UNIT, cost="cheap"),
    "log_binomial_logits": _function(BELOW_0, BELOW_0, NOWHERE, cost="cheap"),
    # of an interval whose makers require a < b
    "log_mass_between": _special(NOWHERE),
    "quantile_between": _special(OUTSIDE_UNIT, NOWHERE),
    # distribution functions and their inverses: parameters, then the value
    **dict.fromkeys(("gammainc", "gammaincc"), _function(UP_TO_0, ROOT)),
    "betainc": _function(UP_TO_0, UP_TO_0, ENDS_OF_UNIT),
    "student_cdf": _function(UP_TO_0, NOWHERE),
    "vonmises_cdf": _function(BELOW_0, NOWHERE),
    "gammaincinv": _function(UP_TO_0, INVERSE_UP),
    "gammainccinv": _function(UP_TO_0, INVERSE_DOWN),
    "betaincinv": _function(UP_TO_0, UP_TO_0, ENDS_OF_UNIT),
    "student_icdf": _function(UP_TO_0, OUTSIDE_UNIT),
    "vonmises_icdf": _function(BELOW_0, ENDS_OF_UNIT),
    **dict.fromkeys(
        ("poisson_icdf", "poisson_isf", "negative_binomial_icdf", "negative_binomial_isf"), _function(FLAT)
    ),
    # draws by rejection: of parameters, key and column
    "loggamma_draw": _draw(UP_TO_0),
    "vonmises_draw": _draw(BELOW_0),
    **dict.fromkeys(("poisson_draw", "binomial_draw"), _draw(FLAT)),
    "loggamma_slope": _special(NOWHERE, UP_TO_0),
    "vonmises_slope": _special(NOWHERE, BELOW_0),
    # reductions and products
    "sum": Facts("reduction", (NOWHERE,), "linear", "keeps", "cheap"),
    "cumsum": Facts("reduction", (NOWHERE,), "linear", "breaks", "cheap"),
    "amax": Facts("reduction", (KINKED,), "none", "breaks", "cheap"),
    "argmax": _test("reduction"),
    "contract": Facts("product", (NOWHERE,), "product", "breaks", "costly"),
    # of triangles whose makers require a positive diagonal
    "solve": Facts("product", (NOWHERE,), "second", "breaks", "cheap"),
    # regions and users' functions
    "loop": Facts("region", OWN, "none", "breaks", "cheap"),
    "get": Facts("region", (NOWHERE,), "none", "breaks", "free"),
    "external": Facts("user", OWN, "none", "breaks", "cheap"),
    # what compiled programs are lowered to
    **dict.fromkeys(("gemm", "table_dot", "table_sum", "column_dot", "region", "copy", "draw_rows", "lanes"), LOWERED),
}  # fmt: skip


def require_row(op: str) -> None:
    """Raise where the table has no row of `op`."""
    if op not in FACTS:
        raise NotImplementedError(f"op {op!r} has no row in ppl/ir/op_facts.py, which tells analyses what ops mean")


def of_role(*roles: Role) -> frozenset[str]:
    """The ops of these roles."""
    return frozenset(op for op, facts in FACTS.items() if facts.role in roles)


def edge_of(op: str, position: int) -> Edge:
    """The row's entry for argument number `position` of an op whose edges are not its own."""
    edges = FACTS[op].edges
    if edges == OWN:
        raise KeyError(f"{op} decides its edges by the node")
    return edges[min(position, len(edges) - 1)]


VIEWS = of_role("view")
MARKERS = of_role("marker")
LEAVES = of_role("leaf")
ELEMENTWISE = of_role("elementwise")
COSTLY = frozenset(op for op, facts in FACTS.items() if facts.cost == "costly")
LINEAR = frozenset(op for op, facts in FACTS.items() if facts.degree == "linear")
PRODUCTS = frozenset(op for op, facts in FACTS.items() if facts.degree == "product")
PARTS: dict[str, tuple[int, ...]] = {
    op: {"first": (0,), "second": (1,), "branches": (1, 2)}[facts.degree]
    for op, facts in FACTS.items()
    if facts.degree in ("first", "second", "branches")
}
"""Ops that are jointly linear in these arguments while the others do not vary."""
STEPS = frozenset(op for op, facts in FACTS.items() if facts.edges == (FLAT,) and facts.role != "lowered")
"""Ops whose value moves in steps only."""
