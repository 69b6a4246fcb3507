"""What makes a step of a small program cheap inside a loop of steps."""

import re

import numba
import pytest

import ppl
from ppl.models.toy import toy


@pytest.fixture(scope="module")
def program():
    return ppl.compile(toy, estimators=ppl.estimators.Rebar())


def test_a_step_in_a_users_loop_counts_no_references(program):
    step = program.njit

    @numba.njit
    def steps(n, params, grad, aux, hyper, work):
        total = 0.0
        for i in range(n):
            total += step(params, grad, aux, hyper, 7, i, 0, 1.0, work)
        return total

    params, grad, aux, hyper = program.arrays(program.init(seed=0))
    steps(3, params, grad, aux, hyper, program.workspace())
    body = re.split(r"^define ", steps.inspect_llvm(steps.signatures[0]), flags=re.MULTILINE)[1]
    assert "_ZN7cpython" not in body.splitlines()[0]
    calls = [block for block in body.split("\n\n") if "@ppl_program_" in block]
    assert calls
    assert not [block for block in calls if "NRT_" in block]
    assert body.count("@NRT_incref(") == 6, "once for every array, before the loop"


def test_what_needs_no_parameter_comes_first(program):
    lines = program.source.partition("def program(")[2].partition("@")[0].splitlines()
    drawn = [i for i, line in enumerate(lines) if "uniform_f32(" in line or "log_uniform(" in line]
    read = [i for i, line in enumerate(lines) if re.search(r"= (params|aux)\[", line)]
    assert drawn
    assert read
    assert max(drawn) < min(read)


def test_logarithms_of_uniforms_are_not_checked(program):
    assert program.source.count("m.log_uniform(") == 4
    assert not re.search(r"m\.log(1p)?\(", program.source)
