"""Find parts of the package that the core does not know: each is imported when it is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Any

EXTRAS = {
    "on": "ppl.ranks.program:on",
}
"""Name of an extra -> module and function."""


def extra(name: str) -> Any:
    """Import the module of the extra called `name` and return its function."""
    module, function = EXTRAS[name].split(":")
    return getattr(import_module(module), function)
