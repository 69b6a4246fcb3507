"""Optional packages of this folder: what it says where one is missing."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ppl.errors import MissingPackageError

EXTRA = 'pip install "numba-ppl[mcmc]"'


def needed(name: str, owner: str) -> Any:
    """The module `name`, for the function `owner`.

    Raises
    ------
    MissingPackageError
        It is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        if error.name is not None and error.name.split(".")[0] != name.split(".")[0]:
            raise
        raise MissingPackageError(f"{owner} needs {name.split('.')[0]}, which is not installed: {EXTRA}") from None
