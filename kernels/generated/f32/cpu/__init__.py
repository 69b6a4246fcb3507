"""Kernels of programs for float32, made from `ppl.kernels.source.cpu`."""
