"""The checked build, ``PPL_CHECK=1``: every read and write is tested against the buffer that it belongs to.

Emitted code passes every address through a test against the extent of its value; kernels are compiled with tests of
bounds, views are cut to what their value owns, and products, whose LLVM and BLAS cannot be instrumented, test their
extents on entry. Guard words stand between all buffers and are looked at after each call. Any violation is a
`ppl.errors.MemoryCheckError`. Parallel loops run their slabs one after another, but are cut in the same way.
"""

from __future__ import annotations

import os

CHECKED = os.environ.get("PPL_CHECK", "") not in ("", "0")
"""Whether this process compiles, and runs, the checked build."""
