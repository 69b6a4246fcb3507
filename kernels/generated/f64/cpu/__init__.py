"""Kernels of programs for float64, made from `ppl.kernels.source.cpu`."""
