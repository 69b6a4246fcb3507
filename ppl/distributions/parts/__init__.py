"""What several distributions share: formulas, parameters, and results shown eagerly."""
