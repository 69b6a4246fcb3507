"""Where the names are that emitted code takes from elsewhere; a module imports those that it uses.

A name may be known by another one (`(name, known)`), and may end in the program's dtype (`{bits}`).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

from ppl.compiler.emit.code import Assign, Import, Literal, assign

Places = Mapping[str, tuple[str | tuple[str, str], ...]]

SCALARS: Places = {
    "ppl.kernels.scalar": (("{bits}", "m"),),
    "ppl.kernels.scalar.noise": ("mix", "uniform_{bits}"),
}

CPU: Places = {
    "ppl.errors": ("DataError", "SimulatorError"),
    "ppl.kernels.config": ("entry", "jit"),
    "ppl.kernels.cpu.attempts": ("attempt", "judged", "kept", "listed", "propagate", "row_at"),
    "ppl.kernels.cpu.{bits}.angle_lanes": ("vonmises_row_{bits}", ("vonmises_row_{bits}", "vonmises_lanes_{bits}")),
    "ppl.kernels.cpu.{bits}.count_lanes": (
        "binomial_row_{bits}",
        ("binomial_row_{bits}", "binomial_lanes_{bits}"),
        "poisson_row_{bits}",
        ("poisson_row_{bits}", "poisson_lanes_{bits}"),
    ),
    "ppl.kernels.cpu.cycles": ("cycles",),
    "ppl.kernels.cpu.{bits}.gamma_lanes": (
        "loggamma_row_{bits}",
        ("loggamma_row_{bits}", "loggamma_lanes_{bits}"),
        "loggamma_slope_lanes_{bits}",
    ),
    "ppl.kernels.cpu.draws.keys": ("mix_time", "row_ids", "row_keys", "window_keys"),
    "ppl.kernels.cpu.memory.guards": ("inside", "part_of", "rest_of"),
    "ppl.kernels.cpu.memory.layout": ("chunk_rows", "longest_slab", "slab_count", "tile_rows"),
    "ppl.kernels.cpu.memory.prefetch": ("AHEAD", "to_read", "to_write"),
    "ppl.kernels.cpu.memory.vectors": ("prefer_full_width",),
    "ppl.kernels.cpu.memory.views": ("all_set", "clear", "part", "tail"),
    "ppl.kernels.cpu.parallel.parts": ("on_threads",),
    "ppl.kernels.cpu.parallel.regions": (
        *("address", "alive_until", "array_at", "array_of", "copied_to", "data_place", "fill_words", "number_at"),
        *("place", "run_slabs", "word_at", "work_places"),
    ),
    "ppl.kernels.cpu.parallel.single": ("single",),
    "ppl.kernels.cpu.parallel.slabs": ("add_slabs", "max_slabs", "merge_slabs", "share_start", "slab_start"),
    "ppl.kernels.cpu.products.blas": ("gemm_{bits}", "enter_single", "leave_single"),
    "ppl.kernels.cpu.{bits}.matrices": ("cholesky_{bits}", "lu_{bits}", "lu_solve_{bits}", "solve_lower_{bits}"),
    "ppl.kernels.cpu.products.running": ("cumulate",),
    "ppl.kernels.cpu.products.sparse": ("data_gemm_{bits}",),
    "ppl.kernels.cpu.results": ("put", "put_whole", "whole"),
    "ppl.kernels.cpu.{bits}.rows": ("fill_columns_{bits}", "fill_rows_{bits}", "fill_windows_{bits}"),
    "ppl.kernels.cpu.training.copies": ("own_copy",),
    "ppl.kernels.cpu.training.optimizers": ("all_finite", "bounded"),
    "ppl.kernels.cpu.training.rules": ("row_step", "step_on"),
    "ppl.kernels.cpu.training.parallel_optimizers": ("update",),
    "ppl.kernels.cpu.training.scatter": ("gather_rows", "gather_share", "link", "owned"),
    **SCALARS,
    "ppl.kernels.symbols": ("shared",),
}

CUDA: Places = {
    "ppl.kernels.cuda.compat": (
        *(
            "THREADS",
            "block",
            "cuda",
            "here",
            ("device", "jit"),
            "kernel",
            "narrow",
            "quotient",
            "strides",
            "thread",
            "together",
        ),
    ),
    "ppl.kernels.cuda.checks": ("inside", "part_of", "rest_of"),
    "ppl.kernels.cuda.draws": (
        *("binomial_lanes_{bits}", "binomial_row_{bits}", "binomial_block_{bits}"),
        *("loggamma_lanes_{bits}", "loggamma_row_{bits}", "loggamma_block_{bits}", "loggamma_slope_lanes_{bits}"),
        *("poisson_lanes_{bits}", "poisson_row_{bits}", "poisson_block_{bits}"),
        *("vonmises_lanes_{bits}", "vonmises_row_{bits}", "vonmises_block_{bits}"),
    ),
    "ppl.kernels.cuda.launch": ("blocks_for",),
    "ppl.kernels.cuda.memory": (
        *("add_slabs", "all_set", "clear", "fill", "max_slabs", "merge_slabs", "prefer_full_width"),
        *("share_start", "tail"),
    ),
    "ppl.kernels.cuda.noise": (
        *("fill_columns_{bits}", "fill_rows_{bits}", "mix_time", "numbered", "row_ids", "row_keys"),
    ),
    "ppl.kernels.cuda.products": (
        *("cumulate", "gemm_{bits}", ("gemm_{bits}", "data_gemm_{bits}"), "tiles", "TILES"),
        *("product_{bits}", ("product_{bits}", "data_product_{bits}")),
        *((name, name + "_{bits}") for name in ("cholesky", "lu", "lu_solve", "solve_lower")),
    ),
    "ppl.kernels.cuda.scalar": (("{bits}", "m"), "mix", "uniform_{bits}"),
    "ppl.kernels.cuda.users": ("attempt", "judged", "listed", "put", "put_whole", "whole"),
    "ppl.kernels.cuda.teams": (
        *(f"{what}_{kind}" for kind in ("float32", "float64", "int64") for what in ("amax", "argmax", "sum")),
        *("SHARED", "team_together"),
    ),
}


CALLING: Places = {
    **CUDA,
    "ppl.kernels.cuda.compat": tuple(x for x in CUDA["ppl.kernels.cuda.compat"] if x != "kernel"),
    "ppl.kernels.cuda.users": (*CUDA["ppl.kernels.cuda.users"], ("calling", "kernel")),
}
"""The same for programs that call users' functions."""


