"""Symbolic values as NumPy arrays: ufuncs, functions, indexing, and what they refuse."""
