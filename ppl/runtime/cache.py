"""Emitted modules: run from their source, which is also written to disk under a name that hashes it.

The file is for readers and debuggers, and beside it lies the machine code (`ppl.kernels.code_cache.machine_code`). What
is run is the source in memory, so that files that are garbled, or cannot be written, do no harm
(`ppl.kernels.code_cache.trusted_files`)."""

from __future__ import annotations

import hashlib
import importlib.util
import linecache
import secrets
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from ppl.checked import CHECKED
from ppl.compiler.emit import llvm
from ppl.compiler.emit.code import Function

_lock = threading.RLock()  # another thread must not see a module before it has been executed


def load(
    source: str, injected: Mapping[str, Any] | None = None, functions: Sequence[Function] = (), dtype: str = "float32"
) -> ModuleType:
    """Run emitted `source`, of which `functions` are the records.

    Globals that are `injected` (functions that cannot be imported, or hashed) keep it off the disk.

    Machine code that calls an injected function is of no use to another process, nor to another function under the same
    name, so such a module gets a name of its own.
    """
    from ppl.kernels.code_cache.machine_code import EMITTED_PREFIX, PRIVATE_PREFIX
    from ppl.kernels.code_cache.versions import build_version  # imports Numba

    if injected:
        return _with_writers(_run(f"{PRIVATE_PREFIX}{secrets.token_hex(16)}", source, None, injected), functions, dtype)
    unwritten = "".join(f"{f.name}{f.noalias}" for f in functions if f.noalias)
    hashed = hashlib.blake2b((source + unwritten + build_version() + llvm.version()).encode(), digest_size=16)
    name = EMITTED_PREFIX + hashed.hexdigest()
    with _lock:
        if name not in sys.modules:
            _with_writers(_run(name, source, _written(name, source), {}), functions, dtype)
        return sys.modules[name]


def _with_writers(module: ModuleType, functions: Sequence[Function], dtype: str) -> ModuleType:
    """`module`, whose functions have their LLVM code written from records; Numba compiles the checked build's."""
    from ppl.kernels.internals.lowering import set_writer  # imports Numba

    for function in functions:
        compiled = vars(module)[function.name]
        if function.form in llvm.FORMS and not CHECKED and hasattr(compiled, "py_func"):
            set_writer(compiled.py_func, llvm.Writer(function, dtype))
    return module


def _written(name: str, source: str) -> Path | None:
    """The file of a module, with its content; None where it cannot be written."""
    from ppl.kernels.code_cache import trusted_files  # not before something is compiled

    folder = trusted_files.writable_user_folder()
    if folder is None:
        return None
    path, content = folder / f"{name}.py", source.encode()
    reason = (
        ""
        if trusted_files.read_trusted(path, trusted_files.trusted_owners()) == content
        else trusted_files.write_whole(path, content)
    )
    if reason:
        trusted_files.warn_kept_in_memory(reason)
    return None if reason else path


def _run(name: str, source: str, path: Path | None, injected: Mapping[str, Any]) -> ModuleType:
    """A module of `source`; a cached one is known under its name."""
    file = f"<{name}>" if path is None else str(path)
    spec = importlib.util.spec_from_loader(name, None, origin=file)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    module.__dict__.update(injected)
    module.__file__ = file
    linecache.cache[file] = len(source), None, source.splitlines(keepends=True), file
    code = compile(source, file, "exec")
    if not injected:
        sys.modules[name] = module
    try:
        exec(code, module.__dict__)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module
