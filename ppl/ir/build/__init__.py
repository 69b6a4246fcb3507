"""What the functions of `ppl.ir.ops` are built of, and those of whole events."""
