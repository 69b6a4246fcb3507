"""Users' functions, tried out once when a model is compiled: `ppl.external(check=True)`.

They are called as compiled code calls them, at the initial state and the first row of the data, and what they return
is compared with what is declared; a gradient, with differences. What can go wrong only with some data (exceptions,
NaN) is left to the calls that meet it."""

from __future__ import annotations

import contextlib
import functools
import inspect
import types
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ppl.arguments import masked
from ppl.compiler.surrogate.auxiliary import AuxiliarySlot
from ppl.compiler.surrogate.expansion import Expansion
from ppl.errors import ModelError, uncoloured
from ppl.interrupts import pass_on, pass_on_cause
from ppl.ir.external import External, Result, cotangent_count, declared_results, value_args
from ppl.ir.node import Node, topological
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate
from ppl.lang.params import initial_value

if TYPE_CHECKING:
    from ppl.runtime.compiled import Compiled

DIFFERENCE_STEPS = {"float64": (1e-3, 1e-4, 1e-5, 1e-6), "float32": (2.0**-4, 2.0**-6, 2.0**-8, 2.0**-10)}
"""Relative steps of differences. One that agrees is enough: the others may cross a kink, or be too fine or too wide."""

DIFFERENCE_TOLERANCES = {"float64": 1e-3, "float32": 2e-2}
"""Relative errors of differences, beside what they tell of themselves."""


UNCOMPILED_FUNCTIONS = (types.FunctionType, types.MethodType)


class TrialCallFailed(Exception):
    """The function fails at these arguments, which a call would report."""


def check_externals(compiled: Compiled, data: Sequence[Any]) -> None:
    """Call every user's function that a program calls, and its gradient, at the first row of `data`.

    Cotangents of data are not compared with differences: nobody reads them.

    Raises
    ------
    ModelError
        A function does not take its arguments, does not return what is declared, or its gradient is wrong.
    """
    graph = compiled.graph
    roots = [n for n in graph.order if n.op == "external" or (n.op == "sample" and n.attrs["site"].dist.score_only)]
    if not roots:
        return
    nodes = [n for n in topological(Expansion(graph, {}, "sample", particles=1).expand(roots)) if n.op == "external"]
    env: Env | None = None
    for node in nodes:
        _require_compiled(node.attrs["fn"])
        if node.attrs["fn"].check:
            with contextlib.suppress(TrialCallFailed):
                env = first_row_environment(compiled, data) if env is None else env
                ExternalCheck(
                    node, first_row_arguments(node, env), compiled.settings.dtype, compiled.target.resident
                ).run()


def first_row_environment(compiled: Compiled, data: Sequence[Any]) -> Env:
    """The initial state, and the first row of every plate that the data open."""
    trace, binder = compiled.trace, compiled.binder
    try:
        bound = binder.bind(data, check=False)
    except Exception as error:
        pass_on(error)
        raise TrialCallFailed from error
    firsts = (a if i.plate is None or i.plate.size is not None else a[:1]
              for i, a in zip(binder.inputs, bound.arrays, strict=True))  # fmt: skip
    return Env(
        params={name: initial_value(p, 0) for name, p in trace.params.items()},
        aux={name: AuxiliarySlot(c.shape, c.init, c.where).value(0, name) for name, c in trace.carried.items()},
        hyper=trace.hypers,
        inputs=dict(zip((i.name for i in binder.inputs), firsts, strict=True)),
        sizes={**dict.fromkeys((a.name for a in binder.plates), 1), "particles": 1, "repeats": 1},
        dtype=np.dtype(compiled.settings.dtype).type,
    )


def first_row_arguments(node: Node, env: Env) -> list[Any]:
    """What the function is called with in the first row."""
    try:
        found = evaluate(node.args, env)
    except Exception as error:
        pass_on(error)
        raise TrialCallFailed from error
    rows: list[Any] = []
    for arg, value in zip(node.args, found, strict=True):
        first = value[(0,) * len(arg.type.axes)]
        rows.append(np.ascontiguousarray(first) if first.ndim else first)
    if node.attrs["fn"].key:
        rows[0] = np.uint64(int(rows[0]) % 2**64)
    return rows


def may_need_derivative(value: Node) -> bool:
    """Whether a derivative may be wanted in a value: it is not made of data and constants alone."""
    seen: set[int] = set()
    waiting = [value]
    while waiting:
        node = waiting.pop()
        if node.op in ("param", "noise", "rowkey"):
            return True
        if id(node) not in seen and node.op != "stop":
            seen.add(id(node))
            waiting += node.args
    return False


