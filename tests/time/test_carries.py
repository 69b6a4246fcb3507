"""What carries may be: dicts in any order, whole numbers, truth values, one step; judged by plain loops."""

import numpy as np
import pytest

import ppl
from ppl.errors import ModelError


def compiled(step, init, length, cost, **options):
    @ppl.model
    def model():
        p = ppl.param("p", [0.3, 0.5, 0.7])
        last, _ = ppl.scan(lambda c, t: (step(p, c, t), None), init, length=length, **options)
        ppl.cost("c", cost(p, last))

    return ppl.compile(model, dtype="float64")


def test_entries_of_a_dict_may_come_in_another_order():
    program = compiled(lambda p, c, t: {"b": c["b"] + p[0], "a": c["a"] + c["b"]}, {"a": 0.0, "b": 1.0}, 3,
                       lambda p, c: c["a"])  # fmt: skip
    loss, grad = program.value_and_grad(program.init(0))
    assert loss == pytest.approx(1.0 + 1.3 + 1.6)
    np.testing.assert_allclose(grad["p"], [3.0, 0.0, 0.0])
    with pytest.raises(ModelError, match=r"starts as carry\['a'\] and step returns carry\['b'\]"):
        compiled(lambda p, c, t: {"b": c["a"]}, {"a": 0.0}, 3, lambda p, c: c["a"])


@pytest.mark.parametrize("remat", [None, 2])
def test_whole_numbers_and_truth_values_are_carried(remat):
    def step(p, c, t):
        x, n, seen = c
        return x + p[n] * t, (n + 1) % 3, seen | (n > 1)

    program = compiled(step, (0.0, 0, False), 5, lambda p, c: np.where(c[2], c[0] + c[1], 0.0), remat=remat)
    loss, grad = program.value_and_grad(program.init(0))
    assert loss == pytest.approx(sum([0.3, 0.5, 0.7][t % 3] * t for t in range(5)) + 2)
    np.testing.assert_allclose(grad["p"], [3.0, 5.0, 2.0])


@pytest.mark.parametrize("until", [None, lambda c: c > 0.2, lambda c: c > 9.0])
def test_one_step(until):
    program = compiled(lambda p, c, t: c * p[0] + t, 0.5, 1, lambda p, c: c**2 + p[1], until=until, remat=1)
    runs = until is None or not until(0.5)
    last = 0.15 if runs else 0.5
    loss, grad = program.value_and_grad(program.init(0))
    assert loss == pytest.approx(last**2 + 0.5)
    np.testing.assert_allclose(grad["p"], [2 * last * 0.5 * runs, 1.0, 0.0])
