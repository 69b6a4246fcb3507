"""Runs of `ppl.fit` that choose their estimators while they train (`tune=`)."""
