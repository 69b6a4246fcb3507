"""Asking how good gradients are: diagnosis, checks against references, measured choices."""
