"""Draws and posteriors: what `sample`, `predict`, `posterior` and `posterior_probs` compute."""
