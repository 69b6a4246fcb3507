"""The reference has every public name, and pages use no name that is not there."""

import ast
import inspect
import re

import pytest

import ppl
from ppl.estimators.base import Estimator
from tests.pages.blocks import ROOT, blocks, pages

REFERENCE = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs/api").glob("*.md"))
SHOWN = set(re.findall(r"^::: ppl\.([\w.]+)$", REFERENCE, re.MULTILINE))
MODULES = {"distributions", "errors", "estimators", "optim", "bijectors", "random"}


def _found(name):
    """The object of a dotted name, or None."""
    place = ppl
    for part in name.split("."):
        place = getattr(place, part, None)
    return place


def test_every_public_name_is_in_the_reference():
    assert set(ppl.__all__) - MODULES <= SHOWN
    optimizers = {f"optim.{name}" for name in ppl.optim.__all__ if not name.startswith("Optimizer")}
    estimators = {
        f"estimators.{name}"
        for name, value in vars(ppl.estimators).items()
        if inspect.isclass(value) and issubclass(value, Estimator) and name not in ("Estimator", "NotNeeded")
    }
    errors = {f"errors.{n}" for n, c in vars(ppl.errors).items() if inspect.isclass(c) and issubclass(c, Exception)}
    bijectors = {f"bijectors.{name}" for name in ppl.bijectors.__all__ if name != "Bijector"}
    assert optimizers | estimators | errors | bijectors <= SHOWN


def test_the_reference_has_no_other_names():
    assert all(_found(name) is not None for name in SHOWN)


@pytest.mark.parametrize("page", pages())
def test_names_in_code_exist(page):
    for block in blocks(page):
        if block.language == "python" and not block.info.startswith("no-run") and page != "docs/extending.md":
            for node in ast.walk(ast.parse(block.text)):
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "ppl":
                    assert _found(node.attr) is not None, f"{page}, line {block.line + node.lineno - 1}"
                if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "ppl":
                    module = __import__(node.module, fromlist=["x"])
                    assert all(hasattr(module, alias.name) for alias in node.names), f"{page}, line {block.line}"
