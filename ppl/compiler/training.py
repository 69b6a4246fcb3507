"""Training in place on sparse gradients: many steps a call, in which only the rows of tables that a batch names move.

A `Trainer` belongs to a compiled program; a `Live` state is what it moves, a copy of an ordinary `State` that becomes
one again. Only rules for which a gradient of zero means no step are admitted (`RULES`).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ppl.compiler.assemble import assemble
from ppl.compiler.bind import Bound
from ppl.compiler.emit_train import TrainEmitter
from ppl.compiler.executable import Executable
from ppl.compiler.layout import identifier
from ppl.compiler.request import offsets_of
from ppl.compiler.scatter import sparse_request
from ppl.compiler.state import State

if TYPE_CHECKING:
    from ppl.compiler.compiled import Compiled

RULES = {"SGD": 0, "AdaGrad": 1}
"""Numbers of the optimizers' rules in emitted code."""


class Steps(NamedTuple):
    """Data of some steps: `bound` in the order of the inputs, and the rows of every step if they are minibatches.

    `rows` is None where every step takes all of `bound`. `total` is the number of rows of the whole data set.
    """

    bound: Bound
    rows: np.ndarray | None
    size: int
    total: int


class Live:
    """A state that training writes to. `state` shows it; after `share` the next step leaves what was shown alone."""

    def __init__(self, state: State, rule: str):
        self._like, self.rule, self._shared = state, rule, False
        self.flat, self.aux = state._flat.copy(), state._aux.copy()
        opt = state.opt or {}
        self.squares = opt["sum"].copy() if "sum" in opt else np.zeros_like(self.flat[: self.flat.size * RULES[rule]])
        self.counter = np.array([state.step, state.step - opt.get("t", 0)], np.int64)

    @property
    def step(self) -> int:
        """Steps taken."""
        return int(self.counter[0])

    @property
    def state(self) -> State:
        """The state as it is now, sharing memory."""
        like = self._like
        opt: dict[str, Any] = {"t": int(self.counter[0] - self.counter[1])}
        opt |= {"sum": self.squares} if RULES[self.rule] else {}
        return State(self.flat, self.aux, like._layouts, self.step, like.seed, opt, like.estimators)

    def share(self) -> None:
        """Someone may keep what `state` has shown."""
        self._shared = True

    def own(self) -> None:
        """Make sure that nobody else sees what is written."""
        if self._shared:
            self.flat, self.aux, self.squares = self.flat.copy(), self.aux.copy(), self.squares.copy()
            self._shared = False


class Trainer:
    """The training loop of a program whose gradient is sparse in some tables."""

    def __init__(self, compiled: Compiled):
        self.compiled = compiled
        request, self.tables = sparse_request(compiled.request("gradient", (), compiled.settings.particles))
        if self.tables:
            self._compile(request)

    def __bool__(self) -> bool:
        return bool(self.tables)

    def _compile(self, request: Any) -> None:
        settings, plate = self.compiled.settings, self.compiled.binder.plates[0]
        offsets, inside = offsets_of(request.params)[0], {t.name for t in self.tables}
        dense = [(offsets[n], int(np.prod(s, dtype=np.int64))) for n, s in request.params if n not in inside]
        self.cut = [plate in t.axes for _, t in request.inputs]
        kind = functools.partial(
            TrainEmitter, tables=self.tables, dense=dense, cut=self.cut, rows=identifier(plate.name),
            n_scalars=len(request.scalars),
        )  # fmt: skip
        fields, emitter = assemble(request, settings.dtype, "cpu", kind)
        assert isinstance(emitter, TrainEmitter)
        self._emitter = emitter
        self.executable = Executable(request, settings.dtype, **fields)
        self.names = [name for name, _ in request.scalars][:-1]
        self._lists: dict[Any, Any] = {}

    def run(
        self, live: Live, steps: Steps, rates: Sequence[float], eps: float, hypers: np.ndarray
    ) -> tuple[int, dict[str, list[float]]]:
        """Take up to `len(rates)` steps; how many were taken, and the scalars of each, divided by the rows.

        It stops early before a step whose loss or gradient is not finite, or so large that the update might not be.
        """
        live.own()
        exe, bound = self.executable, steps.bound
        rows = dict(bound.rows)
        order, size, batch = np.zeros(0, np.int64), 0, list(bound.arrays)
        data = [exe._data(x, t) for x, (_, t) in zip(batch, exe.request.inputs, strict=True)]
        parts = data
        if steps.rows is not None:
            order, size = steps.rows, steps.size
            rows[self.compiled.binder.plates[0].name] = size
            parts = [np.empty(x.size // len(a) * size, x.dtype) if cut else x
                     for x, a, cut in zip(data, batch, self.cut, strict=True)]  # fmt: skip
        sizes = exe._sizes(rows, self.compiled.settings.particles, 1)
        slabs = exe._slabs(sizes, None)
        w, v = exe._work(sizes, slabs)
        for i, (name, total) in enumerate(bound.totals.items()):
            total, scale = (steps.total, steps.total / rows[name]) if i == 0 else (total, bound.scales[name])
            w[i], v[exe.memory.header.index(f"total_{identifier(name)}")] = scale, total
        out = np.empty(exe._out_size(sizes), exe.float)
        grad = np.empty(exe.n_params if exe.request.grads else 0, exe.float)
        results = np.zeros((len(rates), len(self.names)))
        from ppl.kernels.cpu.threads import parallel_region

        with parallel_region():
            done = exe.module.train(
                live.flat, live.squares, grad, out, v, *self._scratch(sizes, slabs), RULES[live.rule],
                np.asarray(rates, np.float64), float(eps), 1.0 / steps.total, w, live.aux, live.aux.copy(), hypers,
                np.uint64(live._like.seed & 0xFFFFFFFFFFFFFFFF), live.counter, results, order, size, slabs,
                *data, *parts,
            )  # fmt: skip
        taken = results[:done] / steps.total
        return int(done), {name: taken[:, i].tolist() for i, name in enumerate(self.names)}

    def _scratch(self, sizes: dict[str, int], slabs: int) -> tuple[np.ndarray, ...]:
        """Lists of additions and the sum of one row, per slab; all lists are empty between steps."""
        key = (slabs, *sizes.values())
        if key not in self._lists:
            self._lists.clear()
            most = max(self._emitter.additions(t).evaluate(sizes) for t in self.tables)
            lengths, width = [t.length for t in self.tables], max(t.width for t in self.tables)
            self._lists[key] = (
                np.full((slabs, sum(lengths)), -1, np.int32),
                np.zeros((slabs, most), np.int32),
                np.zeros((slabs, min(most, max(lengths)) + 1), np.int32),
                np.zeros((slabs, width + 32), self.executable.float),
            )
        return self._lists[key]


def trainer_of(compiled: Compiled) -> Trainer | None:
    """The trainer of a program that has one: data rows, a CPU target and at least one table read through gathers."""
    if compiled.settings.target != "cpu" or not compiled.binder.plates:
        return None
    return Trainer(compiled) or None
