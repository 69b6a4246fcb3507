"""Emission for CPUs: Python source for Numba, with row regions that threads share."""
