"""Numba's private parts: all that the package imports, reads or patches of Numba that Numba does not promise.

Every other module uses `numba`, `numba.types`, `numba.extending`, `numba.core.errors` and what stands in this folder;
the private parts of numba-cuda stand in `ppl.kernels.cuda`: `ptx`, `users` and `simulated`. Code generators also use
what Numba's guide to extending shows: `cgutils`, the arrays and values of a target context.
`tests/kernels/test_private_parts.py` holds modules to that; `test_internals.py` and `test_internal_calls.py` beside it
test each part, so that a version of Numba which changes one says which.

Five names are Numba's own: `cgutils`, code of common things; `CompileResult`, machine code and what is known of it;
`dumps`, pickling of functions too; `global_compiler_lock`, which its holder may take again; and `normalize_signature`,
(arguments, result) of a signature in words."""

from numba.core import cgutils
from numba.core.compiler import CompileResult
from numba.core.compiler_lock import global_compiler_lock
from numba.core.serialize import dumps
from numba.core.sigutils import normalize_signature

from ppl.kernels.internals.arrays import BLAS_PRODUCT, array_data, array_shape, ensure_blas, entry_bytes, flat_array
from ppl.kernels.internals.calls import (
    STATUS,
    WORD,
    c_function,
    call_address,
    call_compiled,
    call_signature,
    call_symbol,
    described,
    emit_raise_again,
    emit_raised,
    emit_region,
)
from ppl.kernels.internals.dispatchers import (
    Cache,
    address,
    compile_under_own_settings,
    compiled,
    has_disk_cache,
    intrinsic_function,
    is_compiled,
    is_for_cpu,
    jitclass_parts,
    options,
    overloaded_attributes,
    overloads_of,
    patch_signatures,
    recompile_all,
    redirect_compiled_callers,
    refresh,
    set_cache,
    skip_search_for_extensions,
    ufunc_parts,
    watch,
)
from ppl.kernels.internals.machine_code import (
    attach,
    attach_to_caller,
    can_be_kept,
    has_needed_machine_code,
    patch_environment_loading,
    patch_kept_requirements,
    patch_library_reading,
    processor,
    rebuilt,
    reduced,
)
from ppl.kernels.internals.savings import (
    import_blas_alone,
    patch_array_typing,
    patch_events,
    patch_pass_managers,
    patch_registries,
    ready_to_load,
    without_events,
)

TRIED = ("0.63.0", "0.68.1")
"""Versions of Numba with which the tests pass, from the lowest to the highest; `pyproject.toml` allows no others."""


def patch_numba() -> None:
    """Change what importing the package changes in Numba: all of it, once for the process."""
    import_blas_alone()
    patch_library_reading()
    patch_kept_requirements()
    patch_environment_loading()
    patch_array_typing()
    patch_events()
    patch_signatures()
    patch_pass_managers()
    patch_registries()


__all__ = [
    "BLAS_PRODUCT",
    "STATUS",
    "TRIED",
    "WORD",
    "Cache",
    "CompileResult",
    "address",
    "array_data",
    "array_shape",
    "attach",
    "attach_to_caller",
    "c_function",
    "call_address",
    "call_compiled",
    "call_signature",
    "call_symbol",
    "can_be_kept",
    "cgutils",
    "compile_under_own_settings",
    "compiled",
    "described",
    "dumps",
    "emit_raise_again",
    "emit_raised",
    "emit_region",
    "ensure_blas",
    "entry_bytes",
    "flat_array",
    "global_compiler_lock",
    "has_disk_cache",
    "has_needed_machine_code",
    "intrinsic_function",
    "is_compiled",
    "is_for_cpu",
    "jitclass_parts",
    "normalize_signature",
    "options",
    "overloaded_attributes",
    "overloads_of",
    "patch_environment_loading",
    "patch_events",
    "patch_kept_requirements",
    "patch_numba",
    "patch_pass_managers",
    "processor",
    "ready_to_load",
    "rebuilt",
    "recompile_all",
    "redirect_compiled_callers",
    "reduced",
    "refresh",
    "set_cache",
    "skip_search_for_extensions",
    "ufunc_parts",
    "watch",
    "without_events",
]
