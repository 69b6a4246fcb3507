"""Numba's private parts: all that the package imports, reads or patches of Numba that Numba does not promise.

Every other module uses `numba`, `numba.types`, `numba.extending`, `numba.core.errors` and what stands in this folder;
the private parts of numba-cuda stand in `ppl.kernels.cuda`: `ptx`, `users` and `simulated`. Code generators also use
what Numba's guide to extending shows: `cgutils`, the arrays and values of a target context.
`tests/kernels/test_private_parts.py` holds modules to that; `test_internals.py` and `test_internal_calls.py` beside it
test each part, so that a version of Numba which changes one says which.

Five names are Numba's own: `cgutils`, code of common things; `CompileResult`, machine code and what is known of it;
`dumps`, pickling of functions too; `global_compiler_lock`, which its holder may take again; and `normalize_signature`,
(arguments, result) of a signature in words.
"""

from numba.core import cgutils
from numba.core.compiler import CompileResult
from numba.core.compiler_lock import global_compiler_lock
from numba.core.serialize import dumps
from numba.core.sigutils import normalize_signature

from ppl.kernels.internals.arrays import BLAS_PRODUCT, array_data, array_shape, ensure_blas, entry_bytes, flat_array
from ppl.kernels.internals.blas import blas_alone
from ppl.kernels.internals.c_functions import STATUS, c_function
from ppl.kernels.internals.calls import (
    WORD,
    call_address,
    call_compiled,
    call_signature,
    call_symbol,
    described,
    raise_again,
    raised_by,
    region_of,
)
from ppl.kernels.internals.dispatchers import (
    Cache,
    address,
    call_others,
    compile_again,
    compile_alone,
    compiled,
    find_extensions_later,
    is_kept,
    keep_in,
    sign_quickly,
    watch,
)
from ppl.kernels.internals.events import make_few_events, unheard
from ppl.kernels.internals.functions import (
    intrinsic_function,
    is_compiled,
    is_for_cpu,
    jitclass_parts,
    options,
    overloaded_attributes,
    overloads_of,
    refresh,
    ufunc_parts,
)
from ppl.kernels.internals.libraries import is_whole, read_linked
from ppl.kernels.internals.machine_code import (
    attach,
    attach_to_caller,
    can_be_kept,
    lean_environments,
    processor,
    rebuilt,
    reduced,
    remember_needs,
)
from ppl.kernels.internals.passes import free_pass_managers
from ppl.kernels.internals.registries import ready_to_load, type_plain_arrays

TRIED = ("0.63.0", "0.68.1")
"""Versions of Numba with which the tests pass, from the lowest to the highest; `pyproject.toml` allows no others."""

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
    "blas_alone",
    "c_function",
    "call_address",
    "call_compiled",
    "call_others",
    "call_signature",
    "call_symbol",
    "can_be_kept",
    "cgutils",
    "compile_again",
    "compile_alone",
    "compiled",
    "described",
    "dumps",
    "ensure_blas",
    "entry_bytes",
    "find_extensions_later",
    "flat_array",
    "free_pass_managers",
    "global_compiler_lock",
    "intrinsic_function",
    "is_compiled",
    "is_for_cpu",
    "is_kept",
    "is_whole",
    "jitclass_parts",
    "keep_in",
    "lean_environments",
    "make_few_events",
    "normalize_signature",
    "options",
    "overloaded_attributes",
    "overloads_of",
    "processor",
    "raise_again",
    "raised_by",
    "read_linked",
    "ready_to_load",
    "rebuilt",
    "reduced",
    "refresh",
    "region_of",
    "remember_needs",
    "sign_quickly",
    "type_plain_arrays",
    "ufunc_parts",
    "unheard",
    "watch",
]
