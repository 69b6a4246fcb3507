"""Compile functions whose LLVM code is written by a writer, without Numba's front end.

Numba takes most of the time that it needs for a function to read its bytecode and to infer its types. What is known
in advance needs neither. A function with a *writer* (`set_writer`) is compiled by a pipeline of two passes: the
writer writes the body with Numba's own builder, target context and calling convention, and Numba's last pass makes
machine code. Dispatchers, signatures, callers, caches and wrappers are the same. Where a writer refuses
(`NotWritten`), Numba compiles the Python function as it compiles any other.

Alias scopes and loop metadata, which llvmlite has no words for, stand here too."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from llvmlite import ir
from llvmlite.ir.values import MDValue
from numba import types
from numba.core import cgutils
from numba.core.compiler import Compiler
from numba.core.compiler_machinery import PassManager, register_pass
from numba.core.environment import Environment
from numba.core.errors import NumbaError
from numba.core.fastmathpass import rewrite_module
from numba.core.typed_passes import BaseNativeLowering, NoPythonBackend

from ppl.errors import uncoloured
from ppl.kernels.internals.arrays import array_data, array_of, array_shape
from ppl.kernels.internals.machine_code import new_library
from ppl.kernels.internals.savings import all_registries, few_registries, link_runtime

__all__ = ["Frame", "NotWritten", "WriterCompiler", "set_writer"]


class _SelfReferringNode(MDValue):
    """A node that refers to itself, and so is no other one: not that of a copy of the function either."""

    def __init__(self, module: ir.Module, *others: MDValue):
        super().__init__(module, (), str(len(module.metadata)))
        self.operands = (self, *others)

    __eq__ = object.__eq__
    __hash__ = object.__hash__


def alias_scopes(module: ir.Module, count: int) -> list[tuple[Any, Any]]:
    """For each of `count` scopes: the list that holds it alone, and that of all others."""
    domain = _SelfReferringNode(module)
    found = [_SelfReferringNode(module, domain) for _ in range(count)]
    return [(module.add_metadata([x]), module.add_metadata([y for y in found if y is not x])) for x in found]


def keep_loop_rolled(branch: Any, vectors: bool) -> None:
    """Have the loop that ends in `branch` made of vectors, if it can be, before anybody writes its turns out.

    With `vectors`, what no vectors fill is masked, and the turns of the loop over vectors are written out, so that the
    masks are constants.
    """
    module = branch.function.module
    facts = [module.add_metadata(["llvm.loop.unroll.disable"])]
    if vectors:
        facts.append(module.add_metadata(["llvm.loop.vectorize.predicate.enable", ir.Constant(ir.IntType(1), 1)]))
        full = module.add_metadata(["llvm.loop.unroll.full"])
        facts.append(module.add_metadata(["llvm.loop.vectorize.followup_vectorized", full]))
    loop = _SelfReferringNode(module, *facts)
    branch.set_metadata("llvm.loop", loop)


def mark_with_scope(instructions: list[Any], scope: tuple[Any, Any]) -> None:
    """Say of the reads and writes among `instructions` that they are in a scope, and in no other one."""
    for x in instructions:
        if isinstance(x, ir.LoadInstr | ir.StoreInstr):
            x.set_metadata("alias.scope", scope[0])
            x.set_metadata("noalias", scope[1])


Result = Any
"""A type of Numba."""


class NotWritten(NumbaError):
    """Raised by a writer for what it cannot write."""


class UnknownToNumba(NotWritten):
    """Raised for what a writer needs and Numba does not know, or not yet."""


class OtherResultType(Exception):
    """Raised by a writer that finds another type of result than it was told."""

    def __init__(self, result: Result):
        super().__init__(result)
        self.result = result


class Frame:
    """The function that a writer fills: its arguments, and what Numba builds code with."""

    def __init__(self, context: Any, builder: Any, scope: dict[str, Any], names: Sequence[str], kinds: Sequence[Any],
                 values: Sequence[Any], result: Result):  # fmt: skip
        self.context, self.builder, self.scope = context, builder, scope
        self.arguments = list(zip(names, kinds, values, strict=True))
        self.result = result
        self.typing = context.typing_context

    def signature(self, function: Any, kinds: tuple[Any, ...]) -> tuple[Any, Any]:
        """The signature by which `function`, a value of Python, is called with arguments of `kinds`, and its type."""
        kind = self._kind(function)
        found = self.typing.resolve_function_type(kind, kinds, {})
        if found is None:
            raise UnknownToNumba(f"no call of {function} with {kinds}")
        return found, kind

    def _kind(self, function: Any) -> Any:
        """The type of a function; what is registered by its name is looked up first.

        Relies on `_lookup_global`; `resolve_value_type` asks there last, after it has imported cffi to ask that.
        """
        known = None if isinstance(function, type) else self.typing._lookup_global(function)
        return self.typing.resolve_value_type(function) if known is None else known

    def call(self, signature: Any, kind: Any, values: Sequence[Any]) -> Any:
        """Emit a call; what it raises is raised."""
        return self.context.get_function(kind, signature)(self.builder, list(values))

    def cast(self, value: Any, old: Any, new: Any) -> Any:
        """Emit a conversion."""
        return value if old == new else self.context.cast(self.builder, value, old, new)

    def array(self, kind: Any, value: Any) -> tuple[Any, list[Any]]:
        """Pointer and shape of an array."""
        return array_data(self.builder, value), array_shape(self.builder, kind, value)

    def packed(self, kind: Any, data: Any, shape: Sequence[Any]) -> Any:
        """An array of which no references are counted."""
        return array_of(self.context, self.builder, kind, data, shape)

    def load(self, kind: Any, place: Any) -> Any:
        """Emit: read an entry of an array of `kind`."""
        return self.context.unpack_value(self.builder, kind, place)

    def store(self, kind: Any, value: Any, place: Any) -> None:
        """Emit: write an entry of an array of `kind`."""
        self.context.pack_value(self.builder, kind, value, place)

    def scopes(self, count: int) -> list[tuple[Any, Any]]:
        """Kinds of memory of the function that never overlap, for `marked`."""
        return alias_scopes(self.builder.module, count)

    @contextlib.contextmanager
    def marked(self, scope: tuple[Any, Any] | None) -> Iterator[None]:
        """Reads and writes that are emitted inside, in one block, are of memory of that kind."""
        instructions = self.builder.block.instructions
        before = len(instructions)
        yield
        if scope is not None:
            mark_with_scope(instructions[before:], scope)

    def as_written(self) -> None:
        """Have the function translated as it is written, in time linear in its length; what it calls is optimised."""
        for attribute in ("noinline", "optnone"):
            self.builder.function.attributes.add(attribute)

    def rolled(self, branch: Any, vectors: bool) -> None:
        """Have the loop that ends in `branch` made of vectors first, if it can be; `vectors`: then write these out."""
        keep_loop_rolled(branch, vectors)

    def pointer(self, kind: Any) -> Any:
        """The type of a pointer to entries of `kind`."""
        return self.context.get_data_type(kind).as_pointer()

    def constant(self, kind: Any, value: Any) -> Any:
        """A constant."""
        return self.context.get_constant(kind, value)

    def dummy(self) -> Any:
        """The value of what has none."""
        return self.context.get_dummy_value()

    def tuple(self, kinds: Sequence[Any], values: Sequence[Any]) -> tuple[Any, Any]:
        """Type and value of several values."""
        kind = types.BaseTuple.from_types(tuple(kinds))
        return kind, self.context.make_tuple(self.builder, kind, values)

    def release(self, kind: Any, value: Any) -> None:
        """Emit: give back the reference that a call has returned; arguments of the function keep the array alive."""
        self.context.nrt.decref(self.builder, kind, value)

    def give(self, kind: Result, value: Any) -> None:
        """Emit: return a value of `kind`."""
        if kind != self.result:
            raise OtherResultType(kind)
        found = self.context.get_return_value(self.builder, kind, value)
        self.context.call_conv.return_value(self.builder, found)

    def local(self, kind: Any) -> Any:
        """A place for a local at the beginning of the function."""
        return cgutils.alloca_once(self.builder, kind)

    def words(self, count: int) -> Any:
        """A place for `count` whole numbers, as long as the function runs."""
        return cgutils.alloca_once(self.builder, ir.IntType(64), count)


class Writer(Protocol):
    """Writes one function, and says the likely type of its result."""

    def result(self) -> Result:
        """The type to try first."""

    def write(self, frame: Frame) -> None:
        """Write the code."""


def set_writer(fn: Callable[..., Any], writer: Writer) -> None:
    """Have `writer` write the code of `fn`."""
    fn.__dict__["writer"] = writer


class _WriterLowering:
    """What stands for Numba's lowering of a function that has a writer.

    Relies on: Numba's `post_lowering` also links the runtime, which few need, and does more on 32 bits only.
    """

    def __init__(self, context: Any, library: Any, fndesc: Any, func_ir: Any, metadata: Any = None):
        self.library, self.fndesc = library, fndesc
        self.module = library.create_ir_module(fndesc.unique_name)
        self.env = Environment.from_fndesc(fndesc)
        self.context = context.subtarget(environment=self.env, fndesc=fndesc)
        self.func_ir = func_ir

    def lower(self) -> None:
        context, fndesc = self.context, self.fndesc
        context.declare_env_global(self.module, context.get_env_name(fndesc))
        function = context.declare_function(self.module, fndesc)
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        self.call_helper = context.call_conv.init_call_helper(builder)
        values = context.call_conv.decode_arguments(builder, fndesc.argtypes, function)
        fn = self.func_ir.func_id.func
        frame = Frame(context, builder, fn.__globals__, fndesc.args, fndesc.argtypes, values, fndesc.restype)
        fn.writer.write(frame)
        if context.is32bit or any(known.name.startswith("NRT_") for known in self.module.functions):
            link_runtime(context, self.library)
            context.post_lowering(self.module, self.library)
        elif context.fastmath:
            rewrite_module(self.module, context.fastmath)
        self.library.add_ir_module(self.module)

    def create_cpython_wrapper(self, release_gil: bool = False) -> None:
        link_runtime(self.context, self.library)
        self.context.create_cpython_wrapper(
            self.library, self.fndesc, self.env, self.call_helper, release_gil=release_gil
        )

    def create_cfunc_wrapper(self) -> None:
        link_runtime(self.context, self.library)
        self.context.create_cfunc_wrapper(self.library, self.fndesc, self.env, self.call_helper)


class _FunctionStub:
    """What Numba reads of a function's IR beside its code."""

    def __init__(self, func_id: Any):
        self.func_id, self.arg_names = func_id, list(func_id.arg_names)
        self.loc = None


