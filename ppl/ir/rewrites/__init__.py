"""Rewrite rules of the simplifier, a flat table per topic: one rule is one named function "Convert A to B when C"."""
