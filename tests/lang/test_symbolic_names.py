"""Names made with symbolic values, which would be one name for all steps, and functions of loops that take too much."""

import numpy as np
import pytest

import ppl
from ppl import Normal
from ppl.errors import ModelError

TEXTS = {
    "f-string": lambda t: f"w{t}",
    "repr": lambda t: f"w{t!r}",
    "str": lambda t: "w" + str(t),
    "percent": lambda t: "w%s" % t,  # noqa: UP031
    "format": lambda t: "w{}".format(t),  # noqa: UP032
}
DECLARED = {
    "param": lambda name: ppl.param(name, 1.0),
    "hyper": lambda name: ppl.hyper(name, 1.0),
    "sample": lambda name: ppl.sample(name, Normal(0.0, 1.0)),
    "deterministic": lambda name: ppl.deterministic(name, 1.0),
    "cost": lambda name: ppl.cost(name, 1.0),
    "factor": lambda name: ppl.factor(name, 1.0),
    "carried": lambda name: ppl.carried(name, 1.0),
    "dense": lambda name: ppl.dense(name, np.ones(2), 2),
    "external": lambda name: ppl.external(np.sin, 1.0, name=name),
    "scan": lambda name: ppl.scan(lambda c, t: (c, None), 0.0, length=2, name=name),
    "plate": lambda name: ppl.plate(name, 2).__enter__(),
    "scope": lambda name: ppl.scope(name).__enter__(),
}


def in_a_step(declare):
    @ppl.model
    def model():
        def step(c, t):
            declare(t)
            return c, None

        ppl.scan(step, 0.0, length=3)
        ppl.cost("end", 0.0)

    return model


@pytest.mark.parametrize("text", TEXTS)
def test_no_text_of_a_value_is_part_of_a_name(text):
    with pytest.raises(ModelError, match=r"the name .*is made with a symbolic value.*\n  at test_symbolic_names"):
        ppl.compile(in_a_step(lambda t: ppl.param(TEXTS[text](t), 1.0)))


@pytest.mark.parametrize("kind", DECLARED)
def test_names_of_every_kind(kind):
    with pytest.raises(ModelError, match="is made with a symbolic value"):
        ppl.compile(in_a_step(lambda t: DECLARED[kind](f"{t}_a")))


def test_values_and_arguments_in_rows():
    for name in (lambda x, row: f"w{row}", lambda x, row: f"w{x}"):

        @ppl.model
        def model(x):
            with ppl.plate("data", x) as row:
                ppl.cost("c", row * ppl.param(name(x, row), 1.0))  # noqa: B023

        with pytest.raises(ModelError, match="is made with a symbolic value"):
            ppl.compile(model, data=np.ones(3))


def test_names_that_look_somewhat_like_it_are_taken():
    @ppl.model
    def model():
        ppl.cost("Value(s)", ppl.param("Argument(x)", 2.0) * ppl.param("floatValue(a)", 3.0))

    program = ppl.compile(model)
    assert program.value(program.init(0)) == 6.0


def test_values_can_be_printed_but_not_as_numbers():
    seen = []
    ppl.compile(in_a_step(lambda t: seen.append((f"{t}", str(t), f"{t!r}"))))
    assert seen[0] == ("Value(int[])",) * 3
    with pytest.raises(ModelError, match=r"formatted as a number[\s\S]*at test_symbolic_names"):
        ppl.compile(in_a_step(lambda t: f"{t:03d}"))


def looped(step=lambda c, t: (c + 1.0, None), until=None):
    @ppl.model
    def model():
        last, _ = ppl.scan(step, 0.0, length=3, until=until)
        ppl.cost("c", last)

    return model


@pytest.mark.parametrize("until", [lambda c, t: c > 1.0, lambda: True, lambda *, c: c > 1.0])
def test_until_takes_the_carry_alone(until):
    said = r"scan 'time': until is called with the carry, which <lambda> does not take: .*\n  at test_symbolic_names"
    with pytest.raises(ModelError, match=said):
        ppl.compile(looped(until=until))


@pytest.mark.parametrize("step", [lambda c: (c, None), lambda c, t, more: (c, None)])
def test_a_step_takes_two(step):
    with pytest.raises(
        ModelError, match=r"step is called with the carry and a slice, which <lambda> .*\n  at test_symb"
    ):
        ppl.compile(looped(step))


def test_errors_inside_of_them_stay_what_they_are():
    with pytest.raises(TypeError, match="unsupported operand"):
        ppl.compile(looped(until=lambda c: [] - 1))
    program = ppl.compile(looped(until=lambda c, least=2.0: c >= least))
    assert program.value(program.init(0)) == 2.0
