"""`dataclass` as of the standard library, for the many classes of this package: cheap to declare.

The standard decorator writes up to six methods as source and compiles them while a module is imported, for all classes,
of which a program uses a few. Here the source of a method is written and compiled when it is first called.
Options: `frozen`, `eq`, `repr`, `init` and `slots`; `field` and other functions of `dataclasses` work as ever, and
either kind of class may derive from the other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, get_origin

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(cls=None, /, *, frozen=False, eq=True, repr=True, init=True, slots=False):
        """`dataclasses.dataclass`, with methods that are made when they are needed."""

        def decorate(given):
            return _declared(given, SimpleNamespace(frozen=frozen, eq=eq, repr=repr, init=init, slots=slots))

        return decorate if cls is None else decorate(cls)


FIELDS, PARAMS = "__dataclass_fields__", "__dataclass_params__"
"""Where `dataclasses` keeps what it knows of a class: fields by name, and options."""

KIND = vars(dataclasses)["_FIELD"]
"""What `dataclasses` calls a field that is neither a class's variable nor only for ``__init__``."""

Fields = dict[str, Any]


def _declared(cls: Any, params: SimpleNamespace) -> Any:
    """The class with fields and methods; a new one if it has slots."""
    _check_bases(cls, params)
    inherited: Fields = {}
    for base in reversed(cls.__mro__[1:]):
        inherited |= getattr(base, FIELDS, {})
    own = dict(_own_fields(cls))
    every = inherited | own
    _check_order(cls, every)
    if params.slots:
        cls = _with_slots(cls, every)
    setattr(cls, FIELDS, every)
    setattr(cls, PARAMS, params)
    for name, method in _methods(cls, every, params):
        if name not in vars(cls) or (name == "__hash__" and vars(cls)[name] is None):
            setattr(cls, name, method)
    return cls


def _check_bases(cls: Any, params: SimpleNamespace) -> None:
    """A TypeError where a frozen class derives from one that is not, or the other way round."""
    for base in cls.__mro__[1:]:
        if PARAMS in vars(base) and getattr(base, PARAMS).frozen != params.frozen:
            raise TypeError(f"{cls.__name__} and {base.__name__}: both are frozen, or neither")


def _own_fields(cls: Any) -> Iterator[tuple[str, Any]]:
    """The fields that a class declares itself; defaults that are not values are taken off the class."""
    for name, kind in vars(cls).get("__annotations__", {}).items():
        if _is_class_variable(kind):
            continue
        default = vars(cls).get(name, dataclasses.MISSING)
        found: Any = default
        if not isinstance(default, dataclasses.Field):
            found = dataclasses.field(default=default)
        elif default.default is dataclasses.MISSING:
            delattr(cls, name)
        else:
            setattr(cls, name, default.default)
        if found.default.__class__.__hash__ is None:
            raise ValueError(f"{cls.__name__}.{name} begins as a mutable {type(found.default).__name__}: use a factory")
        if found.kw_only is True or "InitVar" in str(kind):
            raise TypeError(f"{cls.__name__}.{name}: `ppl.records` has neither kw_only nor InitVar")
        found.name, found.type, found._field_type, found.kw_only = name, kind, KIND, False
        yield name, found


def _is_class_variable(kind: Any) -> bool:
    if isinstance(kind, str):
        return kind.startswith(("ClassVar", "typing.ClassVar"))
    return kind is ClassVar or get_origin(kind) is ClassVar


def _has_default(f: Any) -> bool:
    return f.default is not dataclasses.MISSING or f.default_factory is not dataclasses.MISSING


def _check_order(cls: Any, every: Fields) -> None:
    """A TypeError where a field without a default follows one with a default."""
    before = ""
    for f in every.values():
        if f.init and _has_default(f):
            before = f.name
        elif f.init and before:
            raise TypeError(f"{cls.__name__}: field '{f.name}' without a default follows '{before}' with one")


def _with_slots(cls: Any, every: Fields) -> Any:
    """The same class with a slot for each field that its bases have none for."""
    taken = {name for base in cls.__mro__[1:] for name in vars(base).get("__slots__", ())}
    body = {k: v for k, v in vars(cls).items() if k not in every and k not in ("__dict__", "__weakref__")}
    body["__slots__"] = tuple(name for name in every if name not in taken)
    made = type(cls)(cls.__name__, cls.__bases__, body)
    made.__qualname__ = cls.__qualname__
    return made


