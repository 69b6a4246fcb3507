"""Rewrite rules of the simplifier, a table per topic. One rule is one function: "Convert A to B when C"."""
