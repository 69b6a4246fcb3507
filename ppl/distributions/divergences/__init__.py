"""Closed Kullback-Leibler divergences, by pairs of distributions."""
