"""Noise, draws and sparse products of float64 numbers; `ppl.kernels.cpu.f32` has the same modules."""
