"""Kernels that float32 and float64 share, written once; ``python -m ppl.kernels.source`` writes both forms of each.

``source/scalar/normal.py`` becomes ``scalar/f32/normal.py`` and ``scalar/f64/normal.py``, and the same for ``cpu/``.
The files made are checked in, and a test says when they are stale; nothing here is compiled. A source is plain Python:

* `real` is the type of the numbers and `integer` that of integers as wide (`ppl.kernels.source.precision`); names that
  end in ``_real`` end in ``_f32`` or ``_f64`` in what is made.
* What differs stands under ``if SINGLE:`` and ``else:``, or in ``a if SINGLE else b``: constants, lines, or functions.
* Imports that a precision has no use for are left out.
* In comments and docstrings ```real``` is the name of the type, and ``{1e-6 | 1e-15}`` the text of either precision.
"""
