"""Kernels for float64, made from `ppl.kernels.source`."""
