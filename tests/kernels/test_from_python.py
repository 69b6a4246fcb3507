"""Calls from Python by address: types of arguments that change, errors, and kernels with several signatures."""

import numba
import numpy as np
import pytest

from ppl.checked import CHECKED
from ppl.kernels.cpu.entry_points import PythonEntry, from_python, types_hash
from ppl.kernels.cpu.threads.slabs import add_slabs
from ppl.kernels.decorators import jit

pytestmark = [
    pytest.mark.tiny,
    pytest.mark.skipif(bool(numba.config.DISABLE_JIT) or CHECKED, reason="calls machine code by its address"),
]


@jit
def scale(out, x, factor):
    """Write x times a positive factor."""
    if factor <= 0:
        raise ValueError("not positive", 7)
    for i in range(len(x)):
        out[i] = x[i] * factor
    return out[0]


@jit
def added(array, size, slabs):
    """The sum over slabs, by the kernel that callers reach by symbol."""
    add_slabs(array, 0, size, size, slabs)
    return array[:size].sum()


def scaled(run, dtype, writeable=True):
    """What `run` writes for five numbers of a dtype."""
    x, out = np.arange(5, dtype=dtype), np.zeros(5, dtype)
    x.flags.writeable = writeable
    run(out, x, 3)
    return out


def test_every_type_of_arguments_gets_machine_code_of_its_own():
    run = from_python(scale)
    assert isinstance(run, PythonEntry)
    for dtype in (np.float32, np.float64, np.int64, np.float32, np.float64):
        np.testing.assert_array_equal(scaled(run, dtype), 3 * np.arange(5))


def test_arrays_that_cannot_be_written_to_are_read():
    run = from_python(scale)
    for writeable in (True, False, True):
        np.testing.assert_array_equal(scaled(run, np.float32, writeable), 3 * np.arange(5))
    assert len(scale.bare().signatures) == len(set(scale.bare().signatures))


def test_an_exception_is_raised_with_its_arguments():
    run, x = from_python(scale), np.ones(3, np.float32)
    with pytest.raises(ValueError) as raised:
        run(x.copy(), x, -1)
    assert raised.value.args == ("not positive", 7)
    run(out := np.zeros(3, np.float32), x, 2)
    np.testing.assert_array_equal(out, 2.0)


def test_hashes_of_types_differ_where_machine_code_does():
    kinds = [numba.typeof(np.zeros(1, d)) for d in (np.float32, np.float64, np.int64, np.int32, np.bool_)]
    kinds += [numba.typeof(np.zeros((1, 1))), numba.int64, numba.uint64, numba.float64]
    found = {types_hash([a, b]) for a in kinds for b in kinds} | {types_hash([a]) for a in kinds}
    assert len(found) == len(kinds) ** 2 + len(kinds) and 0 not in found
    locked = np.zeros(1)
    locked.flags.writeable = False
    assert types_hash([numba.typeof(locked)]) == types_hash([numba.typeof(np.zeros(1))])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_kernel_of_several_signatures_is_the_one_for_its_arrays(dtype):
    slabs = np.arange(12, dtype=dtype) + dtype(1) / 3
    expected = slabs.reshape(3, 4).sum(dtype=np.float64)
    assert added(slabs.copy(), 4, 3) == pytest.approx(expected, rel=1e-6)
    again = slabs.copy()
    add_slabs(again, 0, 4, 4, 3)  # from Python
    assert again[:4].sum() == pytest.approx(expected, rel=1e-6)


def test_arrays_of_other_types_are_refused():
    with pytest.raises(numba.errors.TypingError):
        added(np.zeros(8, np.int32), 4, 2)
