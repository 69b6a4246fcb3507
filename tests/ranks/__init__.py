"""Programs on several processes."""
