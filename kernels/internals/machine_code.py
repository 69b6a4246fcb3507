"""Libraries of machine code, one for each compiled function, and the form in which they are kept on disk."""

from __future__ import annotations

import sys
import uuid
from typing import Any

import llvmlite.binding as llvm
from llvmlite.binding import Linkage
from numba.core import cgutils, environment
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompileResult
from numba.core.compiler_lock import global_compiler_lock

ENVIRONMENT_PREFIX = "_ZN08NumbaEnv"
"""How the names begin by which code finds what Python keeps for it."""

LINKED, MACHINE = "linked", "machine"
"""The kinds of a library on disk: LLVM code only; machine code, with LLVM code for those who link it."""


class OwnCopiesLibrary(JITCodeLibrary):
    """A library for one function, which calls its own copies of what is linked to it.

    Relies on `_optimize_final_module`, which runs when all is linked. Numba lets copies of a function stand for one
    another: a call that is not inlined runs the copy that the process has loaded first. Copies are optimised with their
    callers, and may differ in the last bits; which one came first differed between a process that compiles and one that
    reads machine code.

    The copies have names of their own. LLVM is free to change what they take and how they are called; and the loader
    looks names up among all functions, so that another library would be given such a copy for the function itself.

    Of one that is read from disk, LLVM code is parsed when a caller links it: who calls machine code needs none.
    """

    _bitcode: bytes | None = None

    @classmethod
    def loaded(cls, codegen: Any, name: str, code: tuple[bytes, bytes, tuple[str, ...]]) -> OwnCopiesLibrary:
        """A library from disk: machine code, LLVM code, and the names that they define.

        Relies on: Numba's `_unserialize` does the same, and parses LLVM code for the names.
        """
        self = cls(codegen, name)
        machine, self._bitcode, names = code
        self.enable_object_caching()
        self._set_compiled_object(machine)
        self._finalize_final_module()
        codegen._engine._defined_symbols.update(names)
        return self

    def serialize_using_object_code(self) -> tuple[str, str, Any]:
        """What is kept on disk."""
        self._ensure_finalized()
        module = self._get_module_for_linking()
        every = (x for found in (module.functions, module.global_variables) for x in found)
        names = tuple(x.name for x in every if not x.is_declaration)
        return self.name, MACHINE, (self._get_compiled_object(), module.as_bitcode(), names)

    def _get_module_for_linking(self) -> Any:
        if self._bitcode is not None and self._shared_module is None:
            self._shared_module = llvm.parse_bitcode(self._bitcode)
        return super()._get_module_for_linking()

    def _optimize_final_module(self) -> None:
        own = f".{uuid.uuid4().hex}"
        for fn in self._final_module.functions:
            if not fn.is_declaration and fn.linkage == Linkage.linkonce_odr:
                fn.linkage = "internal"
                fn.name += own
        super()._optimize_final_module()


class LinkedLibrary(OwnCopiesLibrary):
    """The library of a function that is linked into its callers, of which nobody may ever ask for its address.

    Its LLVM code is optimised, and kept on disk; machine code is made of it when an address in it is asked for. Code
    that uses what Python keeps for it has machine code at once, as its callers refer to the place of that.

    Relies on: Numba makes a library ready for use in `_finalize_final_module`; asks each for the address of a wrapper
    for Python, which these functions have not; and sets what Python keeps through `codegen`.
    """

    def __init__(self, codegen: Any, name: str):
        super().__init__(codegen, name)
        self._made, self._reads = False, False
        self._kept: list[tuple[str, Any]] = []
        self._code: tuple[tuple[str, ...], bytes] | None = None

    @classmethod
    def read(cls, codegen: Any, name: str, code: tuple[tuple[str, ...], bytes]) -> LinkedLibrary:
        """A library of LLVM code from disk: its functions' names, and the code."""
        self = cls(codegen, name)
        self.enable_object_caching()
        self._code, self._finalized, self._disable_inspection = code, True, True
        return self

    @property
    def codegen(self) -> Any:
        """What Numba sets what Python keeps through: later, if there is no machine code."""
        return self._codegen if self._made else _DeferredCodegen(self)

    @property
    def made(self) -> bool:
        """Whether there is machine code."""
        return self._made

    def add_ir_module(self, ir_module: Any) -> None:
        """Add LLVM code, as Numba does; and see whether it uses more than it declares."""
        text = cgutils.normalize_ir_text(str(ir_module))
        self._reads |= text.count(ENVIRONMENT_PREFIX) > 1
        module = llvm.parse_assembly(text)
        module.name = ir_module.name
        module.verify()
        self.add_llvm_module(module)

    def get_pointer_to_function(self, name: str) -> int:
        """The address of a function, for which machine code is made, by the first thread that asks; 0 for others."""
        self._ensure_finalized()
        with global_compiler_lock:
            if not self._made:
                if name not in self._names():
                    return 0
                self._make()
            return int(super().get_pointer_to_function(name))

    def serialize_using_object_code(self) -> tuple[str, str, Any]:
        """What is kept on disk: with machine code if there is any."""
        self._ensure_finalized()
        if self._made:
            return super().serialize_using_object_code()
        return self.name, LINKED, self._code or (self._names(), self._get_module_for_linking().as_bitcode())

    def _names(self) -> tuple[str, ...]:
        if self._code is not None:
            return self._code[0]
        found = [fn for fn in self._final_module.functions if not fn.is_declaration]
        return tuple(fn.name for fn in found if fn.linkage == Linkage.external)

    def _get_module_for_linking(self) -> Any:
        if self._code is not None and self._shared_module is None:
            self._shared_module = llvm.parse_bitcode(self._code[1])
        return super()._get_module_for_linking()

    def _finalize_final_module(self) -> None:
        if self._reads:
            self._make()
            return
        self._finalize_dynamic_globals()
        self._verify_declare_only_symbols()
        self._finalized = True

    def _make(self) -> None:
        if self._code is not None:
            self._final_module = self._get_module_for_linking().clone()
            for name in self._names():
                self._final_module.get_function(name).linkage = "external"
        self._made = True
        super()._finalize_final_module()
        for name, kept in self._kept:
            self._codegen.set_env(name, kept)


