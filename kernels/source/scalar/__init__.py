"""Sources of scalar functions: the modules of `ppl.kernels.scalar.f32` and `ppl.kernels.scalar.f64`."""
