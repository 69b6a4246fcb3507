"""Runs that are killed, interrupted and resumed."""
