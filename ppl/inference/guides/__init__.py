"""Guides that are written from a model: what is guided, onto which supports, and by which law."""
