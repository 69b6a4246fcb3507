"""docs/extending.md: every edit of the page, made in a copy of the tree, adds what the page says it adds."""

from __future__ import annotations

import ast
import importlib
import math
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import ppl

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/extending.md"
BLOCK = re.compile(r"^```python\n# (\S+?)(?:, (in|before|at the) (\w+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EDITS = [match.groups() for match in BLOCK.finditer(PAGE.read_text(encoding="utf-8"))]
CHECKS = "tests/helpers/extended.py"
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


def copy_with_edits(copy: Path) -> None:
    """A copy of the tree in `copy`, as it is installed, with every edit of the page."""
    ignored = shutil.ignore_patterns("__pycache__")
    for folder, place in {"ppl": "ppl", "kernels": "ppl/kernels", "models": "ppl/models", "tests": "tests"}.items():
        shutil.copytree(ROOT / folder, copy / place, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", copy)
    for path, kind, name, new in EDITS:
        place = copy / re.sub("^(kernels|models)/", r"ppl/\1/", path)
        assert place.exists() == bool(kind), f"{path} should {'' if kind else 'not '}be there already"
        place.write_text(edited(place.read_text(encoding="utf-8"), kind, name, new) if kind else new, encoding="utf-8")


def test_the_page_has_whole_examples():
    """Of every kind of addition, a new file."""
    new = {path.split("/")[0] + "/" + path.split("/")[1] for path, kind, *_ in EDITS if not kind}
    assert new == {"ppl/distributions", "ppl/estimators", "kernels/source", "models/waves.py"}
    marked = len(re.findall(r"^```python$", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    assert marked == len(EDITS), "a block whose first line does not say where it goes"


def test_what_the_page_adds_works(tmp_path: Path, subtests: pytest.Subtests):
    """In a process of its own: the checks of `tests/helpers/extended.py`, and tests over registries."""
    copy_with_edits(tmp_path)
    environment, python = {**os.environ, "PYTHONPATH": str(tmp_path)}, [sys.executable, "-m"]
    subprocess.run([*python, "ppl.kernels.source"], cwd=tmp_path, env=environment, check=True, capture_output=True)
    words = f"({' or '.join(dict.fromkeys(['extended', *LAWS.values()]))}) and not accuracy_f64"
    options = ["-v", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", "not slow", "-k", words]
    command = [*python, "pytest", *options, CHECKS, *LAWS]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    outcomes = dict(re.findall(r"^(tests/\S+?) (PASSED|FAILED|ERROR|SKIPPED)", result.stdout, re.MULTILINE))
    assert {name.partition("::")[0] for name in outcomes} == {CHECKS, *LAWS}, result.stdout + result.stderr
    for name, outcome in outcomes.items():
        with subtests.test(name):
            assert outcome == "PASSED", result.stdout
    assert result.returncode == 0


def test_distributions_and_estimators_need_no_edit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The page's classes as modules of a user's own: the mean gradient is the exact one."""
    for path, kind, _, new in EDITS:
        if not kind and path.startswith(("ppl/distributions", "ppl/estimators")):
            (tmp_path / f"own_{Path(path).name}").write_text(new, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    rayleigh = importlib.import_module("own_rayleigh").Rayleigh
    difference = importlib.import_module("own_forward_difference").ForwardDifference

    @ppl.model
    def own():
        b = ppl.sample("b", ppl.Bernoulli(logits=ppl.param("logit", 0.4)), estimator=difference())
        r = ppl.sample("r", rayleigh(ppl.param("scale", 1.3, constraint="positive")))
        ppl.cost("loss", r * (b + 0.5) ** 2)

    program = ppl.compile(own, dtype="float64")
    assert {n: c.estimator.label for n, c in program.explain().items()} == {
        "b": "ForwardDifference()",
        "r": "Pathwise()",
    }
    grads = program.diagnose(program.init(0), repeats=4000, timing=False, backend="interpreter", seed=1)
    p, mean = 1 / (1 + math.exp(-0.4)), 1.3 * math.sqrt(math.pi / 2)
    exact = {"logit": 2.0 * mean * p * (1 - p), "scale": mean * (0.25 + 2.0 * p)}  # the scale's by its logarithm
    for name, wanted in exact.items():
        assert abs(grads[name].mean - wanted) < 5 * grads[name].standard_error, name
        assert grads[name].standard_error < 0.03 * wanted
