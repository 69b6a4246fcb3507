"""Measured choice: contenders for the estimators of a program, how they are timed, and races between them."""
