"""What every op means to analyses and compiler: one row an op.

`ppl.ir.node.type_rules` takes no shape rule of an op that has no row here, so that a new op fails when its module is
imported and not when an analysis meets it. Whoever asks about smoothness, poles, degrees, angles, cost or the role of
an op asks this table, and all sets of ops are made from it; what depends on more than the op (constant exponents,
types, a user's function) is marked OWN, and the analysis that reads the column has a rule of its own for these ops.
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
Role = Literal["leaf", "view", "marker", "elementwise", "special", "shape", "reduction", "product", "choice", "loop",
               "user", "random", "lowered"]  # fmt: skip
Degree = Literal["fixed", "linear", "product", "first", "branches", "second", "power", "none"]
Angle = Literal["keeps", "periodic", "multiple", "breaks"]
Cost = Literal["free", "cheap", "again", "stored", "function", "vectors"]
Made = Literal["given", "view", "fused", "step", "lanes"]
Signature = Literal["numbers", "comparison", "logic", "floats", "draw", "own"]
Growth = Literal["tames", "keeps", "grows"]
Saturation = Literal["never", "width", "unit"]


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
    edges: tuple[Edge, ...] | Literal["own"]
    degree: Degree
    angle: Angle
    cost: Cost
    made: Made = "fused"
    types: Signature = "own"
    arity: int | None = None
    pole: int | None = None
    growth: Growth = "keeps"
    saturates: Saturation = "unit"


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


def _leaf(cost: Cost = "free", made: Made = "given") -> Facts:
    return Facts("leaf", (), "fixed", "breaks", cost, made)


def _numbers(arity: int, edges: tuple[Edge, ...] | Literal["own"], degree: Degree, angle: Angle, cost: Cost) -> Facts:
    """Elementwise arithmetic."""
    return Facts("elementwise", edges, degree, angle, cost, types="numbers", arity=arity)


def _function(*edges: Edge, cost: Cost = "function", arity: int = 1) -> Facts:
    """An elementwise function of numbers that is no polynomial."""
    return _numbers(arity, edges, "none", "breaks", cost)


def _floats(*edges: Edge, arity: int = 2) -> Facts:
    """An elementwise function of floats."""
    return Facts("elementwise", edges, "none", "breaks", "stored", types="floats", arity=arity)


def _test(types: Signature, arity: int) -> Facts:
    """Truth values, numbers that do not move."""
    return Facts("elementwise", (FLAT,), "none", "breaks", "cheap", types=types, arity=arity)


def _special(*edges: Edge, arity: int = 2, made: Made = "fused") -> Facts:
    return Facts("special", edges, "none", "breaks", "cheap", made, "floats", arity)


def _draw(edge: Edge, parameters: int = 1) -> Facts:
    return Facts("special", (edge, FLAT), "none", "breaks", "stored", "lanes", "draw", parameters + 2)


def _view(arity: int | None = 1) -> Facts:
    return Facts("view", (NOWHERE,), "linear", "keeps", "free", "view", arity=arity)


def _marker(edges: tuple[Edge, ...] | Literal["own"], degree: Degree, arity: int) -> Facts:
    return Facts("marker", edges, degree, "breaks", "free", arity=arity, saturates="never")


def _lowered(made: Made = "step") -> Facts:
    """Ops of compiled programs, behind every analysis: none of them is smooth, a polynomial or a view to any."""
    return Facts("lowered", (FLAT,), "none", "breaks", "cheap", made)


LOWERED = _lowered("fused")

FACTS: dict[str, Facts] = {
    # leaves
    **dict.fromkeys(("const", "param", "aux", "hyper", "input", "size", "scale", "arg"), _leaf()),
    **dict.fromkeys(("rowid", "rowkey"), _leaf(made="step")),
    "noise": _leaf("stored", "step"),
    # views and other moves of entries
    **dict.fromkeys(("expand", "reshape", "transpose", "slice", "collect", "distribute"), _view()),
    "pad": Facts("shape", (NOWHERE,), "linear", "breaks", "cheap", arity=1),
    "concat": Facts("shape", (NOWHERE,), "linear", "keeps", "cheap"),
    "route": Facts("shape", (NOWHERE,), "linear", "breaks", "cheap"),
    "take": Facts("choice", (NOWHERE, FLAT), "first", "keeps", "cheap", arity=2, saturates="never"),
    "put": Facts("choice", (NOWHERE, FLAT), "first", "breaks", "cheap", arity=2, saturates="never"),
    # markers
    "stop": _marker((NOWHERE,), "none", 1),
    "scale_grad": _marker((NOWHERE, FLAT), "none", 2),
    "graft": _marker(OWN, "none", 2),
    "mark": _marker((NOWHERE,), "linear", 1),
    "own_density": Facts("random", (NOWHERE,), "linear", "breaks", "free"),
    "sample": Facts("random", OWN, "none", "breaks", "cheap", saturates="never"),
    # arithmetic
    "neg": _numbers(1, (NOWHERE,), "linear", "keeps", "cheap"),
    **dict.fromkeys(("add", "sub"), _numbers(2, (NOWHERE,), "linear", "keeps", "cheap")),
    "mul": _numbers(2, (NOWHERE,), "product", "multiple", "cheap"),
    "div": _numbers(2, (NOWHERE, ZERO), "first", "breaks", "cheap")._replace(pole=1, saturates="width"),
    "pow": _numbers(2, OWN, "power", "breaks", "function")._replace(pole=0, growth="grows"),
    "abs": _function(_at(KINK, 0.0, 0.0, "a kink at 0"), cost="cheap")._replace(saturates="never"),
    **dict.fromkeys(("max", "min"), _function(KINKED, cost="cheap", arity=2)._replace(saturates="width")),
    **dict.fromkeys(("sign", "floor"), _test("numbers", 1)),
    **dict.fromkeys(("lt", "le", "eq"), _test("comparison", 2)),
    **dict.fromkeys(("and", "or"), _test("logic", 2)),
    "not": _test("logic", 1),
    "where": Facts("elementwise", OWN, "branches", "keeps", "cheap", arity=3, saturates="width"),
    "cast": Facts("elementwise", OWN, "linear", "breaks", "cheap", arity=1),
    # elementary functions
    **dict.fromkeys(("exp", "expm1"), _function(NOWHERE, cost="vectors")._replace(growth="grows")),
    **dict.fromkeys(("tanh", "sigmoid", "log_ndtr"), _function(NOWHERE, cost="vectors")),
    "softplus": _function(NOWHERE, cost="vectors")._replace(growth="tames"),
    **dict.fromkeys(("atan", "erf", "erfc", "ndtr"), _function(NOWHERE)),
    **dict.fromkeys(("sin", "cos"), _numbers(1, (NOWHERE,), "none", "periodic", "vectors")),
    "tan": _numbers(1, (_at(JUMP, math.pi / 2, math.pi / 2, "a pole at pi / 2", math.pi),), "none", "periodic",
                    "function")._replace(pole=0),
    "log": _function(UP_TO_0, cost="vectors")._replace(growth="tames"),
    "log1p": _function(_at(JUMP, -INF, -1.0, "a pole at -1"), cost="vectors")._replace(growth="tames"),
    "log1mexp": _function(_at(JUMP, 0.0, INF, "a pole at 0")),
    "sqrt": _function(ROOT, cost="stored")._replace(growth="tames"),
    "lgamma": _function(UP_TO_0, cost="vectors"),
    "polygamma": _function(UP_TO_0)._replace(pole=0),
    "erfinv": _function((*_at(JUMP, -INF, -1.0, "a pole at -1"), *_at(JUMP, 1.0, INF, "a pole at 1"))),
    "ndtri": _function(OUTSIDE_UNIT, cost="vectors"),
    "log_i0e": _function(_at(KINK, -INF, -LEAST, "a kink at 0")),
    "log_poisson": _function(BELOW_0, UP_TO_0, cost="again", arity=2),
    "log_binomial": _function(BELOW_0, BELOW_0, OUTSIDE_UNIT, cost="again", arity=3),
    "log_binomial_logits": _function(BELOW_0, BELOW_0, NOWHERE, cost="again", arity=3),
    # of an interval whose makers require a < b
    "log_mass_between": _special(NOWHERE),
    "quantile_between": _special(OUTSIDE_UNIT, NOWHERE, arity=3),
    # distribution functions and their inverses: parameters, then the value
    **dict.fromkeys(("gammainc", "gammaincc"), _floats(UP_TO_0, ROOT)),
    "betainc": _floats(UP_TO_0, UP_TO_0, ENDS_OF_UNIT, arity=3),
    "student_cdf": _floats(UP_TO_0, NOWHERE),
    "vonmises_cdf": _floats(BELOW_0, NOWHERE),
    "gammaincinv": _floats(UP_TO_0, INVERSE_UP),
    "gammainccinv": _floats(UP_TO_0, INVERSE_DOWN),
    "betaincinv": _floats(UP_TO_0, UP_TO_0, ENDS_OF_UNIT, arity=3),
    "student_icdf": _floats(UP_TO_0, OUTSIDE_UNIT),
    "vonmises_icdf": _floats(BELOW_0, ENDS_OF_UNIT),
    **dict.fromkeys(("poisson_icdf", "poisson_isf"), _floats(FLAT)),
    **dict.fromkeys(("negative_binomial_icdf", "negative_binomial_isf"), _floats(FLAT, arity=3)),
    # draws by rejection: of parameters, key and column
    "loggamma_draw": _draw(UP_TO_0),
    "vonmises_draw": _draw(BELOW_0),
    "poisson_draw": _draw(FLAT),
    "binomial_draw": _draw(FLAT, parameters=3),
    "loggamma_slope": _special(NOWHERE, UP_TO_0, made="lanes"),
    "vonmises_slope": _special(NOWHERE, BELOW_0),
    # reductions and products
    "sum": Facts("reduction", (NOWHERE,), "linear", "keeps", "cheap", arity=1),
    "cumsum": Facts("reduction", (NOWHERE,), "linear", "breaks", "cheap", "step", arity=1),
    "amax": Facts("reduction", (KINKED,), "none", "breaks", "cheap", arity=1, saturates="never"),
    "argmax": Facts("reduction", (FLAT,), "none", "breaks", "cheap", arity=1),
    "contract": Facts("product", (NOWHERE,), "product", "breaks", "stored", arity=2),
    # of triangles whose makers require a positive diagonal
    "solve": Facts("product", (NOWHERE,), "second", "breaks", "cheap", "step", arity=2),
    # loops and users' functions
    "loop": Facts("loop", OWN, "none", "breaks", "cheap"),
    "get": Facts("loop", (NOWHERE,), "none", "breaks", "free", arity=1),
    "external": Facts("user", OWN, "none", "breaks", "cheap", "step"),
    # what compiled programs are lowered to
    "copy": LOWERED,
    **dict.fromkeys(("gemm", "table_dot", "table_sum", "column_dot", "turns", "draw_rows", "lanes"), _lowered()),
}  # fmt: skip


def require_row(op: str) -> None:
    """Raise where the table has no row of `op`."""
    if op not in FACTS:
        raise NotImplementedError(f"op {op!r} has no row in ppl/ir/op_facts.py, which tells analyses what ops mean")


def where(column: str, *values: object) -> frozenset[str]:
    """The ops whose row has one of these values in a column."""
    return frozenset(op for op, facts in FACTS.items() if getattr(facts, column) in values)


def of_role(*roles: Role) -> frozenset[str]:
    """The ops of these roles."""
    return where("role", *roles)


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
POINTWISE = of_role("elementwise", "special", "marker")
"""Ops whose every entry is a function of the arguments' entries in the same place."""
GIVEN, STEPWISE, LANES = (where("made", name) for name in ("given", "step", "lanes"))
"""Ops that compiled programs are given, compute in a step of their own, or may compute so."""
CHEAP = where("cost", "cheap") & ELEMENTWISE
VECTORS = where("cost", "vectors")
FUNCTIONS = where("cost", "function", "vectors")
COSTLY = where("cost", "stored", "function", "vectors")
DRAWS = where("types", "draw")
LINEAR, PRODUCTS = where("degree", "linear"), where("degree", "product")
PARTS: dict[str, tuple[int, ...]] = {
    op: {"first": (0,), "second": (1,), "branches": (1, 2)}[facts.degree]
    for op, facts in FACTS.items()
    if facts.degree in ("first", "second", "branches")
}
"""Ops that are jointly linear in these arguments while the others do not vary."""
STEPS = frozenset(op for op, facts in FACTS.items() if facts.edges == (FLAT,) and facts.role != "lowered")
"""Ops whose value moves in steps only."""
COUNTS = frozenset(op for op in DRAWS if edge_of(op, 0) == FLAT)
STRAIGHT = LINEAR | PRODUCTS | STEPS | where("saturates", "never") | of_role("lowered")
"""Ops that saturate nowhere, or jump anyway."""
POLES = {op: facts.pole for op, facts in FACTS.items() if facts.pole is not None}
"""Ops with poles across which they have no mean, and the argument that crosses them."""
