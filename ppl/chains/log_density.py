"""The log-density that chains move on: its trace, and its compiled form that samplers call by address.

Continuous latents are parameters, reals under their bijectors. No node of the trace is random but those that are
summed out, so that loss and gradient are exact: minus the logarithm of the joint density of data and reals, with the
volume change of the bijectors."""

from __future__ import annotations

import ctypes
import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ppl.arguments import fits_memory
from ppl.c_export.function import CFunction, workspace_constants
from ppl.c_export.header import describe_c_function
from ppl.distributions.bounds import mark_inside
from ppl.distributions.support import mark_support
from ppl.errors import ModelError, NonFiniteError, ParameterError
from ppl.inference.guides.latents import Latent, constrain, make_latent, trace_model_in_guide
from ppl.ir import ops
from ppl.ir.node import Node, topological
from ppl.lang.context import require_context
from ppl.lang.loops import base_name
from ppl.lang.model import Model
from ppl.lang.params import param
from ppl.lang.plate import reopen_plates, row_index
from ppl.lang.trace import Site, SiteKind, Trace, cost_per_step
from ppl.lang.tracing import trace_model
from ppl.objectives.likelihood import add_log_likelihood
from ppl.runtime.call import BoundCall
from ppl.runtime.executable import Executable, compile_request

REALS_PREFIX = "reals"


def reals_param(latent: str) -> str:
    """Return the parameter that holds the reals of a latent."""
    return f"{REALS_PREFIX}/{latent}"


class LogDensity:
    """The objective: minus the log-density of data and reals.

    Parameters
    ----------
    marginalize : finite latents that are summed out.
    rows : how many rows the plates over data have.
    """

    def __init__(self, model: Model, marginalize: Sequence[str], rows: Mapping[str, int]):
        self.model, self.marginalize, self.rows = model, tuple(marginalize), dict(rows)

    @property
    def argument_names(self) -> tuple[str, ...]:
        """The model's data arguments."""
        return self.model.arguments

    def trace(self, arguments: Mapping[str, Any]) -> Trace:
        """Trace the latents as functions of reals, then the model on their values."""
        values: dict[str, Site] = {}
        volumes: dict[str, tuple[Site, Node]] = {}
        static = self.model.static
        trace = trace_model(_place_latents(self, values, volumes), arguments, static, allow_obs=False)
        trace_model(self.model, arguments, into=trace, substitute=values)
        if trace.costs:
            raise ModelError(
                f"mcmc: model '{self.model.name}' declares costs ({', '.join(trace.costs)}), which are no part of a "
                "density: declare ppl.factor(name, log_weight) where one is meant"
            )
        add_log_likelihood(trace, self.marginalize, "mcmc")
        for name, (site, log_det) in volumes.items():
            if log_det.op != "const":
                value = ops.expand(ops.neg(log_det), site.axes)
                trace.costs[f"-log volume({name})"] = cost_per_step(
                    f"-log volume({name})", value, site.where, site.axes, None, None
                )
        return trace

    def __reduce__(self) -> tuple[Any, ...]:
        return LogDensity, (self.model, self.marginalize, self.rows)


def _place_latents(
    objective: LogDensity, values: dict[str, Site], volumes: dict[str, tuple[Site, Node]]
) -> Callable[..., None]:
    """Make a model's function that declares the reals; it fills `values`, the latents as sites, and `volumes`."""
    base = objective.model

    @functools.wraps(base.function)
    def function(*args: Any, **static: Any) -> None:
        context = require_context("ppl.mcmc")
        placed: dict[Node, Node] = {}
        for site in sampled_sites(trace_model_in_guide(base, args, static), objective.marginalize):
            latent = make_latent(site, placed, "mcmc")
            _require_known_support(latent)
            with reopen_plates(latent.plates):
                value, log_det = constrain(latent.bijectors, _declare_reals(latent, objective.rows))
                value = mark_support(mark_inside(value, latent.law.bounds), latent.law.support)
                node = ops.expand(value, latent.plates)
            assert site.node is not None
            placed[site.node] = node
            own = Site(latent.name, SiteKind.RANDOM, latent.plates, site.where, latent.law, node)
            values[latent.name], volumes[latent.name] = own, (own, log_det)
            seen = Site(latent.name, SiteKind.DETERMINISTIC, latent.plates, site.where, node=node)
            context.trace.sites[latent.name] = seen

    function.__signature__ = inspect.signature(base.function)  # type: ignore[attr-defined]
    return function