class _DeferredCodegen:
    """Stands for the code generator of a library without machine code."""

    def __init__(self, library: LinkedLibrary):
        self._library = library

    def set_env(self, name: str, environment: Any) -> None:
        """Remember to set it."""
        self._library._kept.append((name, environment))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._library._codegen, name)


def new_library(state: Any) -> Any:
    """An empty library for the function that is compiled."""
    fn, flags = state.func_id.func, state.flags
    called = not (flags.no_cpython_wrapper and flags.no_cfunc_wrapper) or is_address_needed(fn)
    library = (OwnCopiesLibrary if called else LinkedLibrary)(state.targetctx.codegen(), state.func_id.func_qualname)
    library.enable_object_caching()
    return library


def mark_address_needed(fn: Any) -> None:
    """Remember that machine code of a function is reached by its address, so that it is kept on disk."""
    vars(fn)["has_address"] = True


def is_address_needed(fn: Any) -> bool:
    """Whether machine code of a function is reached by its address."""
    return "has_address" in vars(fn)


def has_needed_machine_code(result: Any, fn: Any) -> bool:
    """Whether what was read from disk has machine code, if any is needed."""
    return not (is_address_needed(fn) and isinstance(result.library, LinkedLibrary) and not result.library.made)


def patch_library_reading() -> None:
    """Patch: Numba reads these libraries from disk, too."""
    numbas = JITCodeLibrary._unserialize.__func__
    if hasattr(numbas, "reads_linked"):
        return

    def _unserialize(cls: Any, codegen: Any, state: Any) -> Any:
        name, kind, data = state
        if kind == LINKED:
            return LinkedLibrary.read(codegen, name, data)
        return OwnCopiesLibrary.loaded(codegen, name, data) if kind == MACHINE else numbas(cls, codegen, state)

    vars(_unserialize)["reads_linked"] = True
    JITCodeLibrary._unserialize = classmethod(_unserialize)


def can_be_kept(result: CompileResult) -> bool:
    """Whether machine code means the same in another process: no addresses in it, no lifted loops that have some."""
    return not result.library.has_dynamic_globals and all(x.can_cache for x in result.lifted)


def reduced(result: CompileResult) -> tuple[Any, ...]:
    """Machine code in a form that `dumps` writes."""
    return result._reduce()


def rebuilt(target_context: Any, payload: tuple[Any, ...]) -> CompileResult:
    """Machine code of what `reduced` has returned."""
    return CompileResult._rebuild(target_context, *payload)


def processor(codegen: Any) -> tuple[Any, ...]:
    """The processor and its features for which a code generator compiles."""
    return codegen.magic_tuple()


def attach(result: CompileResult, need: Any) -> None:
    """Have `need` called before machine code, or that of its callers, is loaded in another process.

    Relies on `reload_init`, stored with machine code, and on `_reload_init`, which callers take over when they link.
    """
    if need not in result.reload_init:
        result.reload_init.append(need)
    result.library._reload_init.add(need)


def attach_to_caller(context: Any, need: Any) -> None:
    """As `attach`, for the function that is being lowered."""
    context.active_code_library._reload_init.add(need)


def patch_kept_requirements() -> None:
    """Patch: machine code that Numba loads keeps what its callers will need before they are loaded."""
    numbas = CompileResult._rebuild.__func__
    if hasattr(numbas, "forgets"):
        return

    def _rebuild(cls: Any, target_context: Any, *reduced: Any, **named: Any) -> Any:
        result = numbas(cls, target_context, *reduced, **named)
        result.library._reload_init.update(result.reload_init or ())
        return result

    _rebuild.forgets = numbas
    CompileResult._rebuild = classmethod(_rebuild)


def patch_environment_loading() -> None:
    """Patch: what machine code of Numba's own functions keeps for Python is read without these functions' modules.

    Relies on: an environment's constants are what compiled code reads of it, and its globals only what runs objects
    of Python. Numba imports the module for the globals: for ``np.empty`` all that it knows of arrays and strings.
    """
    numbas = environment._rebuild_env
    if hasattr(numbas, "imports"):
        return

    def _rebuild_env(modname: str, consts: list[Any], env_name: str) -> Any:
        known = environment.lookup_environment(env_name)
        if known is not None or consts or modname in sys.modules or not modname.startswith("numba."):
            return numbas(modname, consts, env_name)
        found = environment.Environment({"__name__": modname})
        found.env_name = env_name
        environment.Environment._memo[env_name] = found
        return found

    _rebuild_env.imports = numbas
    _rebuild_env.__module__, _rebuild_env.__qualname__ = numbas.__module__, numbas.__qualname__  # for pickles
    environment._rebuild_env = _rebuild_env