class ExternalCheck:
    """One function at one row of arguments."""

    def __init__(self, node: Node, rows: list[Any], dtype: str, on_device: bool = False):
        self.node, self.rows, self.dtype, self.on_device = node, rows, dtype, on_device
        self.fn: External = node.attrs["fn"]
        self.results = declared_results(node)
        self.values = value_args(node)
        self.rng = np.random.default_rng(0)

    def run(self) -> None:
        """Raise a ModelError where something does not fit."""
        self._compare(self._call(self.fn.function, self.rows), self.results, "result")
        self._require_device(self.fn.function, self.rows)
        if self.fn.gradient is not None:
            self._gradient()

    def _require_device(self, function: Callable[..., Any], rows: Sequence[Any]) -> None:
        """Raise unless a device can run a function, where that can be said here."""
        if not self.on_device:
            return
        from ppl.kernels.cuda.ptx import why_not_compilable  # imports Numba

        if reason := why_not_compilable(function, rows):
            name = getattr(function, "__name__", "function")
            raise self._refuse(f": {name}() cannot be compiled for CUDA: {reason}")

    def _refuse(self, what: str) -> ModelError:
        return ModelError(f"external function '{self.fn.label}'{what}\n  at {self.fn.line}")

    def _call(self, function: Callable[..., Any], rows: Sequence[Any]) -> tuple[Any, ...]:
        """What a function returns, as a tuple."""
        from numba.core.errors import NumbaError  # importing Numba takes time

        plain = getattr(function, "py_func", function)
        name = getattr(plain, "__name__", "function")
        with contextlib.suppress(ValueError):  # no signature to ask
            try:
                inspect.signature(plain).bind(*rows)
            except TypeError as error:
                kinds = ", ".join(["key"] * self.fn.key + [_describe_value(x) for x in rows[int(self.fn.key) :]])
                raise self._refuse(f": {name}() does not take its {len(rows)} arguments ({kinds}): {error}") from None
        given = [x.copy() if isinstance(x, np.ndarray) else x for x in rows]
        try:
            found = function(*given)
        except NumbaError as error:
            pass_on_cause(error)
            raise self._refuse(f" cannot be compiled for what the model passes: {uncoloured(error)}") from error
        except Exception as error:
            pass_on(error)
            raise TrialCallFailed from error
        for i, (before, after) in enumerate(zip(rows[int(self.fn.key) :], given[int(self.fn.key) :], strict=True)):
            if not np.array_equal(before, after, equal_nan=True):
                raise self._refuse(
                    f": {name}() writes to its argument {i}, which is memory of the program or data of yours"
                )
        return found if isinstance(found, tuple) else (found,)

    def _compare(self, found: tuple[Any, ...], declared: Sequence[Result], what: str) -> None:
        """Raise where results are not as declared."""
        if len(found) != len(declared):
            wanted = f"{len(declared)} {'is' if len(declared) == 1 else 'are'} declared"
            raise self._refuse(f" returns {len(found)} {what}s, {wanted}")
        for i, (value, result) in enumerate(zip(found, declared, strict=True)):
            label = f"the {what}" if len(declared) == 1 else f"{what} {i}"
            kind = np.asarray(value).dtype.kind
            if not result.dtype:
                continue
            if masked(value):
                raise self._refuse(f": {label} is a masked array: return its .data, or .filled(...)")
            if isinstance(value, np.ndarray) and not value.ndim and not self.fn.python:
                raise self._refuse(f": {label} is an array without dimensions, declared is a number")
            if np.shape(value) != result.shape:
                raise self._refuse(f": {label} has shape {np.shape(value)}, declared is {result.shape}")
            if kind not in {"float": "fiub", "int": "iub", "bool": "b"}[result.dtype]:
                raise self._refuse(f": {label} is {np.asarray(value).dtype}, declared is {result.dtype}")

    def _gradient(self) -> None:
        """Compare the gradient with differences of the function, along one direction."""
        gradient = self.fn.gradient
        assert gradient is not None
        kinds = [r for r in self.results if r.dtype == "float"]
        assert len(kinds) == cotangent_count(self.fn)
        weights = [self._random(np.zeros(r.shape)) for r in kinds]
        slopes = self._call(gradient, [*self.rows, *weights])
        self._require_device(gradient, [*self.rows, *weights])
        declared = [Result(a.type.shape, "float" if a.type.dtype == "float" else "") for a in self.values]
        self._compare(slopes, declared, "gradient")
        moving = [r.dtype == "float" and may_need_derivative(a) for a, r in zip(self.values, declared, strict=True)]
        rows = self.rows[int(self.fn.key) :]
        along = [self._random(v) if moves else None for v, moves in zip(rows, moving, strict=True)]
        claimed = sum(
            float(np.sum(np.asarray(s, float) * d)) for s, d in zip(slopes, along, strict=True) if d is not None
        )
        if not np.isfinite(claimed) or all(d is None for d in along):
            return
        tried = list(self._differences(along, weights))
        if tried and not any(
            abs(found - claimed) <= error + DIFFERENCE_TOLERANCES[self.dtype] * abs(found) for found, error in tried
        ):
            raise self._refuse(
                f": its gradient says that it changes by {claimed:.6g} along a direction in which it changes by "
                f"{tried[len(tried) // 2][0]:.6g}; pass check=False if that is meant"
            )

    def _random(self, at: Any) -> Any:
        """Random numbers of the shape and size of `at`."""
        scale = np.where(np.asarray(at) == 0, 1.0, np.abs(at))
        found = (self.rng.uniform(0.5, 1.0, np.shape(at)) * self.rng.choice([-1.0, 1.0], np.shape(at)) * scale).astype(
            self.dtype
        )
        return found if np.shape(at) else found[()]

    def _differences(self, along: Sequence[Any], weights: Sequence[Any]) -> Iterator[tuple[float, float]]:
        """Central differences along a direction, with an error that each tells of itself."""
        for step in DIFFERENCE_STEPS[self.dtype]:
            with contextlib.suppress(TrialCallFailed):
                ends = [
                    [self._weighted_results(along, weights, sign * h) for sign in (1, -1)] for h in (step, step / 2)
                ]
                wide, narrow = ((up - down) / (2 * h) for (up, down), h in zip(ends, (step, step / 2), strict=True))
                size = max(abs(x) for pair in ends for x in pair)
                rounding = 20 * float(np.finfo(self.dtype).eps) * size / step
                if np.isfinite(wide) and np.isfinite(narrow):
                    yield narrow, 3 * abs(wide - narrow) + rounding

    def _weighted_results(self, along: Sequence[Any], weights: Sequence[Any], step: float) -> float:
        """The float results, weighed, at arguments that are moved."""
        first = int(self.fn.key)
        kind = np.dtype(self.dtype).type
        moved = [v if d is None else v + kind(step) * d for v, d in zip(self.rows[first:], along, strict=True)]
        found = self._call(self.fn.function, [*self.rows[:first], *moved])
        floats = [x for x, r in zip(found, self.results, strict=True) if r.dtype == "float"]
        return sum(float(np.sum(np.asarray(x, float) * w)) for x, w in zip(floats, weights, strict=True))


