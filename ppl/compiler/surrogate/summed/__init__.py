"""Nodes summed out of a likelihood, one after the other."""
