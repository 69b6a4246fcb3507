"""Products of `real`s whose first operand is mostly zeros (bits, bags of words) or consists of zeros and ones.

`data_gemm_real` takes the arguments of `blas.gemm_real`. It looks at the first operand and chooses, so that equal
data always take the same path and give the same bits: where few entries are not 0, the rows of the second operand
that they select are added up; where all entries are 0 or 1, sums of all subsets of four rows go to a table
(Arlazarov, Dinic, Kronrod and Faradzhev, 1970); else BLAS. The algorithms are in
`ppl.kernels.cpu.products.sparse_algorithms`."""

from ppl.checked import CHECKED
from ppl.kernels.cpu.memory import check_product
from ppl.kernels.cpu.products.blas import GEMM_SIGNATURE
from ppl.kernels.cpu.products.sparse_algorithms import DENSE, FEW, choose_algorithm, pack_nonzeros
from ppl.kernels.decorators import shared
from ppl.kernels.source.precision import SINGLE, real

if SINGLE:
    from ppl.kernels.cpu.products.blas import gemm_f32 as gemm
    from ppl.kernels.cpu.products.sparse_algorithms import add_rows_f32 as add_rows
    from ppl.kernels.cpu.products.sparse_algorithms import tabled_f32 as tabled
else:
    from ppl.kernels.cpu.products.blas import gemm_f64 as gemm
    from ppl.kernels.cpu.products.sparse_algorithms import add_rows_f64 as add_rows
    from ppl.kernels.cpu.products.sparse_algorithms import tabled_f64 as tabled


@shared(GEMM_SIGNATURE.format(real.__name__))
def data_gemm_real(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
    """`blas.gemm_real` for data `a` that may be sparse or binary; alpha must be 1 and beta 0 or 1."""
    if CHECKED:
        check_product(ta, tb, m, n, k, a, lda, b, ldb, c, ldc)
    kind = choose_algorithm(ta, tb, m, n, k, a, lda)
    if kind == DENSE:
        gemm(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)
        return
    words = pack_nonzeros(m, k, a, ta, lda)
    if kind == FEW:
        add_rows(m, n, k, words, a, 1 if ta else lda, lda if ta else 1, b, ldb, beta == 0, c, ldc)
    else:
        tabled(m, n, k, words, b, tb, ldb, beta == 0, c, ldc)
