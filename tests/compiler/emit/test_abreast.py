"""Sums over rows into the same entries, four rows at a time: every number of rows, and what must stay as it is."""

import numpy as np
import pytest
from scipy.special import expit

import ppl
from ppl import Bernoulli
from ppl.compiler.emit.code import Name, as_expression, assign, call, loop
from ppl.compiler.emit.kernels import unroll_rows

RNG = np.random.default_rng(3)

X, Y, W = RNG.normal(size=(1003, 13)), RNG.random(1003) < 0.4, RNG.normal(size=13)


@ppl.model
def regression(x, y):
    w = ppl.param("w", W)
    with ppl.plate("data", x, y) as (x, y):
        ppl.sample("y", Bernoulli(logits=x @ w), obs=y)


def test_gradients_of_all_numbers_of_rows_are_those_of_the_closed_form():
    program = ppl.compile(ppl.likelihood(regression), data=(X, Y), dtype="float64")
    assert "range(0, n // 4 * 4, 4)" in program.source
    state = program.init(0)
    for n in (1, 2, 3, 4, 5, 7, 8, 255, 256, 1003):
        grad = program.step(state, X[:n], Y[:n])[1]["w"]
        np.testing.assert_allclose(grad, X[:n].T @ (expit(X[:n] @ W) - Y[:n]), rtol=1e-10, atol=1e-12, err_msg=str(n))


ENTRY, ADDED = Name("sum_1").at("i"), Name("x").at("i") * Name("d")

VIEWS = [assign("x", call("part", "data", Name("r") * 3, 3)), assign("d", Name("w").at("r"))]


@pytest.mark.parametrize(
    "body",
    [
        [*VIEWS, loop("i", 3, [assign(Name("w").at(Name("r") + "i"), Name("w").at(Name("r") + "i") + ADDED)])],
        [*VIEWS, loop("i", 3, [assign(ENTRY, ADDED)])],
        [*VIEWS, loop("i", 3, [assign(ENTRY, ENTRY * ADDED)])],
        [*VIEWS, loop("i", 3, [assign(ENTRY, ENTRY + call(Name("m").dot("exp"), ADDED))])],
        [*VIEWS, loop("i", "k", [assign(ENTRY, ENTRY + ADDED)])],
        [*VIEWS, loop("i", 3, [assign(ENTRY, ENTRY + ADDED)]), assign(Name("w").at("r"), 0)],
        [*VIEWS, assign("sum_2", Name("sum_2") + "d"), loop("i", 3, [assign(ENTRY, ENTRY + ADDED)])],
        [*VIEWS, loop("i", 3, [assign(ENTRY, ENTRY + ADDED), loop("j", 3, [])])],
        VIEWS,
    ],
    ids=[
        "entries of rows",
        "no sum",
        "a product",
        "a function",
        "any length",
        "more behind",
        "a sum in a local",
        "a loop inside",
        "no loop",
    ],
)
def test_other_loops_stay_as_they_are(body):
    assert unroll_rows("r", as_expression("n"), body) is None


def test_what_rows_do_not_move_is_set_once_before_them():
    fixed = assign("sum_1", call("part", "w", "at", 3))
    found = unroll_rows("r", as_expression("n"), [*VIEWS, fixed, loop("i", 3, [assign(ENTRY, ENTRY + ADDED)])])
    assert found[0] == fixed and [x.var for x in found[1:]] == ["r", "r"]
