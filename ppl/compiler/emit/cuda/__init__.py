"""Emission for CUDA devices."""
