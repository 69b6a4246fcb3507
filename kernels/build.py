"""What machine code depends on besides the text that it was compiled from.

`kernels_version` stands for the source of all kernels and for the compiler; `build_tag` for the settings under which it
runs. Both are part of the names of emitted modules and of what machine code on disk is compared with (`build`).
"""

from __future__ import annotations

import functools
import hashlib
import os
import sys
from collections.abc import Iterator

import llvmlite
import numba
import numpy as np

from ppl import tuning

FLAGS = (
    "BOUNDSCHECK",
    "CPU_FEATURES",
    "CPU_NAME",
    "DEBUGINFO_DEFAULT",
    "DEBUG_NRT",
    "DISABLE_INTEL_SVML",
    "ENABLE_AVX",
    "ENABLE_PROFILING",
    "EXTEND_VARIABLE_LIFETIMES",
    "JIT_COVERAGE",
    "LLVM_REFPRUNE_FLAGS",
    "LLVM_REFPRUNE_PASS",
    "LOOP_VECTORIZE",
    "NRT_STATS",
    "OPT",
    "PARFOR_MAX_TUPLE_SIZE",
    "SLP_VECTORIZE",
    "USING_SVML",
)
"""Settings of Numba (`NUMBA_...`) that change machine code."""

VARIABLES = ("PPL_CHECK",)
"""Environment variables that do."""


@functools.cache
def kernels_version() -> str:
    """Return a hexadecimal hash of every source file of this folder, of `ppl/tuning.py` and the compiler's versions."""
    versions = f"{numba.__version__} {llvmlite.__version__} {np.__version__} {sys.version_info[:2]}"
    digest = hashlib.blake2b(versions.encode(), digest_size=16)
    for name, path in [*sorted(_sources(os.path.dirname(__file__))), ("", tuning.__file__)]:
        digest.update(name.encode())
        with open(path, "rb", buffering=0) as file:
            digest.update(file.readall())
    return digest.hexdigest()


def _sources(folder: str, above: str = "") -> Iterator[tuple[str, str]]:
    """The source files of a folder and of those in it: each name below it, and the path."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _sources(entry.path, f"{above}{entry.name}/")
            elif entry.name.endswith(".py"):
                yield above + entry.name, entry.path


def build_tag() -> str:
    """What settings this process compiles with."""
    flags = [f"{name}={getattr(numba.config, name, None)}" for name in FLAGS]
    return " ".join([*flags, *(f"{name}={os.environ.get(name, '')}" for name in VARIABLES)])


def build() -> str:
    """The kernels and the settings."""
    return f"{kernels_version()} {build_tag()}"
