"""One call of a program on several processes: what each computes on its rows or particles, and the sum of that.

Every rank calls the program as a minibatch of its own rows, whose sums are scaled to all N. Weighted by the shares of
rows, these estimates add up to the estimate on the rows of all ranks. Programs without data rows share out particles in
the same way. What follows from sums in another way, such as adapted variables, is computed once these are known.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ppl.compiler.lower.request import Request, Result
from ppl.compiler.surrogate.shares.divide import Division, divide
from ppl.errors import OptionError
from ppl.ir.types import PARTICLES, Axis
from ppl.runtime.call import BoundCall
from ppl.runtime.executable import Executable, compile_request
from ppl.runtime.state import State

if TYPE_CHECKING:
    from ppl.runtime.compiled import Compiled


class Moment(NamedTuple):
    """What all ranks know of a call: the state, run-time scalars, particles, and the seed and step of the noise."""

    state: State
    hypers: np.ndarray
    particles: int
    seed: int
    step: int


class Totals(NamedTuple):
    """What was added up: scalars by name, the gradient, and the new auxiliary variables."""

    scalars: dict[str, float]
    grad: np.ndarray
    aux: np.ndarray


class Shared:
    """A variant ("gradient" or "value") of a program whose rows, or particles, are shared out among ranks.

    Parameters
    ----------
    compiled : the program.
    key : the variant.
    int32 : arguments that are given as 32-bit integers.

    Raises
    ------
    EstimatorError
        A result is not made of sums over rows (particles).
    OptionError
        Particles are to be shared out among devices.
    """

    def __init__(self, compiled: Compiled, key: str, particles: int, int32: tuple[str, ...] = ()):
        self.compiled, self.key = compiled, key
        plate = next((a for a in compiled.binder.plates if a.depth == 0), None)
        self.rows = plate is not None
        self.axis: Axis | None = plate if plate is not None else PARTICLES if particles > 1 else None
        if self.axis == PARTICLES and compiled.target.printer != "cpu":
            raise OptionError('comm=: particles are shared out on the CPU only; compile with target="cpu"')
        fixed = compiled.static_particles(key, particles) if self.rows or particles == 1 else None
        variant = compiled.variant(key, (), fixed)
        self.division = Division({}, {}, {}) if self.axis is None else divide(variant, self.axis)
        request = compiled.request(key, (), fixed, int32)
        self.scalars = [name for name, _ in request.scalars]
        self.executable = self._partial(request, particles, int32)
        self.last = self._last(request) if self.division.sums else None

    def _partial(self, request: Request, particles: int, int32: tuple[str, ...]) -> Executable:
        """What a rank computes."""
        part = self.axis == PARTICLES
        if not part and not self.division.sums:
            return self.compiled.executable(self.key, (), particles, int32)
        sums = tuple(self.division.sums.items())
        aux = () if sums else request.aux
        return self._compiled(replace(request, aux=aux, arrays=sums, part=part, whole=True), "part")

    def _last(self, request: Request) -> Executable:
        """What is computed once sums are known."""
        leaves = tuple((name, node.type.shape) for name, node in self.division.sums.items())
        last = Request(aux=tuple(self.division.aux.items()), params=(*request.params, *leaves),
                       aux_shapes=request.aux_shapes, hypers=request.hypers)  # fmt: skip
        return self._compiled(last, "sums")

    def _compiled(self, request: Request, what: str) -> Executable:
        settings = self.compiled.settings
        found = compile_request(request, settings.dtype, self.compiled.target)
        found.title = f"{self.compiled.title} ({self.key}, {what})"
        return found

    @property
    def entries(self) -> int:
        """Numbers of what a rank finds besides scalars."""
        arrays = sum(int(np.prod(node.type.shape)) for node in self.division.sums.values())
        return self.executable.n_params * bool(self.executable.request.grads) + (
            arrays if self.division.sums else self.executable.n_aux * bool(self.executable.request.aux)
        )

    def own(self, bound: BoundCall, window: tuple[int, int] | None = None, grad: np.ndarray | None = None) -> Result:
        """What this rank computes; `window` is its first particle and their number, where particles are shared.

        `grad` is where the gradient is written.
        """
        options: dict[str, Any] = {} if grad is None else {"grad": grad}
        if window is not None and self.axis == PARTICLES:
            options["window"] = window
        return bound.run(self.executable, **options)

    def packed(self, result: Result, share: float) -> np.ndarray:
        """The gradient and what else is added up, as one vector whose weighted sum is that of all rows."""
        rest = self.rest(result, share)
        return np.concatenate([result.grad, rest]) if rest.size else result.grad

    def rest(self, result: Result, share: float) -> np.ndarray:
        """What is added up besides the gradient; see `packed`."""
        if not self.division.sums:
            return result.aux if self.executable.request.aux else result.aux[:0]
        factors = {name: share ** (degree - 1) for name, degree in self.division.degrees.items()}
        parts = [np.ravel(result.arrays[name]) * result.grad.dtype.type(f) for name, f in factors.items()]
        return np.concatenate(parts)

    def unpacked(self, vector: np.ndarray, scalars: np.ndarray, at: Moment, rows: int, total: int) -> Totals:
        """The results from the sums over `rows` rows of `total`, at a moment of the training."""
        size = self.executable.n_params if self.executable.request.grads else 0
        named = dict(zip(self.scalars, scalars.tolist(), strict=True))
        return Totals(named, vector[:size], self.adapted(vector[size:], at, rows, total))

    def adapted(self, rest: np.ndarray, at: Moment, rows: int, total: int) -> np.ndarray:
        """The new auxiliary variables from the sum of what is no gradient; see `unpacked`."""
        aux = at.state._aux
        if self.last is None:
            return rest if rest.size else aux
        plate = self.axis.name if self.rows and self.axis is not None else ""
        found = self.last.run(
            np.concatenate([at.state._flat, rest]), aux, at.hypers, (), rows={plate: rows},
            scales={plate: total / rows}, total_rows={plate: total}, particles=at.particles, seed=at.seed, step=at.step,
        )  # fmt: skip
        return found.aux


def shared(
    compiled: Compiled, key: str, particles: int, int32: tuple[str, ...] = (), kind: type[Shared] | None = None
) -> Shared:
    """The shared form of a variant, of a kind, kept with the program."""
    known, made = compiled.shared_out, kind or Shared
    name = key, particles, int32, made
    if name not in known:
        with compiled.lock:
            known.setdefault(name, made(compiled, key, particles, int32))
    return known[name]
