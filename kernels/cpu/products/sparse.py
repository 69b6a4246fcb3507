"""Products whose first operand is mostly zeros (bits, bags of words) or consists of zeros and ones (binary units).

`data_gemm_f32` and `data_gemm_f64` take the arguments of `blas.gemm_*`. They look at the first operand and choose, so
that equal data always take the same path and give the same bits:

* where at most one entry in `ZEROS_PER_ROW` is not 0 (in `ZEROS_PER_BIT`, if they are all 0 or 1), the rows of the
  second operand that they select are added up;
* where all entries are 0 or 1, the sums of all subsets of four rows of the second operand go to a table, and a row
  of the result is the sum of one entry of it for every four rows (Arlazarov, Dinic, Kronrod and Faradzhev, 1970);
* else BLAS."""

from ppl.kernels.generated.f32.cpu.sparse import data_gemm_f32
from ppl.kernels.generated.f64.cpu.sparse import data_gemm_f64

__all__ = ["data_gemm_f32", "data_gemm_f64"]
