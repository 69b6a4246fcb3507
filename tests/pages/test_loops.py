"""The examples of `docs/loops.md` run, one after the other, and print what the page says of them."""

import re

from tests.pages.blocks import run


def test_the_examples_run():
    walked, means = "".join(run("docs/loops.md")).splitlines()
    (square,) = re.findall(r"\d+", walked.split("about")[1])
    assert 900 < int(square) < 1400  # 1130 exactly
    found = [float(x) for x in re.findall(r"-?\d+\.\d*", means)]
    assert len(found) == 3 and found == sorted(found)
