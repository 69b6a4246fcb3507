"""`ppl.external`: a user's function as a node, called once per row; a simulator with a score as a random node."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ppl.arguments import choice, dimensions, flag, mapping, shown, text
from ppl.distributions.simulator import Simulator
from ppl.errors import ModelError, remember_line
from ppl.ir import ops
from ppl.ir.external import External, Result, packed_size, unpack_result
from ppl.ir.node import Node, make
from ppl.ir.types import union_axes
from ppl.lang.context import Context, require_context, require_in_scope
from ppl.lang.loops import base_name
from ppl.lang.sites import declare_random
from ppl.lang.source import user_line
from ppl.lang.trace import ArgumentSpec, dtype_name
from ppl.lang.value import Value, lift
from ppl.names import keywords


@keywords
def external(
    fn: Callable[..., Any],
    *values: Any,
    shape: int | Sequence[int] = (),
    dtype: Any = None,
    outputs: Mapping[str, Any] | None = None,
    gradient: Callable[..., Any] | None = None,
    score: bool = False,
    key: bool = False,
    on_error: str = "raise",
    python: bool = False,
    check: bool = True,
    name: str | None = None,
) -> Any:
    """Call a user's function on one row at a time.

    Parameters
    ----------
    fn : an `@njit` function (or a plain one, see `python`), called as `fn(*values)` or `fn(key, *values)`. It gets a
        scalar for a value of event shape () and a C-contiguous array for any other, and returns a scalar if `shape` is
        (), else an array of that shape.
    values : its arguments.
    shape, dtype : event shape and dtype (float by default) of the result.
    outputs : several results instead, by name: `{"x": ppl.spec((3,)), "hits": ppl.spec((), np.int32)}`. `fn` returns a
        tuple in this order.
    gradient : `gradient([key,] *values, *g)` returns a tuple with the cotangent of every value, given those of every
        float result; without it the function is a black box: no derivative passes, the graph counts it as
        discontinuous, and `ppl.compile` refuses parameters that enter it other than through a random node.
    score : `fn(key, *values)` returns a tuple: the result, then d log p / d value for every value, each of the value's
        shape, where p is the density of everything that it has drawn. It is then a random node, called once for
        both, whose gradient is that of the score function with any baseline. Values that are not floats have a score
        that nobody reads.
    key : hand `fn` a uint64 noise key per row and particle first, for `ppl.random.uniform(key, i)`.
    on_error : "raise" a SimulatorError, or let all float results of a row in which the function fails be "nan".
    python : `fn` and `gradient` are plain Python functions, which may use any library (`scipy.integrate.solve_ivp`).
        They are called one at a time, on one thread; such a program has no `cfunc` and does not run on CUDA.
    check : call `fn` and `gradient` when the model is compiled, at the initial state and the first row of the example
        data (else with the first data that a call brings): numbers and shapes of arguments and results, and the
        gradient against differences.
    name : name of the noise key or random node, unique among nodes; by default the function's name, numbered.

    Returns
    -------
    The result; with `outputs`, a dict of results.

    Raises
    ------
    ModelError
        Outside a model, `fn` is not callable, options contradict each other, or the name of a key is taken; when the
        model is compiled, if the function does not take these arguments or return what is declared, or the gradient
        is wrong.
    SimulatorError
        In a call, if `fn` or `gradient` raises an exception, or returns NaN for arguments that are not, or an array of
        another shape; it names function, row and arguments, and nothing is returned or moved.
    """
    context = require_context("ppl.external")
    line = user_line()
    if not callable(fn) or not (gradient is None or callable(gradient)):
        raise ModelError(f"external: {shown(fn if not callable(fn) else gradient)} is not a function\n  at {line}")
    for given in (fn, gradient):
        try:
            hash(given)
        except TypeError:
            raise ModelError(
                f"external: a {type(given).__name__} has no hash, which tells one function from another: call it "
                f"in a function of your own\n  at {line}"
            ) from None
    for option, value in (("key", key), ("score", score), ("python", python), ("check", check)):
        flag(f"external: {option}", value, ModelError)
    choice("external: on_error", on_error, ("raise", "nan"), ModelError)
    base = (
        text("external: name", name, ModelError)
        if name is not None
        else str(getattr(fn, "__name__", type(fn).__name__))
    )
    results = _declared_results(base, shape, dtype, outputs, line)
    _require_consistent_options(base, results, outputs, gradient, score, on_error, line)
    nodes = [
        require_in_scope(lift(f"external {base!r}", ops.as_node, v).node, f"external {base!r}: an argument")
        for v in values
    ]
    keyed = key or score
    full = _unused_name(context, context.node_name(base), name is not None, line) if keyed else context.full_name(base)
    packed = tuple(results) if outputs is not None or score or python else ()
    function = External(fn, gradient, keyed, full, packed, score, on_error, python, line, check)
    remember_line(full, line)
    if score:
        return _declare_simulator(context, function, nodes, line)
    node = _external_node(context, function, nodes, results[0], line)
    if outputs is None:
        return Value(unpack_result(node, results, 0) if packed else node)
    return {label: Value(unpack_result(node, results, i)) for i, label in enumerate(outputs)}


def _external_node(context: Context, function: External, nodes: list[Node], result: Result, line: str) -> Node:
    """The node that calls a function, which is random only through its key."""
    axes = union_axes(*(n.type.axes for n in nodes), *((context.axes,) if function.key else ()))
    if function.key:
        context.trace.rowkeys[function.name] = line
        nodes = [make("rowkey", *context.times, name=base_name(function.name), axes=axes), *nodes]
    shape = (packed_size(function.outputs),) if function.outputs else result.shape
    kind = "float" if function.outputs else result.dtype
    return make("external", *(ops.expand(n, axes) for n in nodes), fn=function, output=None, axes=axes, shape=shape,
                dtype=kind)  # fmt: skip


def _declare_simulator(context: Context, function: External, nodes: list[Node], line: str) -> Value:
    """The result of a simulator with its score, a random node."""
    if not context.allow_obs:
        raise ModelError(
            f"external {function.name!r}: a guide or a noise distribution needs densities, and score=True says only "
            f"how one changes\n  at {line}"
        )
    if function.name in context.substitute:
        raise ModelError(f"external {function.name!r}: the guide has a node of this name\n  at {line}")
    dist = Simulator(function, nodes)
    local = base_name(function.name).removeprefix("/".join((*context.scopes, "")))
    return Value(dist.shown(declare_random(local, dist).node))


def _declared_results(base: str, shape: Any, dtype: Any, outputs: Any, line: str) -> list[Result]:
    """What the function returns, as declared."""
    if outputs is None:
        kind = "float" if dtype is None else dtype_name(dtype)
        return [Result(dimensions(f"external {base!r}: shape", shape, ModelError), kind)]
    if dtype is not None or shape not in ((), []):
        raise ModelError(
            f"external {base!r}: outputs= says shapes and dtypes, so leave out shape= and dtype=\n  at {line}"
        )
    declared = mapping(f"external {base!r}: outputs", outputs, "ppl.spec(shape, dtype)", ModelError)
    if not declared:
        raise ModelError(f"external {base!r}: outputs= is empty\n  at {line}")
    found = []
    for label, given in declared.items():
        if not isinstance(given, ArgumentSpec) or None in given.shape:
            raise ModelError(
                f"external {base!r}: output {label!r} is declared as ppl.spec(shape, dtype) with a fixed shape, not "
                f"{shown(given)}\n  at {line}"
            )
        found.append(Result(tuple(int(n) for n in given.shape if n is not None), given.ir_dtype))
    return found


def _require_consistent_options(
    base: str, results: Sequence[Result], outputs: Any, gradient: Any, score: bool, on_error: str, line: str
) -> None:
    """Raise a ModelError where options contradict each other."""
    floats = [r for r in results if r.dtype == "float"]
    wrong = ""
    if score and gradient is not None:
        wrong = "score=True and gradient= are two ways to one gradient: give one of them"
    elif score and (outputs is not None or not floats):
        wrong = "a simulator with a score has one result, a float"
    elif gradient is not None and not floats:
        wrong = "gradient= needs a result that is a float"
    elif on_error == "nan" and len(floats) < len(results):
        wrong = "on_error='nan' needs results that are floats: no integer or truth value is NaN"
    if wrong:
        raise ModelError(f"external {base!r}: {wrong}\n  at {line}")


def _unused_name(context: Context, full: str, explicit: bool, line: str) -> str:
    """A name for the noise key or random node; a default name that is taken gets a number."""
    trace = context.trace
    groups = (trace.sites, trace.scored, trace.costs, trace.factors, trace.carried)
    taken = {**trace.rowkeys, **{k: s.where for group in groups for k, s in group.items()}}
    if explicit and full in taken:
        raise ModelError(f"two nodes are called {full!r}\n  first at {taken[full]}\n  again at {line}")
    candidate, i = full, 1
    while candidate in taken:
        candidate, i = f"{full}_{i}", i + 1
    return candidate