def sampled_sites(trace: Trace, marginalize: Sequence[str]) -> list[Site]:
    """Return the latents that chains sample: all that are not summed out.

    Raises
    ------
    ModelError
        One of them is discrete.
    """
    found = [s for s in trace.random_sites() if base_name(s.name) not in marginalize]
    for site in found:
        assert site.dist is not None
        if not site.dist.discrete:
            continue
        finite = site.dist.support_size() < float("inf")
        hint = (
            f"sum it out, marginalize=[{base_name(site.name)!r}]"
            if finite
            else "chains move continuous latents only, and its values are too many to be summed out: bound it (a "
            "Truncated or Categorical law), or integrate it by hand (a BetaBinomial or NegativeBinomial observation)"
        )
        raise ModelError(f"mcmc: latent '{site.name}' ({site.where}) is discrete ({type(site.dist).__name__}): {hint}")
    return found


def _require_known_support(latent: Latent) -> None:
    """Raise where the support depends on a latent that is summed out."""
    moved = [n for b in latent.bijectors for n in b.params.values()]
    names = sorted({n.attrs["site"].name for n in topological(moved) if n.op == "sample"})
    if names:
        raise ModelError(
            f"mcmc: the support of latent '{latent.name}' ({latent.site.where}) depends on {', '.join(names)}, which "
            "is summed out: its reals would have no fixed meaning"
        )


def _declare_reals(latent: Latent, rows: Mapping[str, int]) -> Node:
    """Declare the reals of a latent: an array, or a table with an entry for every row of plates over data."""
    outer = [a for a in latent.plates if a.size is None]
    shape, start = latent.shape_with_plates, np.broadcast_to(latent.start(), latent.shape_with_plates)
    if not outer:
        node = param(reals_param(latent.name), start).node
    else:
        count, index = rows[outer[0].name], row_index(outer[0].name)
        for axis in outer[1:]:
            count, index = count * rows[axis.name], row_index(axis.name) + rows[axis.name] * index
        node = param(reals_param(latent.name), np.broadcast_to(start, (count, *shape)))[index].node
    for axis in latent.fixed:
        node = ops.distribute(node, axis)
    return node


LINE_BYTES = 64
"""Bytes of a cache line."""

LOGP_CALL = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_uint64, *[ctypes.c_void_p] * 4)


