"""States and checkpoints as files."""