@register_pass(mutates_CFG=True, analysis_only=False)
class _WritePass(BaseNativeLowering):
    """Numba's pass of lowering, with a writer."""

    _name = "ppl_write"

    @property
    def lowering_class(self) -> Any:
        return _WriterLowering

    def run_pass(self, state: Any) -> bool:
        state.func_ir, state.calltypes = _FunctionStub(state.func_id), {}
        names = state.func_id.arg_names
        state.typemap = {f"arg.{name}": kind for name, kind in zip(names, state.args, strict=True)}
        state.return_type = state.func_id.func.writer.result()
        try:
            for _ in range(2):
                try:
                    return super().run_pass(state)
                except OtherResultType as found:
                    state.library, state.return_type = new_library(state), found.result
            raise NotWritten("results of several types")
        except Exception as error:  # whatever is wrong with the writer, Numba compiles the function, or says why not
            state.library = state.func_ir = state.typemap = state.calltypes = state.return_type = None
            refusals[state.func_id.func] = uncoloured(error)
            raise (NotWritten if type(error) is NotWritten else UnknownToNumba)(str(error)) from error


refusals: weakref.WeakKeyDictionary[Callable[..., Any], str] = weakref.WeakKeyDictionary()
"""Why the writer of a function has refused it."""


class WriterCompiler(Compiler):
    """Numba's compiler, but for functions with a writer."""

    frugal = True

    def define_pipelines(self) -> list[Any]:
        """Numba's pipelines, or that of the writer."""
        if not self.direct:
            return super().define_pipelines()
        manager = PassManager("ppl_written")
        manager.add_pass(_WritePass, "write LLVM code")
        manager.add_pass(NoPythonBackend, "machine code")
        manager.finalize()
        return [manager]

    direct = False

    def _compile_core(self) -> Any:
        self.direct = hasattr(self.state.func_id.func, "writer")
        for registries in (few_registries, all_registries) if self.direct else ():
            refusals.pop(self.state.func_id.func, None)
            try:
                return self._compile_with(registries)
            except UnknownToNumba:
                continue
            except NotWritten:
                break
        self.direct = False
        return self._compile_with(all_registries)

    def _compile_with(self, registries: Any) -> Any:
        """Compile into a library of its own, with so many registries."""
        self.state.status.fail_reason = None
        self.state.library = new_library(self.state)
        with registries():
            self.state.targetctx.refresh()
            return super()._compile_core()
