"""Runs that choose their estimators while they train."""
