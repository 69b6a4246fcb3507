"""Workspaces that compiled code lays out are those that Python prepares, and ones for many rows serve fewer."""

import numpy as np
import pytest

from tests.program.embedded import KINDS, given, program_of

PLATED = [name for name in KINDS if given(name, "float64", 3)]
SOME = [
    *range(1, 40),
    63,
    64,
    65,
    100,
    255,
    256,
    257,
    511,
    513,
    1000,
    2048,
    2049,
    5000,
    8192,
    20_001,
    100_000,
    1_000_000,
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", PLATED)
def test_the_header_is_that_of_python(name, dtype):
    program = program_of(name, dtype)
    executable, particles = program.prepare().executable("gradient"), program.settings.particles
    module, plates = executable.module, len(executable.plate_names)
    for n in SOME:
        each = [n, 2 * n + 1][:plates]
        sizes = executable._sizes(dict(zip(executable.plate_names, each, strict=True)), particles, 1)
        w, v = executable._buffers(sizes, executable._slabs(sizes), 1) if n < 30_000 else (None, None)
        head = np.zeros(len(executable.memory.header), np.int64)
        _, first = executable.workspace(1, particles)
        head[:] = first[: head.size]
        module.lay_out(head, *each)
        if w is not None:
            np.testing.assert_array_equal(head, v[: head.size], err_msg=f"{n} rows")
            assert (module.floats_of(head), module.words_of(head)) == (w.size, v.size), f"{n} rows"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", PLATED)
def test_a_workspace_for_many_rows_serves_all_smaller_numbers(name, dtype):
    program = program_of(name, dtype)
    executable, particles = program.prepare().executable("gradient"), program.settings.particles
    for most in (40, 3000, 50_000):
        w, v = executable.workspace(most, particles)
        head = v[: len(executable.memory.header)].copy()
        for n in {*np.unique(np.linspace(1, most, 300).astype(int)).tolist(), most - 1, most}:
            executable.module.lay_out(head, *[n] * len(executable.plate_names))
            assert executable.module.floats_of(head) <= w.size, f"{n} of {most} rows"
            assert executable.module.words_of(head) <= v.size
