"""Loops over time in a model: what `ppl.scan` declares, and the three ways in which a trace can hold it."""
