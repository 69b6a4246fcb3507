"""What users hold: `ppl.compile`, the `Program`, and the ways to look into one."""
