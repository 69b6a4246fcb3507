"""What does not fit into memory is one ppl error, also a MemoryError, that names what is too large."""

import numpy as np
import pytest

import ppl
from ppl.errors import DataError, ModelError, PplError, TooLargeError
from tests.program.programs import units, units_program

X = np.random.default_rng(0).normal(size=(5, 3))
HUGE = 2**40


def too_many(method, **options):
    program = units_program("score")
    getattr(program, method)(program.init(0, X), X, particles=HUGE, **options)


CALLS = {
    "compile": lambda: fit(ppl.compile(units, data=X, particles=HUGE)),
    "value_and_grad": lambda: too_many("value_and_grad"),
    "step": lambda: too_many("step"),
    "sample": lambda: too_many("sample"),
    "profile": lambda: too_many("profile", repeats=1),
    "diagnose": lambda: too_many("diagnose", repeats=2, backend="interpreter"),
    "diagnose (compiled)": lambda: too_many("diagnose", repeats=2, backend="compiled"),
    "check_unbiased": lambda: too_many("check_unbiased", repeats=2, backend="interpreter"),
    "sample_buffer": lambda: units_program("score").sample_buffer(HUGE),
    "data": lambda: units_program("score").value(units_program("score").init(0, X), np.broadcast_to(1.0, (HUGE, 3))),
    "expand": lambda: ppl.Normal(0.0, 1.0).expand((HUGE,)).log_prob(0.0),
    "expand beyond": lambda: ppl.Normal(0.0, 1.0).expand((2**62,)).log_prob(0.0),
}


def fit(program):
    ppl.fit(program, X, steps=1, optimizer=ppl.optim.SGD(0.1), progress=False)


@pytest.mark.parametrize("call", CALLS)
def test_calls(call):
    with pytest.raises(TooLargeError, match="takes more memory than there is") as caught:
        CALLS[call]()
    assert isinstance(caught.value, MemoryError) and isinstance(caught.value, PplError)


DECLARED = {
    "param": lambda size: ppl.param("p", 0.0, shape=(size,)),
    "param, drawn": lambda size: ppl.param("p", ppl.init.normal(), shape=(size,)),
    "dense": lambda size: ppl.dense("p", np.ones(3), size),
    "carried": lambda size: ppl.carry("p", ppl.carried("p", 0.0, (size,))),
}


@pytest.mark.parametrize("size", [HUGE, 2**62])
@pytest.mark.parametrize("name", DECLARED)
def test_declared_parameters(name, size):
    @ppl.model
    def large():
        DECLARED[name](size)
        ppl.cost("c", ppl.param("w", 1.0))

    with pytest.raises((TooLargeError, ModelError), match=r"'p(\.weight)?'.* of shape .*more memory than there is"):
        ppl.compile(large).init(0)


@pytest.mark.parametrize("rows", [slice(0, 2**60), slice(0, 2**63 - 1), slice(3, 3)])
def test_a_slice_of_other_rows_is_refused_before_it_is_made(rows):
    program = units_program("score")
    with pytest.raises(DataError, match=r"rows= names \d+ dataset rows, but plate"):
        program.value(program.init(0, X), X, rows=rows)
