"""Laws between two bounds: tails, windows, and closed forms."""
