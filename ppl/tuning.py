"""What was chosen for speed on a machine, in one place, so that another machine can be tuned by this file.

Nothing here changes what a program means. It may change last bits, because sums are added up in another order, so two
runs are compared under one copy of this file. It is part of the version of compiled kernels: an edit compiles them all.

`python -m benchmarks tuning` measures around those marked [tuned] and prints their lines; one run of it is in
`benchmarks/results/tuning.md`. "Zen 4" below is a virtual machine of two cores with AVX-512, float32; sections of
`docs/performance.md` are named by their titles. Where it says "not measured", the number is a plausible one.
"""

from __future__ import annotations

# --- Memory ---------------------------------------------------------------------------------------------------------

CACHE_LINE = 16
"""Entries of float32 in a cache line, two lines of float64: how far apart two threads write, what one fetch brings. A
property of x86 and most ARM processors, 64 bytes."""

LONG_BUFFER = 64
"""Entries from which on a buffer begins at a cache line. Zen 4: rows that straddle lines cost loops that wait for the
first caches half as much again (a weight gradient 192 µs, aligned 124; "W3d")."""

POOLED_ENTRIES, POOLED_ARRAYS = 1 << 14, 3
"""Entries from which the memory of result arrays is used again, and how many are kept of one size: a fresh megabyte
costs more in page faults than in filling it. The limits are not measured."""

CONVERTED_BYTES, CHECKED_ROWS = 2**28, 8192
"""Bytes up to which `fit` converts all data at once, else batch by batch, and rows that are then checked at a time. Not
measured."""

WINDOW_BYTES = 1 << 21
"""Bytes that the particles of one row, or of a program without rows, may take in one run. Not measured; the second
caches have 1 MB a core."""

REPLAYED_ENTRIES = 2**28
"""Entries of all values (2 GiB) that a search for the cause of a NaN may take. Not measured: what machines have."""

INTERPRETED_ENTRIES, INTERPRETED_REPEATS = 2_000_000, 10_000
"""Entries of the largest value in one chunk of repeats of a diagnosis, and repeats at most. Not measured."""

# --- Rewriting ------------------------------------------------------------------------------------------------------

PRODUCT_SIZE, SINGLE_PRODUCT = 128, 1024
"""[tuned] Multiplications from which a product of or over rows is a call (rows excluded), and from which others are;
below, it is fused into loops. Zen 3: a VAE 13-64-4-64-13 1,020 to 640 µs; the second limit is not measured."""

COMPARED_TABLE = 16
"""Entries of a table up to which it is read by comparisons. Not measured by itself."""

IN_PLACE_WIDTH = 16
"""Width of a table from which products with its rows read it where it lies: one vector of AVX-512. Zen 4: skip-gram's
dots 56 to 43 µs, sums 76 to 37 ("W6"), at a width of 100 only."""

SPARSE_TABLE = 4096
"""Entries of a table from which training keeps its gradient sparse; below, passing over all of it costs less. Not
measured by itself."""

OWN_DRAWS = 16
"""Entries, of an event or of all named axes without rows, from which draws by rejection are a step of their own instead
of fused: one vector of AVX-512. Not measured by itself."""

LONG_EVENT = 4096
"""Length of the leading dimension of a program without plates from which it runs over it as rows. Not measured by
itself; it is far below the 10⁵ and 10⁶ units of the benchmarks."""

SHORT_DIMENSION, FLAT_EVENT, VECTOR = 32, 64, 16
"""Last dimensions below the first that are no multiple of the last are flattened under costly functions, in events of
at least so many entries. Zen 4: functions of 20 units of 10 classes 795 to 150 µs ("W4g"); the limits are not
measured."""

UNROLLED_ENTRIES = 600
"""Entries of all computed values up to which a program is written out without loops. Not measured; LLVM's time grows
with it."""

TABLE_ENTRIES = 1 << 16
"""Entries of a table, in one row, that `ppl.likelihood(marginalize=)` may make at most: 256 KB in float32, a quarter of
the second caches. Not measured."""

SMALL_UNITS = 64
"""Random units times particles up to which several particles are compiled in, without a loop. Not measured."""

SEARCHED_CLASSES = 16
"""Classes from which on a draw by bisection is faster than by comparison with all of them. Not recorded."""

