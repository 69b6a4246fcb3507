"""The checked build finds what it is there for, and finds nothing in the programs as they are."""

import os
import subprocess
import sys

import numpy as np
import pytest

from ppl.compiler.lower.sizes import Poly
from ppl.compiler.schedule.memory import MemoryLayout
from ppl.errors import MemoryCheckError
from ppl.runtime import buffers

PARTS = 8
"""Processes that the whole of the programs is shared out to."""

BREAKS = {
    "scratch of one entry": (
        "ppl.compiler.schedule.stages.Value.room",
        "lambda self: views.Poly.of(1)",
        "outside its buffer",
    ),
    "tiles of half the size": (
        "ppl.compiler.schedule.memory.tile_size",
        "lambda v, row: stages.tile_size(v, row).of(1)",
        "beyond its array",
    ),
    "sums of one entry": (
        "ppl.compiler.schedule.stages.Value.extent",
        "lambda self, skip=(): views.Poly.of(1)",
        "outside",
    ),
}

BROKEN = """
from unittest import mock
from ppl.compiler.lower import views
from ppl.compiler.schedule import stages
from tests.compiler import checked
with mock.patch({target!r}, {replacement}):
    raise SystemExit(not checked.main(["--law", "elbo_sbn-h-rebar-t"]))
"""

KERNELS = """
import numpy as np, numba, pytest
from ppl.errors import MemoryCheckError
from ppl.kernels.decorators import jit
from ppl.kernels.cpu.products.blas import gemm_f64
from ppl.kernels.cpu.products.sparse import data_gemm_f32
from ppl.kernels.cpu.memory import clear, part

@jit
def third(x, at):
    return part(x, at, 3)[2]

@jit
def entry(x, at):
    return x[at]

x = np.zeros(8)
assert third(x, 5) == 0.0
for call in (lambda: third(x, 6), lambda: third(x, -1), lambda: jit(lambda y: clear(y, 4, 5))(x),
             lambda: gemm_f64(False, False, 2, 3, 4, 1.0, x, 4, np.zeros(12), 3, 0.0, np.zeros(5), 3),
             lambda: data_gemm_f32(False, False, 2, 3, 5, 1.0, x.astype(np.float32), 4, np.zeros(15, np.float32), 3,
                                   0.0, np.zeros(6, np.float32), 3)):
    with pytest.raises(MemoryCheckError):
        call()
with pytest.raises(IndexError):
    entry(x, 8)
gemm_f64(False, False, 2, 3, 4, 1.0, x, 4, np.zeros(12), 3, 0.0, np.zeros(6), 3)
"""


def _run(*arguments, plain=False, timeout=1800):
    """A process of the checked build."""
    environment = {**os.environ, "PPL_CHECK": "1", "NUMBA_DISABLE_JIT": "1" if plain else "0"}
    environment.pop("PPL_VERIFY", None)
    return subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=timeout
    )


def _passed(*arguments, plain=False, timeout=1800):
    done = _run("-m", "tests.compiler.checked", *arguments, plain=plain, timeout=timeout)
    assert done.returncode == 0 and " 0 failed" in done.stdout, done.stdout + done.stderr
    assert not done.stdout.startswith("0 programs")
    return done.stdout


def test_addresses_of_short_layers_lie_in_their_buffers():
    """Several rows per tile, one slab and two, as plain Python."""
    _passed("--law", "elbo_sbn-h-re", plain=True)


def test_a_compiled_program_touches_no_guard():
    _passed("--law", "elbo_sbn-h-rebar-t")


@pytest.mark.parametrize("case", BREAKS)
def test_a_buffer_that_is_too_small_is_found(case):
    target, replacement, text = BREAKS[case]
    done = _run("-c", BROKEN.format(target=target, replacement=replacement), plain=True)
    assert done.returncode == 0 and "MemoryCheckError" in done.stdout and text in done.stdout, done.stdout + done.stderr


def test_kernels_test_bounds_views_and_operands():
    done = _run("-c", KERNELS)
    assert done.returncode == 0, done.stderr


def test_guards_around_an_array():
    x = buffers.guarded_array(5, np.float32)
    assert np.all(np.isnan(x)) and x.ctypes.data % 64 == 0
    x[:] = 1.0
    buffers.check_array_guards()
    x.base[x.ctypes.data - x.base.ctypes.data + x.nbytes] = 0
    with pytest.raises(MemoryCheckError, match="outside an array of 20 bytes"):
        buffers.check_array_guards()
    buffers.check_array_guards()


def test_guards_between_the_parts_of_a_workspace():
    memory = MemoryLayout(["n"], 0, totals={"w": Poly.of(16)}, slab={"w": Poly.of("n") * 8}, lane={"w": Poly.of(9)})
    memory.guards = [("w", "shared", Poly.of(4)), ("w", "own", Poly.of("slab_w") + 3)]
    memory.guards += [("w", "tile", Poly.of("lane_w") + 1)]
    w, v = np.ones(57), np.array([2])
    buffers.write_guards(memory, w, v, (2, 1))
    assert np.flatnonzero(np.isnan(w)).tolist() == [*range(4, 12), *range(19, 27), *range(35, 43), *range(49, 57)]
    buffers.check_guards(memory, w, v, (2, 1))
    w[36] = 0.0
    with pytest.raises(MemoryCheckError, match=r"guard words behind 'own' in w\[35\]"):
        buffers.check_guards(memory, w, v, (2, 1))


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_no_address_of_any_law_graph_is_outside_its_buffer(part):
    _passed("--part", f"{part}/{PARTS}", plain=True, timeout=7200)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(8 * PARTS))
def test_no_compiled_law_graph_touches_a_guard(part):
    _passed("--part", f"{part}/{8 * PARTS}", timeout=7200)
