"""`ppl.records.dataclass` against that of the standard library: the same class body, decorated by either."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from dataclasses import field
from pathlib import Path
from typing import Any, ClassVar

import pytest

from ppl import records

OPTIONS = [
    {},
    {"eq": False},
    {"frozen": True},
    {"frozen": True, "eq": False},
    {"frozen": True, "slots": True},
    {"slots": True, "eq": False},
    {"frozen": True, "repr": False},
]


@records.dataclass(frozen=True, slots=True)
class Kept:
    """One that a pickle finds by its name."""

    x: int
    y: tuple[int, ...] = (1,)


def both(options: dict[str, Any], base: Any = None) -> list[Any]:
    """The same class by the standard library and by the package."""
    found = []
    for decorate in (dataclasses.dataclass, records.dataclass):

        @decorate(**options)
        class Point:
            x: Any
            y: Any = 2
            kind: ClassVar[str] = "point"
            items: list[int] = field(default_factory=lambda: [1], compare=False)
            hidden: int = field(default=7, repr=False)
            fixed: int = field(default=3, init=False)

        @decorate(**options)
        class Named(Point):
            y: Any = 5
            name: str = "p"

            def __post_init__(self):
                object.__setattr__(self, "hidden", self.hidden + 1)

        found.append((Point, Named))
    return found


def outcome(run: Any) -> Any:
    """What a call returns, or the kind of its error."""
    try:
        return run()
    except Exception as error:
        return type(error)


CALLS = [
    lambda c: repr(c(1)).split(".")[-1].split(" at ")[0],
    lambda c: c(1) == c(1),
    lambda c: c(1) == c(2),
    lambda c: c(1) != 1,
    lambda c: c(1, items=[2]) == c(1),
    lambda c: hash(c(1)) if c.__eq__ is not object.__eq__ else c.__hash__ is object.__hash__,
    lambda c: c(1).items is c(1).items,
    lambda c: (c(x=1, y=3).y, c(1).fixed, c(1).hidden, c.kind),
    lambda c: c(),
    lambda c: c(1, 2, [3], 4, 5, 6, 7),
    lambda c: c(1, wrong=2),
    lambda c: setattr(c(1), "x", 5),
    lambda c: hasattr(c(1), "__dict__") and setattr(c(1), "other", 5),
    lambda c: delattr(c(1), "x"),
    lambda c: hasattr(c(1), "__dict__"),
    lambda c: [(f.name, f.init, f.repr, f.compare) for f in dataclasses.fields(c)],
    lambda c: [f.name for f in dataclasses.fields(c(1))],
    lambda c: dataclasses.asdict(c(1)),
    lambda c: dataclasses.replace(c(1), y=9).y,
    lambda c: dataclasses.replace(c(1), fixed=9),
    lambda c: copy.copy(c(1, 4)).y,
    lambda c: copy.deepcopy(c(1, [4])).y,
    lambda c: c.__match_args__,
    lambda c: [(p.name, p.kind, p.default is p.empty) for p in inspect.signature(c).parameters.values()],
    lambda c: list(inspect.signature(c.__init__).parameters)[1:],
    lambda c: (c.__name__, getattr(c, "__slots__", None)),
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_class_behaves_as_the_standard_one(options):
    for theirs, ours in zip(*both(options), strict=True):
        for number, call in enumerate(CALLS):
            assert outcome(lambda f=call, c=ours: f(c)) == outcome(lambda f=call, c=theirs: f(c)), number


def test_methods_of_the_class_itself_stay():
    @records.dataclass(frozen=True)
    class Own:
        x: int

        def __eq__(self, other):
            return True

        def __repr__(self):
            return "own"

    assert Own(1) == 5
    assert repr(Own(1)) == "own"
    assert hash(Own(1)) == hash((1,))


@pytest.mark.parametrize("inner, outer", [(records, dataclasses), (dataclasses, records)])
def test_either_kind_derives_from_the_other(inner, outer):
    @inner.dataclass(frozen=True)
    class Base:
        x: int
        y: int = 2

    @outer.dataclass(frozen=True)
    class Derived(Base):
        z: int = 3

        def total(self):
            return self.x + self.y + self.z

    assert Derived(1).total() == 6
    assert Derived(1, z=4) == Derived(1, 2, 4)
    assert Base(1).x == 1
    assert [f.name for f in dataclasses.fields(Derived)] == ["x", "y", "z"]


def test_a_plain_class_derives_and_calls_the_first_init():
    @records.dataclass
    class Base:
        x: int

    class Derived(Base):
        def __init__(self):
            super().__init__(4)

    class Bare(Base): ...

    assert Derived().x == 4
    assert Bare(3).x == 3
    assert Base(2).x == 2
    assert list(inspect.signature(Bare).parameters) == ["x"]


def test_objects_with_slots_are_pickled():
    assert pickle.loads(pickle.dumps(Kept(3, (4, 5)))) == Kept(3, (4, 5))


def test_what_the_standard_library_refuses_is_refused():
    def late(decorate):
        @decorate
        class Late:
            x: int = 1
            y: int

    def shared(decorate):
        @decorate
        class Shared:
            x: list = []  # noqa: RUF012

    def thawed(decorate):
        @decorate(frozen=True)
        class Base:
            x: int

        @decorate
        class Thawed(Base):
            y: int

    for make in (late, shared, thawed):
        kinds = [outcome(lambda d=d, m=make: m(d)) for d in (dataclasses.dataclass, records.dataclass)]
        assert kinds[0] is kinds[1]
        assert issubclass(kinds[0], Exception)


def test_what_is_not_supported_is_refused():
    with pytest.raises(TypeError, match="kw_only"):

        @records.dataclass
        class Keyed:
            x: int = field(default=1, kw_only=True)

    with pytest.raises(TypeError):
        records.dataclass(order=True)


def test_the_package_declares_its_classes_so():
    found = [
        p for p in Path(records.__file__).parent.rglob("*.py") if "import dataclass\n" in p.read_text(encoding="utf-8")
    ]
    standard = [p.name for p in found if "from dataclasses import dataclass" in p.read_text(encoding="utf-8")]
    assert len(found) > 80
    assert not standard
