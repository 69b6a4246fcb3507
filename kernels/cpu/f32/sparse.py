# Made from kernels/source/cpu/sparse.py by `python -m ppl.kernels.source`: change that file instead.
"""Products of float32s whose first operand may be sparse or binary (`ppl.kernels.cpu.products.sparse`)."""

import numpy as np

from ppl.checked import CHECKED
from ppl.kernels.cpu.memory.guards import check_product
from ppl.kernels.cpu.products.blas import GEMM
from ppl.kernels.cpu.products.blas import gemm_f32 as gemm
from ppl.kernels.cpu.products.sparse_ways import DENSE, FEW, choice, pack
from ppl.kernels.cpu.products.sparse_ways import add_rows_f32 as add_rows
from ppl.kernels.cpu.products.sparse_ways import tabled_f32 as tabled
from ppl.kernels.symbols import shared

f32 = np.float32


@shared(GEMM.format(f32.__name__))
def data_gemm_f32(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
    """`blas.gemm_f32` for data `a` that may be sparse or binary; alpha must be 1 and beta 0 or 1."""
    if CHECKED:
        check_product(ta, tb, m, n, k, a, lda, b, ldb, c, ldc)
    kind = choice(ta, tb, m, n, k, a, lda)
    if kind == DENSE:
        gemm(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)
        return
    words = pack(m, k, a, ta, lda)
    if kind == FEW:
        add_rows(m, n, k, words, a, 1 if ta else lda, lda if ta else 1, b, ldb, beta == 0, c, ldc)
    else:
        tabled(m, n, k, words, b, tb, ldb, beta == 0, c, ldc)
