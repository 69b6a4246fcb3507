"""Exponential families: the table, and what follows from it."""
