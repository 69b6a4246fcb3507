"""Tests of the larger benchmarks' own parts."""
