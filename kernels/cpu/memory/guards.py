"""Tests of addresses in the checked build (`ppl.checked`); other builds do not call them.

`tag` is a number for the buffer and the function that reads or writes it, which the compiler knows by name.
"""

from ppl.errors import MemoryCheckError
from ppl.kernels.config import jit
from ppl.kernels.cpu.memory.views import part


@jit
def inside(at, start, size, tag):
    """`at`, which must be one of the `size` entries from `start` on."""
    if at < start or at >= start + size:
        raise MemoryCheckError("an entry outside its buffer", tag)
    return at


@jit
def part_of(array, at, count, start, size, tag):
    """``part(array, at, count)``, which must lie in the `size` entries from `start` on."""
    if count > 0 and (at < start or at + count > start + size):
        raise MemoryCheckError("entries outside their buffer", tag)
    return part(array, at, max(count, 0))


@jit
def rest_of(array, at, start, size, tag):
    """The entries from `at` on, up to the end of the buffer of `size` entries from `start` on: none behind it."""
    if at < start:
        raise MemoryCheckError("entries outside their buffer", tag)
    end = start + size
    return part(array, min(at, end), end - min(at, end))


@jit
def check_matrix(rows, columns, distance, size):
    """Test that an array of `size` entries holds a matrix whose rows begin `distance` entries apart."""
    if rows > 0 and columns > 0 and ((distance < columns and rows > 1) or (rows - 1) * distance + columns > size):
        raise MemoryCheckError("a product reads or writes beyond an operand", 0)


@jit
def check_product(ta, tb, m, n, k, a, lda, b, ldb, c, ldc):
    """Test the extents of a product as `blas.gemm_f32` takes it."""
    if m > 0 and n > 0:
        check_matrix(k if ta else m, m if ta else k, lda, a.shape[0])
        check_matrix(n if tb else k, k if tb else n, ldb, b.shape[0])
        check_matrix(m, n, ldc, c.shape[0])
