"""What noise and draws are keyed by: ids and keys of rows, lanes. The draws are in `ppl.kernels.cpu.f32` and `f64`."""
