"""The drivers of programs with products: BLAS runs on one thread meanwhile, and gets its threads back behind them.

Where external functions or the checked build may raise an exception, a driver is two functions: all stages, and a call
of that through `ppl.kernels.cpu.single`, so that an exception in a user's own compiled code does the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ppl.checked import CHECKED
from ppl.compiler.schedule.memory import all_steps
from ppl.compiler.schedule.stages import Opaque, Stage
from ppl.compiler.schedule.values import Builder


class Drivers:
    """The part of an emitter that writes drivers."""

    stages: Sequence[Stage]
    builder: Builder
    bare: Callable[[str, Sequence[str], Sequence[str], str], str]
    _function: Callable[[str, Sequence[str], Sequence[str], str], str]
    _sequence: Callable[[bool], list[str]]

    def multiplies(self) -> bool:
        """Whether a product may go to BLAS."""
        return any(isinstance(t, Opaque) and t.node.op == "gemm" for s in self.stages for t in all_steps(s))

    def may_raise(self) -> bool:
        """Whether compiled code may raise an exception."""
        return bool(self.builder.functions) or CHECKED

    def driver(self, name: str, arguments: Sequence[str], parallel: bool, doc: str) -> str:
        """The function `name`, which runs all stages."""
        lines = self._sequence(parallel)
        if not (self.multiplies() and self.may_raise()):
            return self._function(name, arguments, lines, doc)
        inner = self._function(f"{name}_single", arguments, lines, f"{doc[:-1]}, when BLAS runs on one.")
        call = f"return single({name}_single, ({', '.join(arguments)}))"
        return f"{inner}\n\n\n{self.bare(name, arguments, [call], doc)}"
