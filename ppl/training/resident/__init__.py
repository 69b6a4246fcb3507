"""Training on a device."""
