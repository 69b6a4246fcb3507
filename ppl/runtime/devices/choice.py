"""Which target a program is for: the one that is named, or where it can run."""

from __future__ import annotations

from dataclasses import replace

from ppl.compiler.lower.target import Target, target_of
from ppl.errors import ModelError
from ppl.graph.stochastic import StochasticGraph
from ppl.lazy import cuda_presence

AUTO = "auto"


def chosen_target(graph: StochasticGraph, name: str, device: int) -> Target:
    """The target of a model; "auto" is CUDA where there is a device and the model can run on it, else the CPU.

    Raises
    ------
    ModelError : the target that is named cannot call the users' functions of the model.
    """
    if name == AUTO:
        name = "cuda" if not cuda_presence.missing() and _can_run(graph, "cuda") else "cpu"
    require_target(graph, name)
    target = target_of(name)
    return replace(target, device=device) if target.resident else target


def require_target(graph: StochasticGraph, target: str) -> None:
    """Raise a ModelError where a target cannot call the users' functions of a model."""
    called = [n.attrs["fn"] for n in graph.order if n.op == "external"]
    called += [n.attrs["site"].dist.function for n in graph.samples if n.attrs["site"].dist.score_only]
    if not called or target == "cpu":
        return
    from numba.extending import is_jitted  # importing Numba takes time

    for fn in called:
        if fn.python:
            raise ModelError(f"external function '{fn.label}' runs in Python, not on {target}\n  at {fn.line}")
        if any(f is not None and not is_jitted(f) for f in (fn.function, fn.gradient)):
            raise ModelError(
                f"external function '{fn.label}' is no function of @numba.njit, so it runs on the CPU, not on {target}"
                f"\n  at {fn.line}"
            )


def _can_run(graph: StochasticGraph, name: str) -> bool:
    try:
        require_target(graph, name)
    except ModelError:
        return False
    return True
