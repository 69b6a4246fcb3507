"""Loops over rows that add up: in blocks, and several rows at a time."""
