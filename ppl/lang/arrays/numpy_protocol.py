"""NumPy's and SciPy's ufuncs on values: one flat table, and the dispatch of both NumPy protocols.

Ufuncs are looked up by name, so that scipy.special need not be imported. Functions are in `numpy_functions`.
"""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

import numpy as np

from ppl.errors import ModelError, ShapeError
from ppl.ir import incomplete, ops
from ppl.ir.node import Node
from ppl.lang.arrays import arithmetic as ar
from ppl.lang.arrays import elementwise as el
from ppl.lang.arrays import gammas
from ppl.lang.arrays.answers import answer_numpy
from ppl.lang.arrays.malformed import RAISED, malformed
from ppl.lang.arrays.numpy_functions import FUNCTIONS, REFUSED
from ppl.lang.source import user_line
from ppl.lang.value import Value, as_value, lift

UFUNCS: dict[str, Callable[..., Node]] = {
    "add": ar.add,
    "subtract": ar.subtract,
    "multiply": ar.multiply,
    "divide": ops.div,
    "true_divide": ops.div,
    "floor_divide": ar.floor_divide,
    "remainder": ar.remainder,
    "power": ar.power,
    "float_power": lambda a, b: ops.cast(ar.power(a, b), "float"),
    "matmul": ar.matmul,
    "vecdot": ar.vecdot,
    "negative": ar.negative,
    "positive": ar.positive,
    "absolute": ar.absolute,
    "fabs": lambda x: ops.cast(ops.absolute(x), "float"),
    "sign": ar.sign,
    "floor": ar.rounded(ops.floor),
    "ceil": ar.rounded(el.ceil),
    "trunc": ar.rounded(el.trunc),
    "maximum": ar.maximum,
    "minimum": ar.minimum,
    "exp": ops.exp,
    "exp2": lambda x: ops.exp(ops.mul(x, el.LOG_2)),
    "expm1": ops.expm1,
    "log": ops.log,
    "log2": lambda x: ops.mul(ops.log(x), 1 / el.LOG_2),
    "log10": lambda x: ops.mul(ops.log(x), 1 / np.log(10.0)),
    "log1p": ops.log1p,
    "logaddexp": el.logaddexp,
    "sqrt": ops.sqrt,
    "square": ar.square,
    "reciprocal": ar.reciprocal,
    "hypot": lambda a, b: ops.sqrt(ops.add(ar.square(a), ar.square(b))),
    "sin": ops.sin,
    "cos": ops.cos,
    "tan": ops.tan,
    "arcsin": el.arcsin,
    "arccos": lambda x: ops.sub(np.pi / 2, el.arcsin(x)),
    "arctan": ops.atan,
    "sinh": el.sinh,
    "cosh": el.cosh,
    "tanh": ops.tanh,
    "arctanh": el.arctanh,
    "deg2rad": lambda x: ops.mul(x, np.pi / 180),
    "rad2deg": lambda x: ops.mul(x, 180 / np.pi),
    "less": ops.less,
    "less_equal": ops.less_equal,
    "greater": lambda a, b: ops.less(b, a),
    "greater_equal": lambda a, b: ops.less_equal(b, a),
    "equal": ops.equal,
    "not_equal": el.not_equal,
    "logical_and": ops.logical_and,
    "logical_or": ops.logical_or,
    "logical_xor": el.logical_xor,
    "logical_not": ops.logical_not,
    "bitwise_and": el.bit_and,
    "bitwise_or": el.bit_or,
    "bitwise_xor": el.bit_xor,
    "invert": el.bit_not,
    "isnan": el.is_nan,
    "isfinite": lambda x: ops.less(ops.absolute(x), np.inf),
    "isinf": lambda x: ops.equal(ops.absolute(x), np.inf),
    # scipy.special
    "expit": ops.sigmoid,
    "log_expit": ops.log_sigmoid,
    "logit": el.logit,
    "gammaln": gammas.gammaln,
    "psi": gammas.digamma,
    "digamma": gammas.digamma,
    "betaln": gammas.betaln,
    "erf": ops.erf,
    "erfc": ops.erfc,
    "erfinv": ops.erfinv,
    "ndtr": ops.ndtr,
    "ndtri": ops.ndtri,
    "log_ndtr": ops.log_ndtr,
    "gammainc": incomplete.gammainc,
    "gammaincc": incomplete.gammaincc,
    "gammaincinv": incomplete.gammaincinv,
    "gammainccinv": incomplete.gammainccinv,
    "betainc": incomplete.betainc,
    "betaincinv": incomplete.betaincinv,
    "stdtr": incomplete.student_cdf,
    "stdtrit": incomplete.student_icdf,
    "xlogy": el.xlogy,
    "xlog1py": el.xlog1py,
    "entr": el.entr,
}

