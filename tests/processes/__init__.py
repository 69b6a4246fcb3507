"""Several processes that share machine code on disk."""
