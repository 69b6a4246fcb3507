"""Everything Numba, imported as ``ppl.kernels``: scalar maths, and the loops and launch code around it.

``scalar/`` holds each function once, as plain Python; ``cpu/`` and ``cuda/`` hold what differs between
targets.
"""
