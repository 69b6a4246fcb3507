"""Run every test graph with the JIT off: `NUMBA_DISABLE_JIT=1 python -m tests.compiler.plain [names]`.

BLAS is reached by symbol, and products of bits are written in LLVM's vectors, neither of which plain Python can do: a
NumPy product stands in for both. Random words and special functions depend on their arguments alone and take plain
Python long: they are computed once for all tiles, slabs and threads."""

import sys
import types
import warnings
from dataclasses import replace
from functools import lru_cache

import numpy as np


def gemm(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
    def matrix(x, rows, cols, ld):
        assert x.size >= (rows - 1) * ld + cols
        return np.lib.stride_tricks.as_strided(x, (rows, cols), (ld * x.itemsize, x.itemsize))

    left = matrix(a, k, m, lda).T if ta else matrix(a, m, k, lda)
    right = matrix(b, n, k, ldb).T if tb else matrix(b, k, n, ldb)
    out = matrix(c, m, n, ldc)
    out[...] = left @ right + (beta * out if beta else 0)


def stand_ins() -> None:
    """Put stand-ins where emitted code will look, before it is imported."""
    blas = types.ModuleType("ppl.kernels.cpu.products.blas")
    blas.gemm_f32 = blas.gemm_f64 = gemm
    blas.enter_single = blas.leave_single = lambda: None
    sys.modules["ppl.kernels.cpu.products.blas"] = blas
    for bits in ("f32", "f64"):
        sparse = types.ModuleType(f"ppl.kernels.generated.{bits}.cpu.sparse")
        setattr(sparse, f"data_gemm_{bits}", gemm)
        sys.modules[sparse.__name__] = sparse
    from ppl.kernels.generated.f64 import scalar
    from ppl.kernels.scalar import noise, philox

    once = lru_cache(maxsize=None, typed=True)
    philox.philox4x32 = noise.philox4x32 = once(philox.philox4x32)
    for name in scalar.__all__:
        if name.endswith(("inc", "incc", "incinv", "inccinv", "cdf")):
            setattr(scalar, name, once(getattr(scalar, name)))


def main(names: list[str]) -> None:
    warnings.simplefilter("ignore")
    stand_ins()
    from ppl.compiler.lower.target import CPU, Buffers
    from tests.compiler import graphs
    from tests.compiler.test_graphs import SOME_IDS

    for name in names or list(graphs.GRAPHS):
        for tile, ids in ((1 << 20, None), (2000, SOME_IDS)):
            target = replace(CPU, buffers=Buffers(product_tile=tile))
            graphs.check(graphs.GRAPHS[name](), ids=ids, threads=(1, 2), target=target)
        print(name)


if __name__ == "__main__":
    main(sys.argv[1:])
