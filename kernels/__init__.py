"""Everything Numba, imported as ``ppl.kernels``: scalar maths, and the loops and launch code around it.

``scalar/`` holds functions of numbers as plain Python; ``cpu/`` and ``cuda/`` hold what differs between targets. What
float32 and float64 share is written once, in ``source/``, and made from it.
"""

from ppl.lazy import unread

with unread("yaml"), unread("importlib.metadata"):  # Numba seldom uses them
    import numba  # noqa: F401

from ppl.kernels.internals import patch_numba

patch_numba()