CLASSES_MULTIPLIED = 128
"""Classes up to which sums over all other classes are a product with a matrix (categorical DisARM). Not measured."""

# --- Loops and tiles ------------------------------------------------------------------------------------------------

LOOP_ARRAYS = 14
"""Arrays that one innermost loop may touch. With more LLVM no longer vectorises; that is not timed here."""

ROWS_INNERMOST, TURNED_LEAST, CARRIED_ENTRIES = 8, 3, 16
"""Entries below which elementary functions loop over rows (Zen 3: 4 particles 66 to 24 µs, but 8, a vector, 10 to 24),
from which arithmetic in loops over time does (Zen 4: 3 2.4 to 0.6 ms), and which a row may store for each function."""

SLICED_LOOP = 4
"""Innermost loops up to this length index the flat arrays: cutting slices costs more than it saves. Not recorded."""

ROLLED_LEAST, ROLLED_MOST = 8, 64
"""Turns of a loop, from and up to which LLVM is asked not to write them out, so that it makes vectors of them. Zen 4: a
step of the forward algorithm with 16 states 450 to 75 ns. The limits, half a vector of AVX-512 and what LLVM does not
write out anyway, are not measured by themselves."""

PRODUCT_TILE_BYTES, STREAM_TILE_BYTES, TILE_ROWS = 3 << 19, 1 << 16, 8192
"""[tuned] Bytes that the tile buffers of a slab may take where products want long tiles, and elsewhere, where they
should stay in the first caches (32 KB and 1 MB on Zen 4); rows of the longest tile."""

FLOAT32_ROWS, ROWS_ABREAST = 256, 4
"""Rows that are added up in float32 before their sum goes to float64, whose vectors are half as wide: not measured by
itself. Rows that are added up before their sum is added to a gradient's entries: a regression's step 5.4 to 4.6 µs."""

TABLE_ROWS_AT_ONCE = 8
"""Table rows of one product that are walked through side by side. Not measured by itself."""

ROWS_AHEAD = 4
"""How many rows earlier a row of a table is asked for. Where it is may be the cache of the core that last wrote it. Not
measured by itself."""

STORED_ENTRIES, STORED_ROW_ENTRIES = 1 << 21, 1 << 19
"""Entries up to which reverse mode stores what all steps of a loop computed, in a loop without rows and in each of many
rows, some hundred of which are in memory at a time. Beyond, it stores the carries of every n-th step and runs the steps
between again. Zen 4: gradients then take 1.8 to 2 times as long with up to 10⁶ entries, 1.3 times with 10⁷ and more
(`benchmarks/results/remat.md`)."""

# --- Slabs and threads ----------------------------------------------------------------------------------------------

LONG_PLATE = 256
"""Rows of a plate of fixed size from which on slabs share them; shorter ones are inner loops. Not measured."""

MOST_SLABS = 64
"""Slabs of a call at most, hence threads that share it. Not measured beyond two cores."""

SLAB_OPERATIONS = 200_000
"""[tuned] Operations of a slab at least: below, a second thread gains less than it costs to wake it (some microseconds
where it sleeps)."""

PAIR_OPERATIONS, AWAKE_STEPS = 200_000, 16
"""Operations of a call, less those of adding up, from which it has two slabs all the same, for threads awake: `fit`'s,
in blocks of so many steps. A call by itself takes both on one thread. Zen 3: a step of `fit` on 1,000 rows of a Poisson
regression 10.0 to 8.2 µs, with Student's t 7.7 to 6.5; one call, waking a thread, 105 to 146 µs."""

OPERATIONS_PER_SUM = 32
"""Operations of a call at least for each entry of all accumulators, which it clears and adds up. Not measured alone."""

PRODUCT_ROWS, LOOP_ROWS, PLAIN_ROWS = 48, 400, 8
"""[tuned] Rows of a slab at least where rows are multiplied by matrices, where a loop runs over time, and elsewhere.
Zen 4: a VAE 784-400-20 on 100 rows took 1.04 times as long in slabs of 25 rows as of 50, and 1.8 times in slabs of 12.
Loops draw noise in blocks of 256 rows; 400 and 8 are not measured by themselves."""

