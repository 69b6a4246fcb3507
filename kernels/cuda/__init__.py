"""CUDA: compiling the scalar functions for a GPU. Importing it needs neither a GPU nor numba-cuda."""
