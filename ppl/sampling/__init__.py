"""Posteriors beyond guides: chains of NUTS, importance weights, and what ArviZ reads."""
