"""Walks through graphs that only grow: who reads a node, and what lies upstream of it."""
