"""The public API answers rightly or raises a ppl error, whatever it is called with; nothing crashes the process."""

import subprocess
import sys

import pytest


def fuzz(*arguments: str) -> str:
    """Fuzz in a process of its own; the last call before it died is in the message."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.run", *arguments], capture_output=True, text=True, check=False
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0, f"exit status {done.returncode} after {lines[-1:]}\n{done.stderr[-4000:]}"
    return lines[-1]


def test_a_sample_of_calls_that_compile_nothing():
    assert fuzz("120", "7").startswith("120 calls")


@pytest.mark.slow
@pytest.mark.parametrize("start", range(4))
def test_two_thousand_calls(start):
    assert fuzz("500", str(start), "--all").startswith("500 calls")
