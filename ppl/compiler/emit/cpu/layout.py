"""Emission of what lays out a workspace for the rows of a call, and says how long one is.

The numbers are those that `ppl.runtime.emitted` computes for calls from Python, so that both have the same bits.
"""

from __future__ import annotations

from collections.abc import Mapping

from ppl.compiler.emit.code import Expression, Function, Name, Return, Statement, assign, call, do, loop, term
from ppl.compiler.emit.scalar import to_int
from ppl.compiler.emit.unit import SLABS, Unit
from ppl.compiler.lower.views import Poly, axis_size
from ppl.compiler.schedule.memory import all_steps
from ppl.compiler.schedule.slabs import least_rows
from ppl.compiler.schedule.stages import Opaque, Stage


class Layout:
    """Writes `lay_out`, `floats_of` and `words_of` of a unit.

    `plates` are those whose rows data tell, `counts` what their numbers of rows are called.
    """

    def __init__(self, unit: Unit):
        self.unit = unit
        self.header = list(unit.memory.header)
        self.plates = list(dict.fromkeys(p for p in unit.leading if p))
        self.counts = [f"n_{p}" for p in self.plates]
        self.itemsize = 4 if unit.dtype == "float32" else 8

    def functions(self) -> list[Function]:
        """The functions."""
        return [
            *([self._lay_out()] if self.counts else []),
            self._length("floats_of", "w", "Floats of a workspace with this header."),
            self._length("words_of", "v", "Whole numbers of a workspace with this header."),
        ]

    def at(self, head: str, name: str) -> Expression:
        """The entry `name` of a header."""
        return Name(head).at(self.header.index(name))

    def sized(self, poly: Poly, head: str) -> Expression:
        """A polynomial in sizes, which stand in a header; numbers of rows are locals."""
        return evaluated(poly, {n: self.at(head, n) for n in poly.names if n not in self.counts})

    def head(self, fixed: str) -> list[Statement]:
        """The header of a call on the stack; what rows do not change is taken from `fixed`."""
        made: list[Statement] = [assign("head", call(Name("np").dot("empty"), max(1, len(self.header)), "I"))]
        made += self.copied(fixed, "head")
        return [*made, *([do("lay_out", "head", *self.counts)] if self.counts else [])]

    def copied(self, source: str, target: str) -> list[Statement]:
        """Copy a header."""
        return [loop("i", len(self.header), [assign(Name(target).at("i"), Name(source).at("i"))])] * bool(self.header)

    def _known(self, needed: set[str]) -> list[Statement]:
        """Assignments of those sizes in the header that are `needed`."""
        return [assign(name, Name("v").at(i)) for i, name in enumerate(self.header) if name in needed]

    def _lay_out(self) -> Function:
        unit, regions = self.unit, self.unit.regions
        polys = [unit.flops, *unit.memory.slab.values(), *(axis_size(s.row) for s in regions if s.row is not None)]
        polys += [p[s.name] for s in regions for p in (unit.memory.per_row, unit.memory.stacks)]
        body: list[Statement] = [assign(self.at("v", c), c) for c in self.counts]
        body += [assign(self.at("v", f"total_{p}"), c) for p, c in zip(self.plates, self.counts, strict=True)]
        body += self._known({n for p in polys for n in p.names} - set(self.counts))
        if regions:
            body += [assign("slabs", self._slabs()), assign(self.at("v", SLABS), "slabs")]
        for stage in regions:
            body += self._tile(stage)
        return unit.bare("lay_out", ["v", *self.counts], body, "Lay out a workspace for these numbers of rows.")

    def _slabs(self) -> Expression:
        """The number of slabs."""
        unit, sharing = self.unit, self.unit.builder.target.sharing
        ops = {t.node.op for s in unit.regions for t in all_steps(s) if isinstance(t, Opaque)}
        least = least_rows(sharing, "gemm" in ops, "turns" in ops, "noise" in ops)
        longest, *others = [call("I", axis_size(s.row)) for s in unit.regions if s.row is not None]
        for other in others:
            longest = call("max", longest, other)
        accumulated = sum(unit.memory.slab.values(), Poly())
        numbers = (least, sharing.most, sharing.operations, int(min(sharing.pair, 1 << 62)), sharing.sums)
        return call("slab_count", longest, call("I", unit.flops), call("I", accumulated), *map(to_int, numbers))

    def _tile(self, stage: Stage) -> list[Statement]:
        """The length of the tiles of a region, and of the chunks behind which owned products run."""
        assert stage.row is not None
        memory, rules = self.unit.memory, self.unit.memory.rules
        rows = call("I", axis_size(stage.row))
        products = any(isinstance(t, Opaque) and t.node.op == "gemm" for t in all_steps(stage))
        each, stacks = (memory.per_row[stage.name] * self.itemsize, memory.stacks[stage.name] * self.itemsize)
        streamed = to_int(0) if products else call("max", to_int(1), term(each) - term(stacks))
        limits = map(to_int, (rules.tile_rows, rules.product_tile, rules.stream_tile))
        block = to_int(rules.noise_block if stacks.terms else 0)
        tile = call("tile_rows", "most", call("I", each), streamed, *limits, block)
        body: list[Statement] = [assign("most", call("longest_slab", rows, "slabs")), assign("tile", tile)]
        if stage.owned:
            body += [assign("chunk", call("chunk_rows", rows, "most", "tile"))]
            body += [assign(self.at("v", f"chunk_{stage.name}"), "chunk")]
            body += [assign(self.at("v", f"first_{stage.name}"), to_int(0))]
            body += [assign("tile", call("max", "tile", call("longest_slab", "chunk", "slabs")))]
        return [*body, assign(self.at("v", f"tile_{stage.name}"), "tile")]

    def _length(self, name: str, array: str, doc: str) -> Function:
        total, slab, lane = (area[array] for area in self.unit.memory.areas)
        length = total + (slab * SLABS if SLABS in self.header else slab) + lane
        return self.unit.bare(name, ["v"], [*self._known(length.names), Return(call("I", length))], doc)


def evaluated(poly: Poly, known: Mapping[str, Expression]) -> Expression:
    """A polynomial, some of whose sizes are `known` as expressions."""
    total: Expression = to_int(0)
    for factors, coef in poly.terms:
        product: Expression = to_int(coef)
        for name in factors:
            product = product * known.get(name, Name(name))
        total = total + product
    return total
