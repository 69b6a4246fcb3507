"""Chains, importance weights, and ArviZ data."""
