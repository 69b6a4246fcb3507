"""Which target a program is for: the one that is named, or where it can run."""

from __future__ import annotations

from dataclasses import replace

from ppl.compiler.lower.target import Target, target_of
from ppl.errors import ModelError
from ppl.graph.stochastic import StochasticGraph
from ppl.lazy import cuda_presence
from ppl.runtime.trials import require_target

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


def _can_run(graph: StochasticGraph, name: str) -> bool:
    try:
        require_target(graph, name)
    except ModelError:
        return False
    return True
