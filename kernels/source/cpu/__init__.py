"""Sources of loops: the modules of `ppl.kernels.cpu.f32` and `ppl.kernels.cpu.f64`."""