def _methods(cls: Any, every: Fields, params: SimpleNamespace) -> Iterator[tuple[str, Any]]:
    """The methods of a class by their names, and what patterns match."""
    yield "__match_args__", tuple(f.name for f in every.values() if f.init)
    if params.init:
        yield "__init__", _First(cls, "__init__", lambda: _init(cls, every, params.frozen))
    if params.repr:
        yield "__repr__", _repr(tuple(f.name for f in every.values() if f.repr))
    if params.eq:
        compared = [f.name for f in every.values() if f.compare]
        hashed = [f.name for f in every.values() if (f.compare if f.hash is None else f.hash)]
        yield "__eq__", _First(cls, "__eq__", lambda: _eq(compared))
        yield "__hash__", _First(cls, "__hash__", lambda: _hash(hashed)) if params.frozen else None
    if params.frozen:
        yield "__setattr__", _refuse_set(cls, every)
        yield "__delattr__", _refuse_delete(cls, every)
        if params.slots:
            yield "__getstate__", lambda self: [getattr(self, name) for name in every]
            yield "__setstate__", _restore(tuple(every))


class _First:
    """Stands for a method of a class until it is first asked for, and compiles it from its source then."""

    def __init__(self, cls: Any, name: str, source: Callable[[], tuple[str, dict[str, Any]]]):
        self._cls, self._name, self._source = cls, name, source

    def __get__(self, instance: Any, owner: Any) -> Any:
        cls, (text, known) = self._cls, self._source()
        exec(text, known)
        made = known[self._name]
        made.__qualname__, made.__module__ = f"{cls.__qualname__}.{self._name}", cls.__module__
        if vars(cls).get(self._name) is self:
            setattr(cls, self._name, made)
        return made.__get__(instance, owner)


def _init(cls: Any, every: Fields, frozen: bool) -> tuple[str, dict[str, Any]]:
    """Source of ``__init__``, and the values that it names."""
    known: dict[str, Any] = {"set_field": object.__setattr__, "ABSENT": (absent := object())}
    parameters, body = [], []
    for f in every.values():
        name, value = f.name, f.name
        if f.default is not dataclasses.MISSING:
            known[f"default_{name}"] = f.default
        if f.default_factory is not dataclasses.MISSING:
            known[f"make_{name}"], known[f"default_{name}"] = f.default_factory, absent
            value = f"make_{name}() if {name} is ABSENT else {name}" if f.init else f"make_{name}()"
        elif not f.init:
            if f.default is dataclasses.MISSING:
                continue
            value = f"default_{name}"
        if f.init:
            parameters.append(f"{name}=default_{name}" if f"default_{name}" in known else name)
        body.append(f"set_field(self_, {name!r}, {value})" if frozen else f"self_.{name} = {value}")
    if hasattr(cls, "__post_init__"):
        body.append("self_.__post_init__()")
    return _function("__init__", ["self_", *parameters], body or ["pass"]), known


def _function(name: str, parameters: list[str], body: list[str]) -> str:
    return "\n    ".join([f"def {name}({', '.join(parameters)}):", *body])


def _values(of: str, names: list[str]) -> str:
    """Source of the tuple of these fields of an object."""
    return f"({''.join(f'{of}.{name}, ' for name in names)})"


def _eq(names: list[str]) -> tuple[str, dict[str, Any]]:
    """Source of ``__eq__``: objects of one class are compared as tuples."""
    same = f"{_values('self', names)} == {_values('other', names)}"
    body = [f"return {same} if other.__class__ is self.__class__ else NotImplemented"]
    return _function("__eq__", ["self", "other"], body), {}


def _hash(names: list[str]) -> tuple[str, dict[str, Any]]:
    """Source of ``__hash__``: that of the tuple."""
    return _function("__hash__", ["self"], [f"return hash({_values('self', names)})"]), {}


def _repr(names: tuple[str, ...]) -> Callable[[Any], str]:
    running: set[int] = set()

    def __repr__(self: Any) -> str:
        if id(self) in running:
            return "..."
        running.add(id(self))
        try:
            shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        finally:
            running.discard(id(self))
        return f"{type(self).__qualname__}({shown})"

    return __repr__


def _refuse_set(cls: Any, every: Fields) -> Callable[[Any, str, Any], None]:
    def __setattr__(self: Any, name: str, value: Any) -> None:
        if type(self) is cls or name in every:
            raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
        super(cls, self).__setattr__(name, value)

    return __setattr__


def _refuse_delete(cls: Any, every: Fields) -> Callable[[Any, str], None]:
    def __delattr__(self: Any, name: str) -> None:
        if type(self) is cls or name in every:
            raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")
        super(cls, self).__delattr__(name)

    return __delattr__


def _restore(names: tuple[str, ...]) -> Callable[[Any, Any], None]:
    def __setstate__(self: Any, state: Any) -> None:
        for name, value in zip(names, state, strict=True):
            object.__setattr__(self, name, value)

    return __setstate__
