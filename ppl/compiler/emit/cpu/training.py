"""Emission of training loops: many steps of a program and an optimizer in one call, on a state written in place.

The loop stands in the module of the program whose step it takes, and compiles when it is first called.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ppl.compiler.schedule.memory import Memory

IMPORTS = """from ppl.kernels.cpu.optimizers import all_finite, bounded
from ppl.kernels.cpu.scatter import gather_rows, gather_share
"""
WHOLE_IMPORTS = IMPORTS + "from ppl.kernels.cpu.parallel_optimizers import update\n"
STATE = "params, first, second, grad, rule, rate, numbers, count, factor"
"""What a dense update is passed: vectors, the optimizer's rule, its numbers, which of its steps it is, 1 / rows."""

RULES = {"SGD": 0, "AdaGrad": 1, "Momentum": 2, "Nesterov": 3, "Adam": 4}
"""Numbers of the optimizers' rules in emitted code."""

LARGEST, LARGEST_STEP = 1e18, 1e30
"""Bounds of gradients and of steps below which nothing overflows; beyond, the general path takes the step."""

GATHERED = 1 << 14
"""Entries of a batch from which on all threads gather it."""

SHARED = 1 << 16
"""Parameters from which on all threads share the update."""


def dense_update(at: int, size: int) -> str:
    """The optimizer's step on the `size` parameters from `at` on that belong to `slab`."""
    return f"step_on(I({at}), I({size}), I(slab), slabs, {STATE})"


class Training:
    """The part of an emitter that writes training loops; `leading` is the plate in front of every data array."""

    arrays: Sequence[str]
    plates: Sequence[str]
    leading: Sequence[str]
    memory: Memory
    entries_of: Callable[[], list[str]]
    bare: Callable[[str, Sequence[str], Sequence[str], str], str]
    _kinds: Callable[[], dict[str, str]]
    _function: Callable[[str, Sequence[str], Sequence[str], str], str]

    def training(self, driver: str, size: int, n_scalars: int) -> list[str]:
        """The loop of steps on `size` parameters that call `driver` ("one", "serial", …)."""
        rows = [f"chosen if which == {i} else order[:0]" for i, _ in enumerate(self.plates)]
        limit = f"min({LARGEST}, {LARGEST_STEP} / max(rates[t] * factor, 1e-30))"
        passed = (limit, "shares", "copies", "threads" if size >= SHARED else "I(1)")
        steps, extra = self._steps(driver, rows), ("v", "which", "shares", "copies")
        gathers, regions = self._gathers(driver)
        loop = self.train_source(STATE, steps, passed, n_scalars, (), gathers, extra)
        names = ", ".join(["*ENTRIES", *(f"gather_{a}" for a, _ in self._cut())])
        return [*regions, f"TRAINED = [{names}]", loop] if driver == "parallel" else [loop]

    def _cut(self) -> list[tuple[str, str]]:
        """The arrays that minibatches are taken of, with their plates."""
        return [(a, plate) for a, plate in zip(self.arrays, self.leading, strict=True) if plate]

    def _gathers(self, driver: str) -> tuple[list[str], list[str]]:
        """The statements that gather a batch, and the regions that they enter where threads share its rows."""
        kinds, lines, regions = self._kinds(), [], []
        for i, (a, plate) in enumerate(self._cut()):
            lines.append(f"if which == {list(self.plates).index(plate)}:")
            if driver != "parallel":
                lines.append(f"    gather_rows(batch_{a}, {a}, chosen)")
                continue
            types = (kinds[a], kinds[a], "I")
            lines += ["    rows = np.empty(7, I)",
                      f"    fill_table(rows, (batch_{a}, {a}, chosen), ({', '.join(types)}))",
                      f"    many = threads if batch_{a}.shape[0] >= {GATHERED} else I(1)",
                      f"    run_slabs(entries, I({len(self.entries_of()) + i}), rows, many, many)"]  # fmt: skip
            arrays = ", ".join(f"array_at(table, I({2 * k}), {t})" for k, t in enumerate(types))
            doc = f"Gather the rows of a batch of {a} that belong to `slab`."
            body = [f"gather_share({arrays}, slab, slabs)", "return I(0)"]
            regions.append(self.bare(f"gather_{a}", ["table", "slab", "slabs", "lane"], body, doc))
        return lines, regions

    def given(self, out: str, rows: Sequence[str]) -> str:
        """What a driver is passed in a training loop; `rows` are the ids of each plate's rows."""
        ids = [*("I(0)" for _ in self.plates), *rows]
        batch = [f"batch_{a}" for a in self.arrays]
        return ", ".join(["params", "grad", out, "aux", "hypers[t]", "seed", "counter[0]", *ids, "w", "v", *batch])

    def _steps(self, driver: str, rows: Sequence[str]) -> list[str]:
        """The statements that take one step."""
        call = self.given("w[:0]", rows)
        if driver == "parallel":
            return [f"parallel({call}, threads, entries, copies)"]
        if driver != "both":
            return [f"{driver}({call})"]
        counts = [i for i, name in enumerate(self.memory.header) if name.startswith("n_")]
        single = " and ".join(f"v[{i}] == 1" for i in counts)
        return [f"if {single}:", f"    one({call})", "else:", f"    serial({call})"]

    def train_source(self, state: str, step: Sequence[str], passed: Sequence[str], n_scalars: int,
                     finite: Sequence[str], gathers: Sequence[str], extra: Sequence[str] = ()) -> str:  # fmt: skip
        """The loop: gather the batch, take a step, update, but stop before a step that is not `finite`.

        `update` takes what it is `passed` behind the state, and returns whether it has been carried out.
        """
        at = len(self.plates)
        now = state.replace("rate", "rates[t]").replace("count", "counter[0] - counter[1] + 1")
        update = f"update({', '.join([now, *passed])})"
        good = " and ".join([f"abs(w[{at}]) < INF", *finite, "all_finite(aux)", update])
        chosen = [] if not gathers else ["if size > 0:", *("    " + x for x in gathers)]
        inner = ["chosen = order[t * size : (t + 1) * size]", *chosen,
                 "for j in range(aux.shape[0]):", "    kept[j] = aux[j]", *step,
                 f"if not ({good}):", "    for j in range(aux.shape[0]):", "        aux[j] = kept[j]", "    return t",
                 f"for j in range({n_scalars}):", f"    results[t, j] = w[{at} + j]",
                 "counter[0] += 1"]  # fmt: skip
        body = ["for t in range(rates.shape[0]):", *("    " + x for x in inner), "return rates.shape[0]"]
        vectors = state.replace("rate", "rates").replace("count, ", "").split(", ")
        taken = [*vectors, *extra, "w", "aux", "kept", "hypers", "seed", "counter", "results", "order", "size",
                  "threads", "entries", *self.arrays, *(f"batch_{a}" for a in self.arrays)]  # fmt: skip
        doc = "Up to len(rates) steps in place; returns how many were taken before one that has to be examined."
        return self._function("train", taken, body, doc)