OWNED_GRADIENT, OWNED_ROWS, OWNED_PART_ROWS = 1 << 15, 32, 192
"""[tuned] Entries of a gradient, and rows of it, from which on its product over rows is computed by shares of the
result, each of at least so many rows. Zen 4: of two threads W4 1.74 to 1.67 ms, W5 1.23 to 1.15 ("Two threads against
one"); below 2¹⁵ entries no measurable difference."""

QUIET_LOOP_ROWS = 16
"""The same of loops without noise, whose steps are called once more for every slab. Zen 4: the forward algorithm on 64
sequences (`benchmarks/results/loops_ir.md`) could not be shared at 400 rows."""

MERGED_BY_ALL = 50_000
"""Gradient entries from which on all threads add up the accumulators of slabs. Not recorded."""

MANY_SUMS = 32
"""Gradients of a region from which on they are added up over slabs in few long pieces, and then copied: a call for each
takes LLVM longer than the rest of the driver. Zen 4: 200 unrolled steps; the limit is not measured by itself."""

LONG_KERNEL, LONG_LIST = 32, 500
"""Loops from which on a kernel is cut, and statements from which on a list of calls is translated as it is written.
Zen 4: 100 and 200 unrolled steps (the list took a fifth of the whole); the limits are not measured by themselves."""

GATHERED_BY_ALL = 1 << 14
"""Entries of a batch from which on all threads gather it. Zen 4: gathering 45 to 31 µs in W4; the limit is not
measured."""

WORKER_MICROSECONDS, CALLER_MICROSECONDS = 50.0, 50.0
"""About how long a thread looks for work, and a caller for the end of others' slabs, before it sleeps in the kernel:
longer than what a step does between regions. Not measured by themselves."""

CHECK_CHUNK, CHECKED_BY_ALL = 1 << 16, 1 << 18
"""[tuned] Entries of a data array that one thread checks at a time, and from which on all threads check it."""

# --- Training -------------------------------------------------------------------------------------------------------

UPDATED_BY_ALL, UPDATE_CHUNK = 1 << 16, 1 << 14
"""[tuned] Parameters from which on all threads take the optimizer's step, and entries of one at a time. Zen 4: check
and step of 650,000 parameters 333 to 225 µs in W4."""

UPDATE_BLOCK = 1 << 12
"""Entries of a step in place that are written before other threads' copies of them. Not measured by itself."""

THREADS_WITH_COPIES = 4
"""Threads up to which each reads a copy of the parameters, all of which have to be written. Zen 4, two threads: W3 1.19
to 1.12 ms, W4 1.74 to 1.67 ("Two threads against one"); more threads are not measured."""

COLUMN_TABLE_WIDTH, COLUMN_PART, COLUMN_ENTRIES = 32, 64, 1 << 26
"""Width of a table from which threads share it by columns, most columns of a part, and entries of tables that training
may hold twice for it. Zen 4: W6, width 100, 313 to 172 µs on two threads; the limits are not measured."""

SLOWER_AGAIN = 48
"""Calls of training after which the slower of one thread and all is timed again: 2% of the difference. Not measured."""

BLOCK_SECONDS, BLOCK_STEPS = 0.05, 4096
"""About how long compiled training steps last, so that an interrupt is soon felt, and steps. Not about speed."""

SHUFFLED_COMPILED = 1 << 14
"""Rows from which on compiled code shuffles an epoch, not measured. Zen 4: 102,400 rows 10.7 to 0.8 ms ("W6")."""

# --- When to compile ------------------------------------------------------------------------------------------------

COMPILE_AFTER = 20.0
"""Seconds of interpretation that are worth a compilation. The largest programs of the suite take 10 s to compile."""

SCANNED_BY_PYTHON = 8
"""Entries up to which Python looks for NaN itself sooner than it calls compiled code. Not recorded."""

COLLECTOR = (200_000, 50, 1000)
"""Thresholds of Python's collector of cycles while Numba compiles. Zen 4: W3 compiles in 8.8 instead of 9.6 s
("Start-up"), with no more memory."""

# --- Noise and draws ------------------------------------------------------------------------------------------------

SCATTERED_UNIFORMS = 48
"""Uniforms in a row up to which one call each is faster than whole blocks of 256. Zen 4: uniforms of scattered rows 61
to 26 µs ("W6"); the limit is not measured by itself."""

DRAW_LANES = 512
"""Draws by rejection that take their attempts together, 2 KB of float32. Not measured by itself."""

