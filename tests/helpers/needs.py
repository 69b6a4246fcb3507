"""Tests that need packages which not everybody installs."""

import importlib.util

import pytest


def needs(*packages: str) -> pytest.MarkDecorator:
    """Skip without one of `packages`, none of which is imported before a test needs it."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}")
