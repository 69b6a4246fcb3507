"""Kernels for float32, made from `ppl.kernels.source`."""
