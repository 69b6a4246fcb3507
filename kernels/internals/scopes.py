"""Scopes of LLVM's `alias.scope` and `noalias`, which llvmlite has no words for."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from llvmlite.ir.values import MDValue


class _Scope(MDValue):
    """A node that refers to itself, and so is no other one: not that of a copy of the function either."""

    def __init__(self, module: ir.Module, *others: MDValue):
        super().__init__(module, (), str(len(module.metadata)))
        self.operands = (self, *others)

    __eq__ = object.__eq__
    __hash__ = object.__hash__


def scopes(module: ir.Module, count: int) -> list[tuple[Any, Any]]:
    """For each of `count` scopes: the list that holds it alone, and that of all others."""
    domain = _Scope(module)
    found = [_Scope(module, domain) for _ in range(count)]
    return [(module.add_metadata([x]), module.add_metadata([y for y in found if y is not x])) for x in found]


def rolled(branch: Any, vectors: bool) -> None:
    """Have the loop that ends in `branch` made of vectors, if it can be, before anybody writes its turns out.

    With `vectors`, what no vectors fill is masked, and the turns of the loop over vectors are written out, so that the
    masks are constants.
    """
    module = branch.function.module
    facts = [module.add_metadata(["llvm.loop.unroll.disable"])]
    if vectors:
        facts.append(module.add_metadata(["llvm.loop.vectorize.predicate.enable", ir.Constant(ir.IntType(1), 1)]))
        full = module.add_metadata(["llvm.loop.unroll.full"])
        facts.append(module.add_metadata(["llvm.loop.vectorize.followup_vectorized", full]))
    loop = _Scope(module, *facts)
    branch.set_metadata("llvm.loop", loop)


def put_in(instructions: list[Any], scope: tuple[Any, Any]) -> None:
    """Say of the reads and writes among `instructions` that they are in a scope, and in no other one."""
    for x in instructions:
        if isinstance(x, ir.LoadInstr | ir.StoreInstr):
            x.set_metadata("alias.scope", scope[0])
            x.set_metadata("noalias", scope[1])
