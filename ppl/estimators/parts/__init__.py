"""What estimators share: a small network, their form in checkpoints, and the one of nodes that need none."""
