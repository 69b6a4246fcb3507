"""The oracle, and random graphs that every estimator is held against.

`exact` computes expected losses and their gradients from a trace alone, in NumPy and SciPy; it shares no code with
the compiler. `graphs` writes small models, by hand and at random, as Python source that both sides run; `check` holds
one against the other. `python -m tests.oracle` runs as many as asked for and writes a summary.
"""