class CompiledDensity:
    """The log-density of reals given the data of a bound call, for up to `threads` callers at a time.

    Attributes
    ----------
    size : how many reals there are: the first entries of the parameter vector.
    logp, keep : addresses of C functions, of the log-density with its gradient, and of what keeps a draw.
    """

    def __init__(self, bound: BoundCall, threads: int):
        from ppl.kernels.cpu import entry_points  # imports Numba

        compiled, arrays = bound.compiled, bound.data.arrays
        shapes = compiled.layout.shapes
        self.bound, self.start = bound, bound.state._flat.copy()
        self.size = sum(math.prod(s) for name, s in shapes if name.startswith(f"{REALS_PREFIX}/"))
        assert all(name.startswith(f"{REALS_PREFIX}/") for name, _ in shapes[: _count_reals(shapes)]), (
            "they are the first"
        )
        self.executable = _compile_density(bound)
        _require_deterministic(self.executable)
        entry = self.executable.module.c_entry, workspace_constants(self.executable, 1)
        description = describe_c_function(compiled, self.executable, "gradient")
        owner, address = entry_points.c_entry_function("ppl_density", [entry], len(description.plates), len(arrays))
        rows = [bound.data.rows[plate] for plate in description.plates]
        work_bytes = CFunction(address, "gradient", description, None).work_len(*rows)
        self.hypers = np.ascontiguousarray(bound.hypers)
        self.failed, self.counter = np.zeros(self.size + 1, np.int64), np.zeros(1, np.int64)
        workspaces = self._make_workspaces(threads, work_bytes)
        middle = [0, self.hypers.ctypes.data, bound.seed, 0, 0]
        last = [*rows, *(x.ctypes.data for x in arrays)]
        logp, self.logp = entry_points.log_density_function(
            entry, self.size, entry_points.ScratchPlaces(**workspaces), middle, last
        )
        keep, self.keep = entry_points.draw_copy_function(self.size, self.counter.ctypes.data)
        self._kept_alive = owner, logp, keep, entry, arrays
        self._call = LOGP_CALL(self.logp)

    def _make_workspaces(self, threads: int, work_bytes: int) -> dict[str, int]:
        """Allocate memory for so many calls at a time; return where compiled code finds it."""
        vector = _round_to_lines(self.start.nbytes)
        parts = {"params": LINE_BYTES, "grad": LINE_BYTES + vector, "work": LINE_BYTES + 2 * vector}
        stride = LINE_BYTES + 2 * vector + _round_to_lines(work_bytes)
        with fits_memory(f"{threads} workspaces of {stride} bytes"):
            self._memory = np.zeros(threads * stride + LINE_BYTES, np.uint8)
        at = _round_to_lines(self._memory.ctypes.data)
        first = at - self._memory.ctypes.data
        for i in range(threads):
            params = self._memory[first + i * stride + LINE_BYTES :][: self.start.nbytes]
            params[:] = self.start.view(np.uint8)
        failed = self.failed.ctypes.data
        return dict(at=at, count=threads, stride=stride, **parts, work_bytes=work_bytes, failed=failed)

    def value(self, reals: np.ndarray) -> tuple[int, float, np.ndarray]:
        """Return the status (0 is success), the log-density and its gradient at a point."""
        point = np.ascontiguousarray(reals, np.float64)
        gradient, logp = np.empty(self.size), np.empty(1)
        status = self._call(self.size, point.ctypes.data, gradient.ctypes.data, logp.ctypes.data, None)
        return status, float(logp[0]), gradient

    def params(self, reals: np.ndarray) -> np.ndarray:
        """Return the whole parameter vector at a point."""
        return np.concatenate([reals, self.start[self.size :]])

    def split_by_latent(self, reals: np.ndarray) -> dict[str, np.ndarray]:
        """Split reals of shape (..., reals) by latent, each of shape (..., reals of the latent)."""
        parts = self.bound.compiled.layout.slices
        return {
            name.removeprefix(f"{REALS_PREFIX}/"): reals[..., at]
            for name, at, _ in parts
            if name.startswith(f"{REALS_PREFIX}/")
        }

    def explain(self, program: Any, reals: np.ndarray, data: Sequence[Any]) -> str:
        """Say why the log-density is not finite at a point, or raise SimulatorError."""
        state = self.bound.state
        moved = state.replace(params=state._layouts[0].split(self.params(reals)))
        try:
            program.value_and_grad(moved, *data)
        except (NonFiniteError, ParameterError) as error:
            return str(error)
        return "it is finite there when it is computed again"

    @property
    def raised_at(self) -> np.ndarray | None:
        """Where a user's function has raised an exception, if one has."""
        return self.failed[1:].view(np.float64).copy() if self.failed[0] else None


def _count_reals(shapes: Sequence[tuple[str, Any]]) -> int:
    """Return how many parameters are reals."""
    return sum(name.startswith(f"{REALS_PREFIX}/") for name, _ in shapes)


def _round_to_lines(size: int) -> int:
    return -(-size // LINE_BYTES) * LINE_BYTES


def _compile_density(bound: BoundCall) -> Executable:
    """Compile the loss and its gradient in the reals; parameters that are given get none."""
    compiled = bound.compiled
    request = compiled.request("gradient", (), 1)
    if request.aux:
        raise ModelError(f"mcmc: {compiled.title} keeps values from step to step (ppl.carried), which no density has")
    grads = tuple((name, node) for name, node in request.grads if name.startswith(f"{REALS_PREFIX}/"))
    scalars = tuple((name, node) for name, node in request.scalars if name == "loss")
    found = compile_request(replace(request, grads=grads, scalars=scalars), "float64", compiled.target)
    found.title = f"{compiled.title} (log-density)"
    return found


def _require_deterministic(executable: Executable) -> None:
    """Raise where the log-density is random, or calls Python."""
    outputs = [node for _, node in (*executable.request.scalars, *executable.request.grads)]
    for node in topological(outputs):
        fn = node.attrs["fn"] if node.op == "external" else None
        if node.op in ("noise", "key") or (fn is not None and fn.key):
            raise ModelError(
                "mcmc: the log-density is random, because a factor, or a parameter of a law, is computed from a draw "
                "that is no latent"
            )
        if fn is not None and fn.python:
            raise ModelError(
                f"mcmc: '{fn.label}' is a Python function (python=True), which chains in threads cannot call: compile "
                "it with numba.njit"
            )
