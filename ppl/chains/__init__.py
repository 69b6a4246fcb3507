"""Chains of NUTS over the latents of a model, importance weights of guides, and results for ArviZ."""