REDUCTIONS: dict[str, Callable[..., Any]] = {
    "add": np.sum,
    "maximum": np.max,
    "minimum": np.min,
    "logical_and": np.all,
    "logical_or": np.any,
}


def _home(name: str) -> str:
    """A function's name with its module."""
    module = "np" if hasattr(np, name) else "np.linalg" if hasattr(np.linalg, name) else "scipy.special"
    return f"{module}.{name}"


def unsupported(name: str, known: Iterable[str], hint: str = "") -> NoReturn:
    """Raise the ModelError for a function that has no rule, naming close alternatives."""
    close = difflib.get_close_matches(name.rsplit(".", 1)[-1], list(known), n=3, cutoff=0.5)
    advice = hint or ("close to it: " + ", ".join(map(_home, close)) if close else "")
    advice = advice or "write it with NumPy ufuncs, or as ppl.external"
    raise ModelError(f"{name} has no rule for symbolic values; {advice}\n  at {user_line()}")


def call_ufunc(ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`Value.__array_ufunc__`: the call, `.reduce`, `.accumulate` (of add) and `.outer`."""
    name = ufunc.__name__
    if kwargs.get("out") is not None:
        raise ModelError(
            f"np.{name}: values are immutable and arrays cannot hold them; drop out= (and use a = a + b "
            f"rather than array += value)\n  at {user_line()}"
        )
    if method == "reduce" and name in REDUCTIONS:
        return REDUCTIONS[name](inputs[0], **{"axis": 0, **kwargs})
    if method == "accumulate" and name == "add":
        return np.cumsum(inputs[0], **{"axis": 0, **kwargs})
    rule = UFUNCS.get(name)
    if rule is None or method not in ("__call__", "outer"):
        unsupported(f"np.{name}" + ("" if method == "__call__" else f".{method}"), UFUNCS)
    extra = sorted(k for k, v in kwargs.items() if v is not None)
    if extra:
        raise ModelError(f"np.{name}: {', '.join(extra)} cannot be used with symbolic values\n  at {user_line()}")
    if method == "outer":
        a, b = (as_value(x) for x in inputs)
        inputs = (a.reshape(*a.shape, *(1,) * b.ndim), b)
    return lift(f"np.{name}", rule, *inputs)


@functools.cache
def _beyond(function: Callable[..., Any], rule: Callable[..., Any]) -> tuple[int, tuple[str, ...]]:
    """The number of arguments that go to `rule` by position, and NumPy's names of those after them.

    They part where NumPy's order has an argument (dtype, out, ...) that the rule lacks.
    """
    try:
        theirs = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return 0, ()
    ours = list(inspect.signature(rule).parameters.values())
    if any(p.kind is p.VAR_POSITIONAL for p in (*ours, *theirs)):
        return 0, ()
    names = [p.name for p in theirs if p.kind not in (p.KEYWORD_ONLY, p.VAR_KEYWORD)]
    own = [p.name for p in ours if p.kind is p.POSITIONAL_OR_KEYWORD]
    first = next((i for i in range(1, len(names)) if i >= len(own) or names[i] != own[i]), len(names))
    return first, tuple(names[first:])


def call_function(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`Value.__array_function__`."""
    rule = FUNCTIONS.get(function)
    module = function.__module__.replace("numpy", "np")
    label = f"{module}.{function.__name__}"
    if rule is None:
        names = [f.__name__ for f in FUNCTIONS] + list(UFUNCS)
        unsupported(label, names, REFUSED.get(function.__name__, ""))
    first, later = _beyond(function, rule)
    kwargs = {**kwargs, **dict(zip(later, args[first:], strict=False))}
    args = args[:first] if later else args
    if isinstance(kwargs.get("order"), str) and kwargs["order"] == "C":
        del kwargs["order"]
    for option in ("out", "dtype", "where", "initial", "casting", "order"):
        if kwargs.pop(option, None) is not None:
            raise ModelError(
                f"np.{function.__name__}: {option}= cannot be used with symbolic values\n  at {user_line()}"
            )
    try:
        return rule(*args, **kwargs)
    except ShapeError as error:
        if "\n  at " in str(error):
            raise
        raise ShapeError(f"{label}: {error}\n  at {user_line()}") from None
    except RAISED as error:
        malformed(label, args, kwargs, error)


__all__ = ["FUNCTIONS", "UFUNCS", "Value", "call_function", "call_ufunc", "unsupported"]


answer_numpy(call_ufunc, call_function)
