"""Batches that are read while the training goes on: the user's streams, and rows of files larger than memory."""
