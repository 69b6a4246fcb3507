"""docs/extending.md: every edit of the page, made in a copy of the tree, adds what the page says it adds."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/extending.md"
BLOCK = re.compile(r"^```python\n# (\S+?)(?:, (in|before|at the) (\w+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EDITS = [match.groups() for match in BLOCK.finditer(PAGE.read_text(encoding="utf-8"))]
LAWS = {  # tests that run over the registries, on what the page adds
    "tests/distributions/test_densities.py": "Rayleigh",
    "tests/distributions/test_samples.py": "Rayleigh",
    "tests/ir/test_op_facts.py": "asinh or every_op",
    "tests/ir/test_rewrites.py": "asinh",
    "tests/ir/test_vjp.py": "asinh",
    "tests/kernels/test_scalar.py": "asinh",
}


def _definition(text: str, name: str) -> ast.Assign | ast.AnnAssign:
    """Where `name` is assigned to."""
    for node in ast.parse(text).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            return node  # type: ignore[return-value]
    raise LookupError(f"no table {name}")


def _inside(text: str, name: str) -> tuple[int, int]:
    """Line and column behind the opening bracket of the table `name`; of a comprehension, of what it runs over."""
    table = _definition(text, name).value
    if isinstance(table, ast.DictComp):
        table = table.generators[0].iter
    assert isinstance(table, ast.Dict | ast.List | ast.Set | ast.Tuple)
    return table.lineno - 1, table.col_offset + 1


def edited(text: str, kind: str, name: str, new: str) -> str:
    """`text` with the lines of a block where its first line says."""
    lines = text.splitlines(keepends=True)
    if (kind, name) == ("at the", "end"):
        return f"{text}\n\n{new}"
    if (kind, name) == ("at the", "imports"):
        row = next(i for i, line in enumerate(lines) if line.startswith("from ppl."))
        return "".join([*lines[:row], new, *lines[row:]])
    if kind == "before":
        row = _definition(text, name).lineno - 1
        return "".join([*lines[:row], new, "\n\n", *lines[row:]])
    row, column = _inside(text, name)
    before = lines[row].encode()[:column].decode()
    own = textwrap.indent(new, "    ")
    return "".join([*lines[:row], before, "\n", own, lines[row][len(before) :], *lines[row + 1 :]])


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Outcome of every test that runs in the copy, by its id."""
    copy, ignored = tmp_path_factory.mktemp("copy"), shutil.ignore_patterns("__pycache__")
    for folder, place in {"ppl": "ppl", "kernels": "ppl/kernels", "models": "ppl/models", "tests": "tests"}.items():
        shutil.copytree(ROOT / folder, copy / place, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", copy)
    for path, kind, name, new in EDITS:
        place = copy / re.sub("^(kernels|models)/", r"ppl/\1/", path)
        assert place.exists() == bool(kind), f"{path} should {'' if kind else 'not '}be there already"
        place.write_text(edited(place.read_text(encoding="utf-8"), kind, name, new) if kind else new, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(copy), "OMP_WAIT_POLICY": "PASSIVE"}
    python = [sys.executable, "-m"]
    subprocess.run([*python, "ppl.kernels.source"], cwd=copy, env=environment, check=True, capture_output=True)
    words = f"({' or '.join(dict.fromkeys(['extended', *LAWS.values()]))}) and not accuracy_f64"
    options = ["-v", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", "not slow", "-k", words]
    command = [*python, "pytest", *options, "tests/helpers/extended.py", *LAWS]
    result = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
    assert result.returncode in (0, 1), result.stdout + result.stderr
    print(result.stdout)
    return dict(re.findall(r"^(tests/\S+?) (PASSED|FAILED|ERROR|SKIPPED)", result.stdout, re.MULTILINE))


def test_the_page_has_whole_examples():
    """Of every kind of addition, a new file."""
    new = {path.split("/")[0] + "/" + path.split("/")[1] for path, kind, *_ in EDITS if not kind}
    assert new == {"ppl/distributions", "ppl/estimators", "kernels/source", "models/waves.py"}
    marked = len(re.findall(r"^```python$", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    assert marked == len(EDITS), "a block whose first line does not say where it goes"


CHECKS = [
    node.name
    for node in ast.parse((ROOT / "tests/helpers/extended.py").read_text(encoding="utf-8")).body
    if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
]


@pytest.mark.parametrize("check", CHECKS)
def test_what_the_page_adds_works(outcomes: dict[str, str], check: str):
    found = {name: outcome for name, outcome in outcomes.items() if f"extended.py::{check}" in name}
    assert found and set(found.values()) == {"PASSED"}, found


@pytest.mark.parametrize("file", LAWS)
def test_the_tests_over_registries_take_up_what_the_page_adds(outcomes: dict[str, str], file: str):
    found = {name: outcome for name, outcome in outcomes.items() if name.startswith(file)}
    assert found and set(found.values()) == {"PASSED"}, found
