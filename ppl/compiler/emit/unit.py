"""The translation unit: one program to emit, and the names and types of what its functions share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field

from ppl.checked import CHECKED
from ppl.compiler.emit.code import (
    Argument,
    Expression,
    ExpressionLike,
    Function,
    Name,
    Record,
    Statement,
    as_expression,
    assign,
    call,
    compare,
    do,
    names_in,
)
from ppl.compiler.lower.lowering import MATRIX_KERNELS, matrix_size
from ppl.compiler.lower.sizes import Poly
from ppl.compiler.schedule.builder import ScheduleBuilder
from ppl.compiler.schedule.memory import MemoryLayout
from ppl.compiler.schedule.slabs import SLABS
from ppl.compiler.schedule.stages import Opaque, Stage, all_steps
from ppl.records import dataclass
from ppl.tuning import MATRIX_BLOCK

FIRST_SLAB_SYMBOLS = {f"slab_{array}": f"first_{array}" for array in "wv"}

FLOAT_ARRAYS = ("w", "params", "grad", "out", "aux", "hyper", "copies")

NUMPY_TYPES: dict[str, Expression] = {
    "float": Name("F"),
    "int": Name("I"),
    "word": Name("U"),
    "int32": Name("np").dot("int32"),
    "bool": Name("np").dot("bool_"),
}
"""The type of a dtype as emitted code names it; a word is a seed."""

NUMBA_TYPES = {"int": "int64", "word": "uint64", "int32": "int32", "bool": "boolean"}


@dataclass(frozen=True)
class TranslationUnit:
    """One program to emit: its schedule, its memory, and what it is passed.

    `arrays` are the names of its data arguments, `kinds` their dtypes, `leading` the plate in front of each; `counts`
    sets the sizes that they tell. A program with `trained` parameters, the number of entries of its gradient, gets a
    training loop.
    """

    stages: Sequence[Stage]
    builder: ScheduleBuilder
    memory: MemoryLayout
    dtype: str
    arrays: Sequence[str]
    plates: Sequence[str]
    n_aux: int
    aux_at: int
    counts: Sequence[Statement] = ()
    sampling: bool = False
    has_scalars: bool = True
    kinds: Sequence[str] = ()
    leading: Sequence[str] = ()
    trained: int = 0
    results: int = 0
    sizes: Mapping[str, int] = field(default_factory=dict)
    """Entries of params, aux and hyper, and of one row of every data argument."""
    flops: Poly = field(default_factory=Poly)
    """Rough number of operations of what threads share."""
    outputs: Sequence[tuple[str, Poly]] = ()
    """Names and lengths, in floats, of the arrays of a sampling program, in their order."""
    invalid: str = "parameters out of range"
    """The array among them, if any, that is NaN where parameters are out of range."""

    @property
    def bits(self) -> str:
        """The dtype as kernels name it."""
        return "f32" if self.dtype == "float32" else "f64"

    @property
    def scales(self) -> list[str]:
        """The factors N/B of plates."""
        return [f"scale_{p}" for p in self.plates]

    @property
    def ids(self) -> list[str]:
        """The numbers of the first rows, and the ids of rows, of every plate."""
        return [*self.first_rows, *(f"ids_{p}" for p in self.plates)]

    @property
    def first_rows(self) -> list[str]:
        """The numbers of the first rows of every plate."""
        return [f"row0_{p}" for p in self.plates]

    @property
    def common(self) -> list[str]:
        """What every stage is passed."""
        given = ["w", "v", "params", "grad", "out", "aux", "hyper", "seed", "step"]
        return [*given, *self.ids, *self.arrays]

    @property
    def driver_arguments(self) -> list[str]:
        """What every driver is passed."""
        given = ["params", "grad", "out", "aux", "hyper", "seed", "step", *self.ids, "w", "v"]
        return [*given, *self.arrays]

    @property
    def regions(self) -> list[Stage]:
        """The stages that are row regions."""
        return [s for s in self.stages if s.row is not None]

    def kind_of(self) -> dict[str, str]:
        """Dtype of everything that a stage is passed."""
        kinds = dict.fromkeys(FLOAT_ARRAYS, "float") | {"v": "int", "seed": "word", "step": "int"}
        kinds |= dict.fromkeys(self.ids, "int")
        return kinds | dict(zip(self.arrays, self.kinds, strict=True))

    def is_number(self, name: str) -> bool:
        """Whether an argument of stages is no array."""
        return name in ("seed", "step", *self.first_rows)

    def types(self) -> dict[str, str]:
        """Numba's types of what kernels are passed, besides whole numbers."""
        kinds = {a: NUMBA_TYPES.get(k, self.dtype) for a, k in self.kind_of().items() if not self.is_number(a)}
        types = {a: f"{k}[::1]" for a, k in kinds.items()} | dict.fromkeys(self.scales, self.dtype)
        return types | {"sums": "float64[::1]", "iout": "int64[::1]", "seed": "uint64",
                        "clock": "uint64[::1]"}  # fmt: skip

    def multiplies(self) -> bool:
        """Whether a product may go to BLAS."""
        steps = (t.node for s in self.stages for t in all_steps(s) if isinstance(t, Opaque))
        return any(n.op == "gemm" or (n.op in MATRIX_KERNELS and matrix_size(n) > MATRIX_BLOCK) for n in steps)

    def may_raise(self) -> bool:
        """Whether compiled code may raise an exception."""
        return bool(self.builder.functions) or CHECKED

    def singles(self) -> list[Expression]:
        """The conditions that every size that is known only at run time is 1."""
        header = enumerate(self.memory.header)
        return [compare(Name("v").at(i), "==", 1) for i, name in header if name.startswith("n_")]

    def bare(self, name: str, arguments: Sequence[str], body: Sequence[Statement], doc: str, form: str = "jit"
             ) -> Function:  # fmt: skip
        """A function of this body."""
        types = self.types()
        start = [] if form in ("entry", "launch", "host") else [do("prefer_full_width")]
        given = tuple(Argument(a, types.get(a, "")) for a in arguments)
        return Function(name, given, (*start, *body), doc, form)

    def function(self, name: str, arguments: Sequence[str], body: Sequence[Statement], doc: str) -> Function:
        """A function of this body, behind what it has to know of memory."""
        slab: ExpressionLike = "slab" if "slab" in arguments else 0
        return self.bare(name, arguments, [*self.definitions(body, slab, slab), *body], doc)

    def definitions(
        self,
        body: Sequence[Record],
        slab: ExpressionLike,
        lane: ExpressionLike = "lane",
        makers: Sequence[Stage] | None = None,
    ) -> list[Statement]:
        """Assignments of the symbols that `body` uses: offsets, then the sizes that these need.

        Where the `makers` of a row region are told, sums that other stages have made are read where their total is, in
        the first slab.
        """
        memory, words = self.memory, names_in(*body).used
        needed = set(words)
        offsets: list[Statement] = []
        totals = set() if makers is None else _accumulator_symbols(self.stages) - _accumulator_symbols(makers)
        for symbol, place in memory.symbols.items():
            if symbol in words:
                place = place.renamed(FIRST_SLAB_SYMBOLS) if symbol in totals else place
                offsets.append(assign(symbol, place))
                needed |= place.names
        slabs = [x for array in "wv" for x in self._areas(array, needed, slab, lane)]
        if "iout" in needed:
            needed |= memory.ints.names
        return [*self._sizes(needed), *slabs, *offsets]

    def _areas(self, array: str, needed: set[str], slab: ExpressionLike, lane: ExpressionLike) -> list[Statement]:
        """Where the slab and the lane lie in `array`; what that needs is added to `needed`."""
        total, size, own = (area[array] for area in self.memory.areas)
        found: list[Statement] = []
        if f"slab_{array}" in needed:
            found.append(assign(f"slab_{array}", as_expression(total) + _multiple_of_size(slab, size)))
            needed |= total.names | size.names
        if f"first_{array}" in needed:
            found.append(assign(f"first_{array}", as_expression(total)))
            needed |= total.names
        if f"lane_{array}" in needed:
            found.append(
                assign(
                    f"lane_{array}",
                    as_expression(total) + _multiple_of_size(SLABS, size) + _multiple_of_size(lane, own),
                )
            )
            needed |= total.names | size.names | own.names | {SLABS}
        if f"stride_{array}" in needed:
            found.append(assign(f"stride_{array}", size))
            needed |= size.names
        return found

    def _sizes(self, needed: set[str]) -> list[Statement]:
        """What stands in the headers of the workspace, and views of it."""
        sizes: list[Statement] = []
        for array, names in (("v", self.memory.header), ("w", self.scales)):
            sizes += [assign(name, Name(array).at(i)) for i, name in enumerate(names) if name in needed]
        if "sums" in needed:
            sizes.append(assign("sums", call(Name("v").dot("view"), Name("np").dot("float64"))))
        if "iout" in needed:
            sizes.append(assign("iout", call(Name("out").before(self.memory.ints).dot("view"), "I")))
        return [*sizes, assign("no_ids", Name("v").before(0))] if "no_ids" in needed else sizes


def _accumulator_symbols(stages: Sequence[Stage]) -> set[str]:
    """The symbols of the accumulators of some stages."""
    return {v.buffer.symbol for stage in stages for v in stage.accumulators if v.buffer is not None}


def _multiple_of_size(count: ExpressionLike, size: Poly) -> Expression:
    return as_expression(count) * size
