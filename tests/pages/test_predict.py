"""The examples of `docs/predict.md` run, one after the other, and print what is true."""

import re

import pytest

from tests.pages.blocks import run


def numbers(line):
    return [float(x) for x in re.findall(r"-?\d+\.\d*(?:e-?\d+)?", line)]


@pytest.mark.slow
def test_the_examples_run():
    printed = "".join(run("docs/predict.md")).splitlines()
    lines = dict(line.split(": ", 1) for line in printed)
    assert lines["predicted"].startswith("(5000, 2)")
    means = numbers(lines["predicted"].split(")")[1])
    assert abs(means[0] - 2.0) <= 0.2 and abs(means[1] + 1.0) <= 0.2 and max(abs(s - 0.3) for s in means[2:]) <= 0.1
    rate, exact = numbers(lines["rate"])
    assert abs(rate - exact) < 1e-3
    left, middle, right = numbers(lines["responsibilities"])
    assert left < 0.05 < middle < 0.95 < right
    assert numbers(lines["burglary"]) == [0.2842]  # Russell and Norvig's 0.284
    assert numbers(lines["neither"]) == [0.5403]
    assert lines["smoothed"] == "(65, 2) right: True"
    assert lines["forecast"].startswith("(5000, 65)")
