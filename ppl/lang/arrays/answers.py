"""How values answer NumPy: a base of `Value`, and the place for the tables of functions, which build on values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

_numpy: dict[str, Callable[..., Any]] = {}


def answer_numpy(ufunc: Callable[..., Any], function: Callable[..., Any]) -> None:
    """Say what NumPy's ufuncs and functions do with values: the tables of both build on `Value`."""
    _numpy.update(ufunc=ufunc, function=function)


class Answers:
    """Base class of `Value`: NumPy's ufuncs and functions find their answers here."""

    __slots__ = ()

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return _numpy["ufunc"](ufunc, method, inputs, kwargs)

    def __array_function__(self, function: Callable, types: Any, args: Any, kwargs: Any) -> Any:
        return _numpy["function"](function, args, kwargs)