# --- Dense products -------------------------------------------------------------------------------------------------

WIDE_TILE, NARROW_TILE = (6, 4, 6), (6, 2, 2)
"""Rows and vectors of the larger outer tile, rows of the larger tile of scalar products; with vectors of 512 bits and
of 256. Chosen by the registers: 6 x 4 sums in 24 of 32. Zen 4: 116 of 118 Gflop/s ("Dense products of a slab of
rows")."""

DOT_COLUMNS = 4
"""Columns of a tile of scalar products, chosen likewise."""

PRODUCT_DEPTH = 512
"""Terms that an outer tile adds up at a time, so that what a strip of tiles reads of B stays in the second cache. Zen
4: 2048 x 2048 x 2048 at 104 instead of 63 to 72 Gflop/s (the same section)."""

DOT_TERMS, REREAD_ENTRIES, STREAMED_ENTRIES, NARROW_ROWS = 96, 1 << 18, 1 << 20, 128
"""[tuned] Where tiles of our own are taken, not BLAS: terms from which a sum over lanes pays; entries of a first
operand that is read again for every four columns; of one that is read again for every strip, and of a result (twice as
many by rows); rows, with vectors of 256 bits. Zen 4: the same section, and `benchmarks/results/slab_products.md`."""

# --- Products of data that are mostly zeros, or zeros and ones ------------------------------------------------------

ZEROS_PER_ROW, ZEROS_PER_BIT = 3, 5
"""[tuned] Entries per non-zero from which adding up rows is the fastest way, of any numbers and of zeros and ones."""

TABLED_ROWS = 16
"""[tuned] Rows of the result from which a table of sums of four rows pays. Zen 4: W3d's products 682 to 285 µs."""

PANEL_COLUMNS, PANEL_USES = 128, 4
"""Columns that are copied side by side for adding up rows, and uses of a row of the second operand from which the copy
pays. Zen 4: dW of W5 209 to 170 µs ("W5"), `x W` of W3d 219 to 120 with 128 columns in registers."""

TABLE_WIDTH, TABLE_GROUPS, SQUARE = 32, 8, 16
"""Columns of a table and groups of four rows in it, at most 16 and a power of two; rows and columns that are transposed
in registers, a power of two that divides the width and four times the groups. Zen 4: transposed in registers `h Wᵀ` of
W5 takes 510 µs, entry by entry 790; the sizes follow the registers of AVX-512."""

MATRIX_BLOCK = 32
"""Rows of the blocks in which matrices are factored and systems solved; between blocks there are products. 32 and 64
rows do not differ. AMD EPYC, one thread, float64, in µs, ours and LAPACK's as NumPy calls it: Cholesky factors of a
hundred 3 x 3 matrices 4 and 22, of one with 256 rows 390 and 570; inverses 17 and 58, 1840 and 1840."""

KEPT_PLANS = 4
"""Sizes of batches whose launches on a device are kept."""

# --- CUDA -----------------------------------------------------------------------------------------------------------

CUDA_THREADS, SIMULATED_THREADS = 128, 8
"""Threads of a block on devices, and in Numba's simulator, which runs each as a thread of Python's. Not measured."""

CUDA_REGISTERS = 128
"""Registers of a thread at most. `benchmarks/results/cubins.md`: no kernel of the programs there spills."""

CUDA_BLOCKS, CUDA_ROWS, CUDA_OPERATIONS = 1024, 4, 1 << 13
"""Blocks that share the rows of a call at most; rows and operations of a block at least. Not measured."""

CUDA_HELD, SIMULATED_HELD = 32, 8
"""Turns of a loop that a team takes at once to hold its entries, no more than threads of a block. Not measured."""

CUDA_PRODUCT, CUDA_TILE, SIMULATED_TILE = 128, 32, 4
"""Multiplications, rows excluded, from which a product is a kernel of its own; rows and columns of the result that a
block computes, on devices and in the simulator. Not measured."""

GATHERED_BYTES = 1 << 16
"""Bytes of the vectors of all ranks up to which every rank adds them all up; beyond, each adds up a share. Not
measured on a network."""

UNROLLED_STEPS = 64
"""Steps of all loops over time of a program at most that are written out for the sake of an estimator. Zen 4: an
autoregression of 50 unrolled steps compiles in 13 s, one of 100 in 33 s."""
