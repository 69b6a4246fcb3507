"""The expression IR: types, ops, shape rules, derivatives, rewriting, verification, and the reference interpreter."""
