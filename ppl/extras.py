"""Find what the core does not know, when it is asked for: extra parts of this package, and optional packages."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ppl.errors import MissingPackageError

EXTRAS = {
    "on": "ppl.ranks.program:on",
}
"""Name of an extra -> module and function."""


def extra(name: str) -> Any:
    """Import the module of the extra called `name` and return its function."""
    module, function = EXTRAS[name].split(":")
    return getattr(import_module(module), function)


def require_package(name: str, owner: str, extra: str) -> Any:
    """Return the module `name`, which belongs to an `extra` of this package, for the function `owner`.

    Raises
    ------
    MissingPackageError
        It is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        package = name.split(".")[0]
        if error.name is not None and error.name.split(".")[0] != package:
            raise
        raise MissingPackageError(
            f'{owner} needs {package}, which is not installed: pip install "numba-ppl[{extra}]"'
        ) from None
