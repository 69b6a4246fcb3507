"""Compiling device functions and kernels, to PTX and on to a device's own code, on a machine without a GPU.

Needs numba-cuda and the NVVM wheels (``pip install "numba-cuda[cu12]"``), but neither driver nor device: the
one place where numba-cuda asks the driver, for the compute capability of functions called by the compiled
one, is told."""

from __future__ import annotations

import contextlib
import importlib.util
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numba

from ppl.errors import in_words
from ppl.interrupts import pass_on
from ppl.kernels.internals import global_compiler_lock
from ppl.tuning import CUDA_REGISTERS

REQUIREMENT = "numba-cuda[cu12]"

_lock = threading.Lock()


def is_available() -> bool:
    """Whether numba-cuda can be imported and finds a compiler (NVVM)."""
    if importlib.util.find_spec("numba_cuda") is None:
        return False
    try:
        from numba.cuda.cudadrv import nvvm  # numba-cuda is optional

        nvvm.NVVM()
    except Exception:  # whatever the reason, there is no compiler
        return False
    return True


def compile_ptx(
    fn: Callable[..., Any],
    signature: Any,
    cc: tuple[int, int] = (9, 0),
    device: bool = True,
    makes_arrays: bool = False,
) -> tuple[str, Any]:
    """Compile one function to PTX.

    Parameters
    ----------
    fn : function
        A function of ``ppl.kernels.scalar`` (compiled by `ppl.kernels.decorators.inline` or plain), or a kernel
        body.
    signature : tuple of Numba types, or a Numba signature
        Types of the arguments, such as ``(numba.float32,)``.
    cc : (int, int)
        Compute capability, (9, 0) for Hopper.
    device : bool
        Whether `fn` is a device function; else it is a kernel and returns nothing.
    makes_arrays : bool
        Whether `fn` may make arrays; kernels of programs say so themselves.

    Returns
    -------
    ptx : str
    return_type : Numba type

    Raises
    ------
    ImportError
        If numba-cuda is not installed.
    """
    if importlib.util.find_spec("numba_cuda") is None:
        raise ImportError(f'PTX needs numba-cuda: pip install "{REQUIREMENT}"')
    from numba import cuda  # as above

    with _capability(cc), arrays_allowed(getattr(fn, "with_memory", makes_arrays)):
        return cuda.compile_ptx(getattr(fn, "py_func", fn), signature, device=device, cc=cc, abi="numba")


def why_not_compilable(fn: Callable[..., Any], arguments: Sequence[Any]) -> str:
    """Why a user's function cannot be compiled for devices, as it is called with these arguments.

    Empty where it can, in the simulator, and where there is no compiler.
    """
    if numba.config.ENABLE_CUDASIM or not is_available():
        return ""
    try:
        compile_ptx(fn, tuple(map(numba.typeof, arguments)), makes_arrays=True)
    except Exception as error:  # of any kind: what is missing on devices is found while code is made
        pass_on(error)
        return in_words(error)
    return ""


class Cubin(NamedTuple):
    """A kernel as a device runs it: its code, and what the assembler says of it.

    `stack` and `spilled` are bytes of local memory, `shared` those of shared memory that it declares.
    """

    code: bytes
    registers: int
    stack: int
    spilled: int
    shared: int
    float64: bool


def compile_cubin(fn: Callable[..., Any], signature: Any, cc: tuple[int, int] = (9, 0)) -> Cubin:
    """Compile a kernel for one compute capability, by way of PTX and the linker.

    `float64` says whether a double-precision instruction is in its PTX. Arguments and errors are those of
    `compile_ptx`.
    """
    source, _ = compile_ptx(fn, signature, cc, device=False)
    from cuda.core import Linker, LinkerOptions, ObjectCode  # type: ignore[import-untyped]  # as above

    arch = f"sm_{cc[0]}{cc[1]}"
    options = LinkerOptions(arch=arch, max_register_count=CUDA_REGISTERS, ptxas_options=["-v"])
    linker = Linker(ObjectCode.from_ptx(source.encode()), *_linked_helpers(source, arch), options=options)
    code, said = linker.link("cubin").code, linker.get_info_log()

    def total(pattern: str) -> int:
        return sum(int(n) for n in re.findall(pattern, said))

    registers, stack = max(map(int, re.findall(r"Used (\d+) registers", said))), total(r"(\d+) bytes stack frame")
    spilled, shared = total(r"(\d+) bytes spill stores"), total(r"(\d+) bytes smem")
    return Cubin(bytes(code), registers, stack, spilled, shared, ".f64" in source)


def _linked_helpers(source: str, arch: str) -> Iterator[Any]:
    """What numba-cuda links to a kernel that makes arrays, or gives them other shapes."""
    from cuda import pathfinder  # type: ignore[import-untyped]  # as above
    from cuda.core import Program, ProgramOptions
    from numba.cuda import dispatcher
    from numba.cuda.cuda_paths import get_cuda_paths

    home = Path(str(dispatcher.__file__)).parent
    wanted = {"numba_attempt_nocopy_reshape": "reshape_funcs.cu", "NRT_": "memory_management/nrt.cu"}
    headers = str(get_cuda_paths()["include_dir"].info)
    folders = [headers, pathfinder.locate_nvidia_header_directory("cccl").abs_path, str(home / "memory_management")]
    for word, file in wanted.items():
        if word in source:
            options = ProgramOptions(arch=arch, include_path=folders, relocatable_device_code=True, name=file)
            yield Program((home / file).read_text(encoding="utf-8"), "c++", options=options).compile("cubin")


@contextlib.contextmanager
def arrays_allowed(on: bool) -> Iterator[None]:
    """Compile functions that may make arrays, or not: numba-cuda counts references to all arrays where they may."""
    with global_compiler_lock:
        before = getattr(numba.config, "CUDA_ENABLE_NRT", False)
        numba.config.CUDA_ENABLE_NRT = on
        try:
            yield
        finally:
            numba.config.CUDA_ENABLE_NRT = before


def with_memory(dispatcher: Any, on: bool) -> Any:
    """Patch: a kernel, or a device function, is compiled with memory or without, whatever its callers have."""
    for name in ("compile", "compile_device"):
        setattr(dispatcher, name, _with_setting(getattr(dispatcher, name), on))
    dispatcher.with_memory = on
    return dispatcher


def _with_setting(compile_: Callable[..., Any], on: bool) -> Callable[..., Any]:
    def compile_so(*arguments: Any, **given: Any) -> Any:
        with arrays_allowed(on):
            return compile_(*arguments, **given)

    return compile_so


@contextlib.contextmanager
def _capability(cc: tuple[int, int]) -> Iterator[None]:
    """Let numba-cuda believe that the current device has compute capability `cc`."""
    from numba.cuda import dispatcher  # as above

    with _lock:
        original = dispatcher.get_current_device
        dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=cc)
        try:
            yield
        finally:
            dispatcher.get_current_device = original
