"""Emission of training loops: many steps of a program and an optimizer in one call, on a state written in place.

The loop stands in the module of the program whose step it takes, and compiles when it is first called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ppl.compiler.emit.code import (
    Assign,
    Choice,
    Expression,
    ExpressionLike,
    Function,
    List,
    Literal,
    Name,
    Return,
    Statement,
    Tuple,
    Unary,
    add_to,
    all_of,
    as_expression,
    assign,
    call,
    compare,
    do,
    loop,
    name_tuple,
    when,
)
from ppl.compiler.emit.cpu.drivers import REGION_ARGUMENTS, RegionWriter, argument_array
from ppl.compiler.emit.scalar import INF, to_int
from ppl.compiler.emit.unit import NUMPY_TYPES, TranslationUnit
from ppl.tuning import GATHERED_BY_ALL, UPDATED_BY_ALL

STATE = ("params", "first", "second", "grad", "rule", "rate", "numbers", "count", "factor")
"""What a dense update is passed: vectors, the optimizer's rule, its numbers, which of its steps it is, 1 / rows."""

OPTIMIZER_RULES = {
    "SGD": 0,
    "AdaGrad": 1,
    "Momentum": 2,
    "Nesterov": 3,
    "Adam": 4,
    "RMSProp": 5,
    "AdamW": 6,
    "LazyAdam": 7,
}
"""Numbers of the optimizers' rules in emitted code."""

LARGEST_GRADIENT, LARGEST_STEP = 1e18, 1e30
"""Bounds of gradients and of steps below which nothing overflows; beyond, the general path takes the step."""


