"""Rules of `ppl.ir.vjp` that take more than a line."""
