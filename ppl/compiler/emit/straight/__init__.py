"""Tiny programs as straight-line code."""
