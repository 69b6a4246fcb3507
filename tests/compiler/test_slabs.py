"""Small graphs in tiny slabs and tiles equal the interpreter, in processes of their own, as plain Python.

At the thresholds of `ppl.tuning` all that tests can afford runs in one slab and one tile, where an address that forgets
either is right. `python -m tests.compiler.slabs` says how many of both there were, and fails if there were none.
"""

import os
import subprocess
import sys

import pytest

from tests.helpers.tiny import KINDS

PARTS = 4
"""Shares of the longer lists."""


def run(kind, what, *options):
    env = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    command = [sys.executable, "-m", "tests.compiler.slabs", kind, what, *options]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_a_selection(kind):
    run(kind, "some")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", ["graphs", "models"])
def test_graphs_and_models(kind, what):
    run(kind, what)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", ["laws", "estimators"])
def test_laws(kind, what, part):
    run(kind, what, "--part", f"{part}/{PARTS}")


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 400, 20))
@pytest.mark.parametrize("kind", KINDS)
def test_random_graphs(kind, first):
    run(kind, "random", "--seeds", f"{first}:{first + 20}")
