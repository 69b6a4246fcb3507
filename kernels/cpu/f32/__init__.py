"""Noise, draws and sparse products of float32 numbers; `ppl.kernels.cpu.f64` has the same modules."""
