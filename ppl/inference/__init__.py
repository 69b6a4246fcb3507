"""Objectives and training: expected cost, elbo, likelihood, fit, optimizers."""
