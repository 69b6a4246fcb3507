"""CUDA: compiling the scalar functions for a GPU. Importing this package needs neither a GPU nor numba-cuda."""
