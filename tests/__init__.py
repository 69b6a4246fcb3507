"""Tests, in the folders of what they test; `helpers` holds what they share."""
