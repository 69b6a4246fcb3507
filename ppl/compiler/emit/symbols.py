"""Symbols: the modules that emitted code imports names from.

A module imports only what it uses. A name may be known by another one (`(name, known)`), and may end in the
program's dtype (`{bits}`)."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

from ppl.compiler.emit.code import Assign, Import, Literal, assign

ImportTable = Mapping[str, tuple[str | tuple[str, str], ...]]

SCALAR_SYMBOLS: ImportTable = {
    "ppl.kernels.generated.{bits}": (("scalar", "m"),),
    "ppl.kernels.scalar.noise": ("mix", "uniform_{bits}"),
}

CPU_SYMBOLS: ImportTable = {
    "ppl.errors": ("DataError", "SimulatorError"),
    "ppl.kernels.decorators": ("entry", "jit", "shared"),
    "ppl.kernels.cpu.externals": (
        *("attempt", "judged", "kept", "listed", "propagate", "put", "put_whole", "row_at", "whole"),
    ),
    "ppl.kernels.generated.{bits}.cpu.draws": (
        "vonmises_row_{bits}",
        ("vonmises_row_{bits}", "vonmises_lanes_{bits}"),
        "binomial_row_{bits}",
        ("binomial_row_{bits}", "binomial_lanes_{bits}"),
        "poisson_row_{bits}",
        ("poisson_row_{bits}", "poisson_lanes_{bits}"),
        "loggamma_row_{bits}",
        ("loggamma_row_{bits}", "loggamma_lanes_{bits}"),
        "loggamma_slope_lanes_{bits}",
    ),
    "ppl.kernels.generated.{bits}.cpu.matrices": (
        *("cholesky_{bits}", "lu_{bits}", "lu_solve_{bits}", "solve_lower_{bits}"),
    ),
    "ppl.kernels.generated.{bits}.cpu.noise": ("fill_columns_{bits}", "fill_rows_{bits}", "fill_windows_{bits}"),
    "ppl.kernels.generated.{bits}.cpu.sparse": ("data_gemm_{bits}",),
    "ppl.kernels.cpu.measurement": ("cycles",),
    "ppl.kernels.cpu.noise_keys": ("mix_time", "row_ids", "row_keys", "window_keys"),
    "ppl.kernels.cpu.memory": (
        *("AHEAD", "all_set", "clear", "inside", "part", "part_of", "prefer_full_width", "rest_of", "tail"),
        *("to_read", "to_write"),
    ),
    "ppl.kernels.cpu.threads.regions": (
        *("address", "alive_until", "array_at", "array_of", "copied_to", "data_place", "fill_words", "number_at"),
        *("on_threads", "place", "run_slabs", "word_at", "work_places"),
    ),
    "ppl.kernels.cpu.threads.slabs": (
        *("add_slabs", "chunk_rows", "longest_slab", "max_slabs", "merge_slabs", "partition_start", "slab_count"),
        *("slab_start", "tile_rows"),
    ),
    "ppl.kernels.cpu.products.blas": ("enter_single", "gemm_{bits}", "leave_single", "single"),
    "ppl.kernels.cpu.sums": ("cumulate",),
    "ppl.kernels.cpu.training.optimizers": ("all_finite", "bounded", "row_step", "step_on"),
    "ppl.kernels.cpu.training.parallel_optimizers": ("own_copy", "update"),
    "ppl.kernels.cpu.training.batch_rows": ("gather_rows", "gather_share", "link", "owned"),
    **SCALAR_SYMBOLS,
}

CUDA_SYMBOLS: ImportTable = {
    "ppl.kernels.cuda.compat": (
        *("THREADS", "block", "cuda", "here", ("device", "jit"), "kernel", "narrow", "quotient", "strides", "thread"),
        *("together", ("{bits}", "m"), "mix", "uniform_{bits}"),
    ),
    "ppl.kernels.cuda.memory": (
        *("add_slabs", "all_set", "clear", "fill", "inside", "max_slabs", "merge_slabs", "part_of"),
        *("partition_start", "prefer_full_width", "rest_of", "tail"),
    ),
    "ppl.kernels.cuda.noise": (
        *("binomial_lanes_{bits}", "binomial_row_{bits}", "binomial_block_{bits}"),
        *("loggamma_lanes_{bits}", "loggamma_row_{bits}", "loggamma_block_{bits}", "loggamma_slope_lanes_{bits}"),
        *("poisson_lanes_{bits}", "poisson_row_{bits}", "poisson_block_{bits}"),
        *("vonmises_lanes_{bits}", "vonmises_row_{bits}", "vonmises_block_{bits}"),
        *("fill_columns_{bits}", "fill_rows_{bits}", "mix_time", "numbered", "row_ids", "row_keys"),
    ),
    "ppl.kernels.cuda.launch": ("blocks_for",),
    "ppl.kernels.cuda.products": (
        *("cumulate", "gemm_{bits}", ("gemm_{bits}", "data_gemm_{bits}"), "tiles", "TILES"),
        *("product_{bits}", ("product_{bits}", "data_product_{bits}")),
        *((name, name + "_{bits}") for name in ("cholesky", "lu", "lu_solve", "solve_lower")),
    ),
    "ppl.kernels.cuda.externals": ("attempt", "judged", "listed", "put", "put_whole", "whole"),
    "ppl.kernels.cuda.teams": (
        *(f"{what}_{kind}" for kind in ("float32", "float64", "int64") for what in ("amax", "argmax", "sum")),
        *("SHARED", "team_together"),
    ),
}


CUDA_SYMBOLS_WITH_USER_FUNCTIONS: ImportTable = {
    **CUDA_SYMBOLS,
    "ppl.kernels.cuda.compat": tuple(x for x in CUDA_SYMBOLS["ppl.kernels.cuda.compat"] if x != "kernel"),
    "ppl.kernels.cuda.externals": (*CUDA_SYMBOLS["ppl.kernels.cuda.externals"], ("calling", "kernel")),
}
"""The same for programs that call users' functions."""


def import_records(places: ImportTable, bits: str) -> list[Import]:
    """Imports of the names at `places`, for programs of the dtype `bits`."""
    found = []
    for module, names in places.items():
        for entry in names:
            name, known = entry if isinstance(entry, tuple) else (entry, entry)
            found.append(Import(*(text.format(bits=bits) for text in (module, name, known))))
    return found


class UserFunctions(NamedTuple):
    """Users' functions: imports and versions of those that can be imported and hashed; the others, to be `injected`."""

    imports: list[Import]
    versions: list[Assign]
    injected: dict[str, Any]


def locate_user_functions(functions: Mapping[str, Any]) -> UserFunctions:
    """Where users' functions are, by the names that emitted code knows them by."""
    from ppl.kernels.code_cache.user_functions import recompile_if_stale

    found, versions, injected = [], {}, {}
    for name, fn in functions.items():
        plain = getattr(fn, "py_func", fn)
        module, qualname = getattr(plain, "__module__", None), getattr(plain, "__qualname__", "")
        known = getattr(sys.modules.get(module or ""), qualname, None)
        version = recompile_if_stale(fn)
        if module is not None and known is fn and module != "__main__" and version is not None:
            found.append(Import(module, qualname, name))
            versions[name] = version
        else:
            injected[name] = fn
    return UserFunctions(found, [assign("EXTERNALS", Literal(versions))] if versions else [], injected)
