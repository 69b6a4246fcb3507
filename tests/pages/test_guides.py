"""The examples of `docs/guides.md` run, one after the other, and print what the page says of them."""

import re

import pytest

from tests.pages.blocks import run


@pytest.mark.slow
def test_the_examples_run():
    lines = "".join(run("docs/guides.md")).splitlines()
    found = {line.split(":")[0]: [float(x) for x in re.findall(r"-?\d+\.\d+", line)] for line in lines}
    mu, tau = found["mu"]
    assert 3.9 < mu < 4.9 and 2.8 < tau < 4.4  # 4.4 and 3.3 by quadrature
    one, other = found["correlation"]
    assert abs(one - other) < 0.06
    assert "rows: (500,)" in lines
    mean, spread = found["m, s"]
    assert 0.7 < mean < 1.3 and 1.7 < spread < 2.3
    slope, exact = found["slope"]
    assert abs(slope - exact) < 0.06
    rate, wanted = found["rate"]
    assert abs(rate - wanted) <= 0.2
    assert abs(found["log-evidence"][0] - -14.587) < 0.011  # exactly; Stirling's formula makes it 0.004 less