class TrainingLoop:
    """Writes the training loop of a unit."""

    update = "update"
    """The function that takes the optimizer's step."""

    def __init__(self, unit: TranslationUnit, regions: RegionWriter):
        self.unit, self.regions = unit, regions

    def dense(self, driver: str) -> list[Function | Assign]:
        """The loop of steps on whole gradients that call `driver` ("one", "serial", "both", "parallel")."""
        threads = as_expression("threads") if self.unit.trained >= UPDATED_BY_ALL else to_int(1)
        gathers, regions = self._gathers(driver)
        train = self._train(self._steps(driver, self._rows()), threads, gathers)
        if driver != "parallel":
            return [train]
        trained = [*self.regions.entry_points, *(region.name for region in regions)]
        return [*regions, assign("TRAINED", List(tuple(map(Name, trained)))), train]

    def _rows(self) -> list[Expression]:
        """The ids of every plate's rows."""
        return [Choice(_equals("which", i), Name("chosen"), no_chosen_rows()) for i, _ in enumerate(self.unit.plates)]

    def _train(
        self, step: Sequence[Statement], by: ExpressionLike, gathers: Sequence[Statement], more: Sequence[str] = ()
    ) -> Function:
        """The loop on whole gradients, whose update is taken `by` several; `more` is what it is passed besides."""
        rate = Name("rates").at("t") * "factor"
        limit = call("min", LARGEST_GRADIENT, Literal(LARGEST_STEP) / call("max", rate, 1e-30))
        passed, extra = (limit, "shares", "copies", by), ("v", "which", "shares", "copies", *more)
        return self.loop(STATE, step, passed, self.unit.results, (), gathers, extra)

    def _cut(self) -> list[tuple[str, str]]:
        """The arrays that minibatches are taken of, with their plates."""
        return [(a, plate) for a, plate in zip(self.unit.arrays, self.unit.leading, strict=True) if plate]

    def _gathers(self, driver: str) -> tuple[list[Statement], list[Function]]:
        """The statements that gather a batch, and the regions that they enter where threads share its rows."""
        lines: list[Statement] = []
        regions: list[Function] = []
        for i, (a, plate) in enumerate(self._cut()):
            gather: list[Statement] = [do("gather_rows", f"batch_{a}", a, "chosen")]
            if driver in ("parallel", "joint"):
                number = len(self.regions.entry_points) + i
                kinds = [NUMPY_TYPES[k] for k in (self.unit.kind_of()[a],) * 2 + ("int",)]
                gather = self._shared_gather(a, kinds, number)
                regions.append(self._gather_region(a, kinds))
            lines.append(when(_equals("which", list(self.unit.plates).index(plate)), gather))
        return lines, regions

    def _gather_region(self, a: str, kinds: Sequence[Expression]) -> Function:
        """The region that gathers a slab's share of the batch of one array."""
        arrays = [argument_array(2 * k, kind) for k, kind in enumerate(kinds)]
        doc = f"Gather the rows of a batch of {a} that belong to `slab`."
        body = [do("gather_share", *arrays, "slab", "slabs"), Return(to_int(0))]
        return self.unit.bare(f"gather_{a}", REGION_ARGUMENTS, body, doc)

    def _shared_gather(self, a: str, kinds: Sequence[Expression], number: int) -> list[Statement]:
        """The statements that enter the region `number`, which gathers a batch of one array."""
        return [assign("words", call(Name("np").dot("empty"), 7, "I")),
                do("fill_words", "words", name_tuple(f"batch_{a}", a, "chosen"), Tuple(tuple(kinds))),
                *self._entered(a, number)]  # fmt: skip

    def _entered(self, a: str, number: int) -> list[Statement]:
        """The statements by which all threads, or one for a small batch, run the region `number`."""
        large = compare(Name(f"batch_{a}").dot("shape").at(0), ">=", GATHERED_BY_ALL)
        return [assign("many", Choice(large, Name("threads"), to_int(1))),
                do("run_slabs", "entry_points", to_int(number), "words", "many", "many")]  # fmt: skip

    def given(self, out: ExpressionLike, rows: Sequence[ExpressionLike]) -> dict[str, ExpressionLike]:
        """What a driver is passed in a training loop, by its names; `rows` are the ids of each plate's rows."""
        unit = self.unit
        passed: dict[str, ExpressionLike] = {a: a for a in unit.driver_arguments}
        passed |= {"out": out, "hyper": Name("hypers").at("t"), "step": Name("counter").at(0)}
        passed |= {name: to_int(0) for name in unit.first_rows}
        passed |= dict(zip((f"ids_{p}" for p in unit.plates), rows, strict=True))
        return passed | {a: f"now_{a}" for a in unit.arrays}

    def _steps(self, driver: str, rows: Sequence[ExpressionLike]) -> list[Statement]:
        """The statements that take one step."""
        given = self.given(Name("w").before(0), rows).values()
        if driver == "parallel":
            return [do("parallel", *given, "threads", "entry_points", "copies")]
        if driver != "both":
            return [do(driver, *given)]
        return [when(all_of(self.unit.singles()), [do("one", *given)], [do("serial", *given)])]

    def _batch(self) -> list[Statement]:
        """The statements that say where the data of a step are: at addresses of its own, or with all others."""
        unit, several = self.unit, compare(Name("places").dot("shape").at(0), ">", 0)
        kinds = unit.kind_of()
        lines: list[Statement] = []
        for i, a in enumerate(unit.arrays):
            size = Name(f"batch_{a}").dot("shape").at(0)
            there = call("array_of", Name("places").at("t", i), size, NUMPY_TYPES[kinds[a]])
            lines.append(assign(f"now_{a}", Choice(several, there, Name(f"batch_{a}"))))
        return lines

    def loop(self, state: Sequence[str], step: Sequence[Statement], passed: Sequence[ExpressionLike], n_scalars: int,
             finite: Sequence[Expression], gathers: Sequence[Statement], extra: Sequence[str] = ()
             ) -> Function:  # fmt: skip
        """The loop: gather the batch, take a step, update, but stop before a step that is not `finite`.

        `update` takes what it is `passed` behind the state, and returns whether it has been carried out. A `size`
        below 0 says that the batches have been gathered, and of how many rows each is. `places` has the addresses of
        the arrays of every step, or no rows where all steps read the same ones.
        """
        unit, j, w = self.unit, Name("j"), Name("w")
        at = len(unit.plates)
        counter = Name("counter")
        now = replace_arguments(state, {"rate": Name("rates").at("t"), "count": counter.at(0) - counter.at(1) + 1})
        good = [compare(call("abs", w.at(at)), "<", INF), *finite, call("all_finite", "aux"),
                call(self.update, *now, *passed)]  # fmt: skip
        size = call("abs", "size")
        chosen = Name("order").between(Name("t") * size, (Name("t") + 1) * size)
        inner: list[Statement] = [assign("chosen", chosen)]
        inner += [when(compare("size", ">", 0), gathers)] if gathers else []
        inner += self._batch()
        inner += [_copy_aux("kept", "aux"), *step]
        inner.append(when(Unary("not", all_of(good)), [_copy_aux("aux", "kept"), Return(Name("t"))]))
        inner.append(loop("j", n_scalars, [assign(Name("results").at("t", j), w.at(as_expression(at) + j))]))
        inner.append(add_to(counter.at(0), 1))
        rates = Name("rates").dot("shape").at(0)
        vectors = ["rates" if x == "rate" else x for x in state if x != "count"]
        taken = [*vectors, *extra, "w", "aux", "kept", "hypers", "seed", "counter", "results", "order", "size",
                 "threads", "entry_points", "places", *unit.arrays, *(f"batch_{a}" for a in unit.arrays)]  # fmt: skip
        doc = "Up to len(rates) steps in place; returns how many were taken before one that has to be examined."
        return unit.function("train", taken, [loop("t", rates, inner), Return(rates)], doc)


def replace_arguments(given: Sequence[str], changed: Mapping[str, ExpressionLike]) -> list[ExpressionLike]:
    """What a function is passed, by names, with others for some of them."""
    return [changed.get(name, name) for name in given]


def no_chosen_rows() -> Expression:
    """The ids of rows where none are chosen."""
    return Name("order").before(0)


def dense_update(at: int, size: int) -> Statement:
    """The optimizer's step on the `size` parameters from `at` on that belong to `slab`."""
    return do("step_on", to_int(at), to_int(size), to_int("slab"), "slabs", *STATE)


def _equals(name: str, value: int) -> Expression:
    return compare(name, "==", value)


def _copy_aux(target: str, source: str) -> Statement:
    """The statement that keeps the auxiliary variables, or restores them."""
    return loop("j", Name("aux").dot("shape").at(0), [assign(Name(target).at("j"), Name(source).at("j"))])