def imports(places: Places, bits: str) -> list[Import]:
    """Imports of the names at `places`, for programs of the dtype `bits`."""
    found = []
    for module, names in places.items():
        for entry in names:
            name, known = entry if isinstance(entry, tuple) else (entry, entry)
            found.append(Import(*(text.format(bits=bits) for text in (module, name, known))))
    return found


class Externals(NamedTuple):
    """Users' functions: imports and versions of those that can be imported and hashed; the others, to be `injected`."""

    imports: list[Import]
    versions: list[Assign]
    injected: dict[str, Any]


def externals(functions: Mapping[str, Any]) -> Externals:
    """Where users' functions are, by the names that emitted code knows them by."""
    from ppl.kernels.adopted import adopt

    found, versions, injected = [], {}, {}
    for name, fn in functions.items():
        plain = getattr(fn, "py_func", fn)
        module, qualname = getattr(plain, "__module__", None), getattr(plain, "__qualname__", "")
        known = getattr(sys.modules.get(module or ""), qualname, None)
        version = adopt(fn)
        if module is not None and known is fn and module != "__main__" and version is not None:
            found.append(Import(module, qualname, name))
            versions[name] = version
        else:
            injected[name] = fn
    return Externals(found, [assign("EXTERNALS", Literal(versions))] if versions else [], injected)
