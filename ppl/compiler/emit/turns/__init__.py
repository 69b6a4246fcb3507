"""Emission of loops over time, beyond the plain loop that `stages` writes."""
