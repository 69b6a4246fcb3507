"""For the reference: parameters whose line goes on with a sentence, as in the docstrings here, not with a type."""

import re
from typing import Any

import griffe

SECTION = re.compile(r"^(Parameters|Other Parameters|Attributes|Raises|Returns|Yields)\n-+\n", re.MULTILINE)
ENTRY = re.compile(r"^(\S[^\n:]*?) : ([^\n]+)\n?((?:[ \t]+[^\n]*\n?)*)", re.MULTILINE)
TYPE = re.compile(r"[\w.\[\]|]+( or \w+)?")


class Sentences(griffe.Extension):
    """``name : sentence`` as numpydoc writes it, ``name`` and below it the sentence."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the sections of one docstring."""
        if obj.docstring is not None:
            first, *rest = SECTION.split(obj.docstring.value)
            pairs = zip(rest[::2], rest[1::2], strict=True)
            parts = [f"{name}\n{'-' * len(name)}\n{ENTRY.sub(_below, text)}" for name, text in pairs]
            obj.docstring.value = first + "".join(parts)


def _below(match: re.Match[str]) -> str:
    name, words, more = match.groups()
    if more.strip() and TYPE.fullmatch(words):
        return match[0]
    return f"{name}\n    {words}\n{more}"


class DataClasses(griffe.Extension):
    """Classes declared by `ppl.records.dataclass` are those of the standard decorator."""

    def on_class_instance(self, *, cls: griffe.Class, **_: Any) -> None:
        """Give the decorator its standard name."""
        for decorator in cls.decorators:
            value = decorator.value
            if isinstance(value, griffe.Expr) and value.canonical_path == "ppl.records.dataclass":
                standard = griffe.ExprName("dataclasses.dataclass")
                if isinstance(value, griffe.ExprCall):
                    value.function = standard
                else:
                    decorator.value = standard
