"""Conditions on data, parameters, observations and indices: proved, checked as data are bound, or guards of a loss."""
