"""Training on tables that threads share by columns."""
