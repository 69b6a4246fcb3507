"""The table of facts is closed: no op without a row, no row without a column, none that differentiation contradicts."""

import inspect

import numpy as np
import pytest

from ppl.distributions import bounds
from ppl.distributions.intervals import Interval
from ppl.graph import smoothness
from ppl.ir import op_facts, ops
from ppl.ir.node import make, type_rules
from ppl.ir.op_facts import COUNTS, DRAWS, FACTS, OWN, POLES, Facts, singularities_in
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate
from ppl.ir.shapes import shape_rule
from ppl.ir.vjp import VJPS

pytestmark = pytest.mark.tiny

SLOPES = ("loggamma_slope", "vonmises_slope")
"""Derivatives, which have none themselves."""

FLOATS = {op: row.arity for op, row in FACTS.items() if row.types in ("numbers", "floats") and op not in SLOPES}

ATTRS = {"polygamma": {"n": 0}, "log_i0e": {"n": 0}, "betainc": {"order": (0, 0)}}

ATTRS |= {op: {"order": 0} for op in ("gammainc", "student_cdf", "vonmises_cdf")}


def test_every_op_has_a_row_and_every_row_an_op():
    assert FACTS.keys() == type_rules.keys()
    assert FACTS.keys() == bounds.RULES.keys()
    assert smoothness.LOCAL_RULES.keys() == {op for op, row in FACTS.items() if row.edges == OWN}


def test_an_op_without_a_row_is_refused_where_it_is_registered():
    with pytest.raises(NotImplementedError, match="'new_op' has no row in ppl/ir/op_facts"):
        shape_rule("new_op")(lambda types, attrs: types[0])
    with pytest.raises(NotImplementedError, match="'new_op' has no row"):
        type_rules["new_op"] = lambda types, attrs: types[0]
    assert "new_op" not in type_rules


def test_no_column_has_a_default():
    """Neither in a row, nor in what writes the rows of one kind."""
    writers = [
        f for f in vars(op_facts).values() if inspect.isfunction(f) and f.__annotations__.get("return") == "Facts"
    ]
    assert len(writers) >= 9
    for made in (Facts, op_facts.Asymptotics, *writers):
        given = inspect.signature(made).parameters.values()
        assert all(p.default is p.empty for p in given), made.__name__
    with pytest.raises(TypeError, match="saturates"):
        Facts("special", ((),), "none", "breaks", "cheap", "fused", "floats", 1, None, "keeps")


def node_of(op):
    args = [make("param", name=f"x{i}", shape=()) for i in range(FLOATS[op])]
    return make(op, *args, **ATTRS.get(op, {}))


@pytest.mark.parametrize("op", sorted(FLOATS))
def test_flat_arguments_are_those_that_reverse_mode_drops(op):
    node = node_of(op)
    passed = VJPS[op](ops.const(1.0), node, *node.args)
    for i, cotangent in enumerate(passed):
        assert (cotangent is None) == smoothness.is_piecewise_constant(node, i), (op, i)


CENTRES = (-7.3, -2.0, -1.0, -0.4, 0.0, 0.3, 0.5, 1.0, 1.5707963267948966, 2.5, 6.1)


@pytest.mark.parametrize("op", sorted(op for op, n in FLOATS.items() if n == 1))
def test_functions_of_one_argument_are_continuous_and_bounded_where_their_row_says_so(op):
    """Away from jumps and poles a step of 1e-9 moves the value by little, where it is defined on both sides."""
    node = node_of(op)
    for centre in CENTRES:
        near = Interval(centre - 1e-3, centre + 1e-3, False, False)
        if any(smoothness.reaches_singularity(near, fault) for fault in singularities_in(op, 0) if fault.order < 0):
            continue
        low, high = (
            float(evaluate([node], Env(params={"x0": np.array(centre + d)}, dtype=np.float64))[0])
            for d in (-1e-9, 1e-9)
        )
        assert np.isnan(low) or np.isnan(high) or abs(high - low) < 1e-3, (op, centre, low, high)


@pytest.mark.parametrize("op", sorted(op for op, n in FLOATS.items() if n == 1))
def test_poles_without_a_mean_are_those_that_the_row_names(op):
    """A value that grows as 1 / distance next to a pole, or faster, has no mean; one that grows as a logarithm has."""
    node, strongest = node_of(op), 0.0
    for fault in singularities_in(op, 0):
        for end, side in ((fault.lo, -1), (fault.lo, 1), (fault.hi, 1)):
            if fault.order < 0 and np.isfinite(end):
                near = Env(params={"x0": np.array(end + side * 1e-7)}, dtype=np.float64)
                found = abs(float(evaluate([node], near)[0])) * 1e-7
                strongest = max(strongest, found if np.isfinite(found) else 0.0)
    assert (strongest > 0.1) == (op in POLES), (op, strongest)


def test_counts_are_the_draws_whose_makers_ask_for_integers():
    one, key = ops.const(1.0), make("rowkey", name="k", axes=())
    made = (ops.poisson_draw(one, key), ops.binomial_draw(one, one, one, key),
            ops.loggamma_draw(one, key), ops.vonmises_draw(one, key))  # fmt: skip
    assert {n.op for n in made} <= DRAWS
    assert {n.op for n in made if n.type.dtype == "int"} == COUNTS & {n.op for n in made}
