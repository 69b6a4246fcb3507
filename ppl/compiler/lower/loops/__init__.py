"""Lowering of loops over time: taken apart by rows, then made the turns of a step."""
