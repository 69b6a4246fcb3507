"""Hash what machine code depends on besides its own text: kernels, compiler and settings.

`kernels_version` stands for the source of all kernels and for the compiler; `build_tag` for the settings under which
it runs. Both are part of the names of emitted modules and of what machine code on disk is compared with
(`build_version`)."""

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

NUMBA_SETTINGS = (
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

ENVIRONMENT_VARIABLES = ("PPL_CHECK",)
"""Environment variables that do."""


@functools.cache
def kernels_version() -> str:
    """Return a hexadecimal hash of every source file of this folder, of `ppl/tuning.py` and the compiler's versions."""
    versions = f"{numba.__version__} {llvmlite.__version__} {np.__version__} {sys.version_info[:2]}"
    digest = hashlib.blake2b(versions.encode(), digest_size=16)
    for name, path in [*sorted(_source_files(os.path.dirname(os.path.dirname(__file__)))), ("", tuning.__file__)]:
        digest.update(name.encode())
        with open(path, "rb", buffering=0) as file:
            digest.update(file.readall())
    return digest.hexdigest()


def _source_files(folder: str, above: str = "") -> Iterator[tuple[str, str]]:
    """The source files of a folder and of those in it: each name below it, and the path."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _source_files(entry.path, f"{above}{entry.name}/")
            elif entry.name.endswith(".py"):
                yield above + entry.name, entry.path


def build_tag() -> str:
    """What settings this process compiles with."""
    flags = [f"{name}={getattr(numba.config, name, None)}" for name in NUMBA_SETTINGS]
    return " ".join([*flags, *(f"{name}={os.environ.get(name, '')}" for name in ENVIRONMENT_VARIABLES)])


def build_version() -> str:
    """The kernels and the settings."""
    return f"{kernels_version()} {build_tag()}"
