"""The third stage: the last rewrites towards what a target runs: products, views, draws, loops, tables."""
