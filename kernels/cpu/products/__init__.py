"""Products of matrices: BLAS and its threads, tiles of our own, sparse and binary operands, triangular systems."""
