"""Sources of scalar functions: the modules of `ppl.kernels.generated.f32.scalar` and
`ppl.kernels.generated.f64.scalar`."""
