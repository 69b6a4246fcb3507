"""The reference of all backends, in NumPy: what every op means, and the interpreter."""
