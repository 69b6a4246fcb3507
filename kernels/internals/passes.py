"""LLVM's pass managers, of which Numba makes two for every module and one for each of its functions."""

from __future__ import annotations

from llvmlite.binding import ffi, newpassmanagers


def free_pass_managers() -> None:
    """Patch: a pass manager is freed with its Python object, as llvmlite means it to be.

    Relies on `_dispose`. llvmlite's `NewPassManager` has one, which the empty one of `ObjectRef` hides: without this,
    every function that is compiled holds some 0.6 MB until the process ends.
    """
    freed = newpassmanagers.NewPassManager._dispose
    for kind in (newpassmanagers.ModulePassManager, newpassmanagers.FunctionPassManager):
        if kind._dispose is ffi.ObjectRef._dispose:
            kind._dispose = freed
