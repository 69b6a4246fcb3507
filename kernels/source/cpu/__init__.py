"""Sources of loops: the modules of `ppl.kernels.generated.f32.cpu` and `ppl.kernels.generated.f64.cpu`."""
