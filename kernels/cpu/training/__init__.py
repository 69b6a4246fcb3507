"""Training loops: optimizers, the order of rows, rows gathered and scattered, copies of the parameters."""
