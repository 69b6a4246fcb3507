"""The record of long runs: thinned in memory, whole in a file."""
