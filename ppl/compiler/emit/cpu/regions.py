"""Emission of row regions: functions of a table of arguments, and the drivers that run them slab by slab.

A region is compiled once, and reached by address from Python's driver `parallel` (see `kernels/cpu/regions.py`); the
serial driver, which users' own compiled code contains, calls it as a function.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from ppl.compiler.lower.layout import axis_size
from ppl.compiler.schedule.stages import Stage

IMPORTS = "from ppl.kernels.cpu.regions import address, array_at, as_type, fill_table, run_slabs, word_at\n"
COPIES = "from ppl.kernels.cpu.copies import own_copy\n"
DTYPES = {"float": "F", "int": "I", "int32": "np.int32", "bool": "np.bool_"}
SLABS = "slab_count"
"""The number of slabs as emitted code finds it in the header of a workspace."""

FLOATS = ("w", "params", "grad", "out", "aux", "hyper", "copies")


class Regions:
    """The part of an emitter that writes regions; `kinds` are the dtypes of its data arrays."""

    stages: Sequence[Stage]
    arrays: Sequence[str]
    kinds: Sequence[str]
    plates: Sequence[str]
    common: list[str]
    bare: Callable[[str, Sequence[str], Sequence[str], str], str]
    _definitions: Callable[[Sequence[str], str], list[str]]

    more_regions: Sequence[str] = ()
    """Regions that are no stages, behind the others in the list of entries."""

    def merges(self) -> bool:
        """Whether a region adds up gradients."""
        return False

    def entries_of(self) -> list[str]:
        """Names of the regions that are reached by address, in order."""
        names = [name for s in self.regions for name in ([s.name, products_of(s)] if s.owned else [s.name])]
        return [*names, *(["merge"] if self.merges() else []), *self.more_regions]

    def enter(self, name: str, parallel: bool, parts: str = SLABS) -> str:
        """The calls of the region `name` for all its `parts`, which are the slabs of rows unless it says otherwise."""
        if parallel:
            return f"run_slabs(entries, I({self.entries_of().index(name)}), table, {parts}, threads)"
        return f"for slab in range({parts}): {name}(address(table), slab, {parts}, I(0))"

    @property
    def regions(self) -> list[Stage]:
        """The stages that are row regions."""
        return [s for s in self.stages if s.row is not None]

    def _kinds(self) -> dict[str, str]:
        """Type of every argument that a stage is passed."""
        kinds = dict.fromkeys(FLOATS, "F") | {"v": "I", "seed": "U", "step": "I"}
        kinds |= {f"row0_{p}": "I" for p in self.plates} | {f"ids_{p}": "I" for p in self.plates}
        return kinds | {a: DTYPES[k] for a, k in zip(self.arrays, self.kinds, strict=True)}

    def _passed(self) -> list[str]:
        return [*self.common, "copies"]

    def _is_number(self, name: str) -> bool:
        return name in ("seed", "step") or name in [f"row0_{p}" for p in self.plates]

    def packed(self) -> list[str]:
        """The statements that make the table; what slabs read instead of `params` comes last."""
        kinds = self._kinds()
        words = sum(1 if self._is_number(name) else 2 for name in self._passed())
        passed = "".join(f"{name}, " for name in self._passed())
        types = "".join(f"{kinds[name]}, " for name in self._passed())
        return [f"table = np.empty({words + 1}, I)", f"fill_table(table, ({passed.rstrip()}), ({types.rstrip()}))"]

    def _unpacked(self, body: Sequence[str]) -> list[str]:
        """The statements that read what `body` needs from the table."""
        used = set(re.findall(r"[A-Za-z_]\w*", "\n".join(body)))
        used |= {"copies"} if "params" in used else set()
        kinds, lines, at = self._kinds(), [], 0
        for name in self._passed():
            if self._is_number(name):
                lines += [f"{name} = {kinds[name]}(word_at(table, I({at})))"] if name in used else []
                at += 1
            else:
                lines += [f"{name} = array_at(table, I({at}), {kinds[name]})"] if name in used else []
                at += 2
        return lines + (["params = own_copy(params, copies, lane)"] if "params" in used else [])

    def region(self, name: str, body: Sequence[str], doc: str, own: str = "slab") -> str:
        """A region's function; addresses are those in slab `own`."""
        lines = [*self._definitions(body, own), *body]
        return self.bare(name, ["table", "slab", "slabs", "lane"], [*self._unpacked(lines), *lines, "return I(0)"], doc)

    def _region(self, stage: Stage, body: Sequence[str], doc: str) -> str:
        assert stage.row is not None
        rows = axis_size(stage.row)
        ends = [f"lo, hi = slab_start({rows}, slab, slabs), slab_start({rows}, slab + 1, slabs)"]
        if stage.owned:
            first = f"first_{stage.name}"
            ends = [f"rows = min(chunk_{stage.name}, {rows} - {first})",
                    f"lo, hi = {first} + slab_start(rows, slab, slabs), {first} + slab_start(rows, slab + 1, slabs)",
                    ]  # fmt: skip
        return self.region(stage.name, [*ends, *body], doc)


def products_of(stage: Stage) -> str:
    """Name of the region of the products that `stage` owns."""
    return f"{stage.name}_products"