def _require_compiled(fn: External) -> None:
    """Raise unless Numba can compile calls of the functions, and see that what it has compiled is not stale."""
    import numba  # importing it takes time

    from ppl.kernels.code_cache.user_functions import recompile_if_stale

    if fn.python or numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
        return
    for function in (f for f in (fn.function, fn.gradient) if f is not None):
        _require_callable(fn, function)
        recompile_if_stale(function)


def _require_callable(fn: External, function: Callable[..., Any]) -> None:
    """Raise a ModelError unless compiled code can call a function with the values, in order."""
    plain = getattr(function, "py_func", None)
    parameters = inspect.signature(plain).parameters.values() if inspect.isfunction(plain) else ()
    named = [p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.VAR_KEYWORD)]
    name, kind = getattr(plain or function, "__name__", ""), type(function)
    wrong = ""
    if named:
        wrong = (
            f"{name} has keyword arguments ({', '.join(named)}), which compiled calls do not have: make them globals"
        )
    elif isinstance(function, functools.partial):
        wrong = (
            "a functools.partial is not compiled: make the call in a function of its own, decorated with @numba.njit"
        )
    elif plain is None and (isinstance(function, UNCOMPILED_FUNCTIONS) or _is_callable_object(kind)):
        wrong = f"{name or f'a {kind.__name__}'} is not compiled: decorate it with @numba.njit"
    if wrong:
        raise ModelError(f"external function '{fn.label}': {wrong}, or pass python=True\n  at {fn.line}")


def _is_callable_object(kind: type) -> bool:
    """Whether a class of a user's makes objects that can be called."""
    return inspect.isfunction(kind.__call__) and not kind.__module__.startswith("numba")


def _describe_value(value: Any) -> str:
    found = np.asarray(value)
    return f"{found.dtype}{list(found.shape) if found.ndim else ''}"
