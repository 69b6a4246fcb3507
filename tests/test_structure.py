"""The folders of the code: which may import which, and no circles."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import networkx as nx
import pytest

from ppl import lazy
from tests.shares import SHARES

ROOT = Path(__file__).resolve().parent.parent
BASES = {"ppl": "ppl", "kernels": "ppl.kernels", "models": "ppl.models"}

FLOORS = (
    "tuning",
    "errors extras interrupts lazy arguments moved names checked notebook.html notebook.output progress records",
    "text_table tensorboard",
    "kernels ir",
    "distributions",
    "lang",
    "graph",
    "estimators",
    "objectives",
    "compiler.plan",
    "compiler.surrogate",
    "compiler.lower",
    "compiler.schedule",
    "compiler.emit",
    "compiler.pipeline",
    "runtime",
    "training inference choosing",
    "program notebook c_export",
    "chains sweeps ranks",
    "",
    "models cli doctor random catalog",
)
"""Packages from the ground up: a module imports from its own floor and from those below. "" is `ppl` itself."""

LAZY = {
    "numba": "takes half a second",
    "ppl.kernels": "imports Numba",
    "rich": "only for what is shown as a table or a bar",
    "ppl.compiler.emit.llvm.functions": "imports Numba",
    "ppl.notebook.plans": "only for notebooks",
    "ppl.notebook.loss_curve": "as above",
    "ppl.program.profile": "only for those who measure",
    "ppl.inference.unbiased": "only for those who check",
    "ppl.inference.diagnose": "only for those who measure gradients",
    "ppl.choosing.auto_particles": "only for particles that are chosen",
    "ppl.compiler.emit.cuda.emitter": "only for those who have a device",
    "matplotlib": "slow, and optional",
    "importlib.metadata": "only for the version",
    "mpmath": "for those who fit coefficients of kernels",
    "scipy": "as slow as Numba; of `ppl.lazy`, and for those who fit coefficients",
    "llvmlite": "a part of Numba",
    "mpi4py": "optional, for those who have several processes",
    "cuda.core": "optional, for code of devices that are not there",
    "cuda.pathfinder": "as above",
    "ppl.runtime.cuda": "only for those who have one",
    "ppl.training.on_device": "as above",
    "networkx": "only for the graph that users see",
    "cloudpickle": "optional, for models that no name leads to",
    "tensorboardX": "optional, for TensorBoard",
    "joblib": "optional, for sweeps",
    "distributed": "optional, for sweeps over a cluster",
    "dask": "as above",
    "pyarrow": "optional, for tables in Parquet",
}
"""What is imported when it is first used, inside a function or through `ppl.lazy`, and why."""


def modules() -> dict[str, Path]:
    """Every module of the package by its installed name."""
    found = {}
    for folder, package in BASES.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = [package, *path.relative_to(ROOT / folder).with_suffix("").parts]
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def floor_of(module: str) -> int:
    """The floor on which a module stands."""
    parts = module.split(".")[1:]
    for count in range(len(parts), -1, -1):
        for number, names in enumerate(FLOORS):
            if ".".join(parts[:count]) in (names.split() or [""]):
                return number
    raise AssertionError(f"{module} stands on no floor")


def imports(module: str) -> Iterator[tuple[str, bool]]:
    """What a module imports from the package, and whether for type checkers only."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    guarded = (i for i in ast.walk(tree) if isinstance(i, ast.If) and "TYPE_CHECKING" in ast.unparse(i.test))
    typing = {id(x) for i in guarded for statement in i.body for x in ast.walk(statement)}
    for x in ast.walk(tree):
        names = []
        if isinstance(x, ast.Import):
            names = [a.name for a in x.names]
        elif isinstance(x, ast.ImportFrom):
            assert x.level == 0, f"{module}: imports are absolute"
            names = [f"{x.module}.{a.name}" if f"{x.module}.{a.name}" in MODULES else str(x.module) for a in x.names]
        yield from ((name, id(x) in typing) for name in names if name in MODULES and name != module)


@cache
def all_imports() -> dict[str, list[tuple[str, bool]]]:
    """What every module imports."""
    return {module: list(imports(module)) for module in MODULES}


def test_imports_never_climb():
    """A module imports from its own floor and from those below, inside functions and for type checkers too."""
    climbing = [
        f"{module} imports {name}"
        for module, found in all_imports().items()
        for name, _ in found
        if floor_of(name) > floor_of(module)
    ]
    assert not climbing, "\n".join(climbing)


def test_there_are_no_circles():
    """Imports inside functions and for type checkers count, too."""
    graph = nx.DiGraph((m, name) for m, found in all_imports().items() for name, _ in found)
    assert not [sorted(circle) for circle in nx.strongly_connected_components(graph) if len(circle) > 1]


def inside_functions(module: str) -> Iterator[str]:
    """What a module imports inside functions, from anywhere."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    for function in (f for f in ast.walk(tree) if isinstance(f, ast.FunctionDef)):
        for x in ast.walk(function):
            if isinstance(x, ast.Import):
                yield from (a.name for a in x.names)
            elif isinstance(x, ast.ImportFrom):
                yield from (f"{x.module}.{a.name}" for a in x.names)


def is_lazy(name: str) -> bool:
    """Whether a module, or something in it, may be imported when it is first used."""
    return any(f"{name}.".startswith(f"{allowed}.") for allowed in LAZY)


def test_only_what_is_slow_is_imported_inside_functions():
    """Examples (`models`) may: what they compare with is optional."""
    found = {(m, name) for m in MODULES if not m.startswith("ppl.models") for name in inside_functions(m)}
    assert not [f"{m}: {name}" for m, name in sorted(found) if not is_lazy(name)]
    later = [vars(x)["_Lazy__name"] for x in vars(lazy).values() if isinstance(x, lazy.Lazy)]
    assert later and not [name for name in later if not is_lazy(name)]


def test_the_package_is_imported_without_what_is_slow():
    slow = [name for name in LAZY if name != "ppl.kernels"]
    code = f"import ppl, sys; print(*sorted({{*{slow!r}}} & {{*sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == []


@pytest.mark.parametrize("prefix", ["emit_", "lower_"])
def test_a_stage_is_a_folder_and_not_a_prefix(prefix):
    assert not [m for m in MODULES if m.rsplit(".", 1)[-1].startswith(prefix)]


def test_targets_are_asked_for_values_and_not_for_names():
    """Lowering and scheduling know a target by its record alone (`ppl.compiler.lower.target`)."""
    for module, path in MODULES.items():
        if module.startswith(("ppl.compiler.lower.", "ppl.compiler.schedule.")) and not module.endswith(".target"):
            named = [x for x in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(x, ast.Constant)]
            assert not [x.value for x in named if x.value in ("cpu", "cuda")], module


def test_types_of_ops_are_said_in_the_ir():
    """Shape rules are registered by `ppl.ir.signatures` and `ppl.ir.shapes` alone."""
    own = {"ppl.ir.node", "ppl.ir.shapes"}
    for module, path in MODULES.items():
        if module not in own and not module.startswith("ppl.ir.signatures"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            stores = [x for x in ast.walk(tree) if isinstance(x, ast.Subscript) and isinstance(x.ctx, ast.Store)]
            assert not [x for x in stores if "type_rules" in ast.unparse(x.value)], module
            assert not [x for x in ast.walk(tree) if isinstance(x, ast.ImportFrom) and x.module == "ppl.ir.shapes"], (
                module
            )


def test_nobody_asks_an_estimator_for_its_class():
    """What the package must know of an estimator is declared by it (`ppl.estimators.base.Estimator`)."""
    known = {
        x.name
        for module in MODULES
        for x in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8")))
        if isinstance(x, ast.ClassDef) and module.startswith("ppl.estimators.") and x.name != "Estimator"
    } - {"Hyper"}
    asked = []
    for module, path in MODULES.items():
        if not module.startswith("ppl.estimators"):
            asked += [f"{module}: {text}" for text in _tests_of_class(path, known)]
    assert {"Enumerate", "Pathwise", "ScoreFunction", "NotNeeded"} <= known
    assert not asked, "\n".join(asked)


def _tests_of_class(path: Path, known: set[str]) -> Iterator[str]:
    """Calls of isinstance or issubclass, and comparisons of types, that name a class among `known`."""
    for x in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        called = isinstance(x, ast.Call) and isinstance(x.func, ast.Name) and x.func.id in ("isinstance", "issubclass")
        named = x.args[-1] if called else x if isinstance(x, ast.Compare) and "type(" in ast.unparse(x) else None
        names = {getattr(n, "id", getattr(n, "attr", "")) for n in ast.walk(named)} if named is not None else set()
        if names & known:
            yield ast.unparse(x)


def test_files_of_estimators_define_estimators():
    """Each file of `ppl/estimators` defines one or several, but for what all of them share."""
    for path in sorted((ROOT / "ppl/estimators").glob("[!_]*.py")):
        if path.stem not in ("base", "baselines", "serialize"):
            body = ast.parse(path.read_text(encoding="utf-8")).body
            assert [c for c in body if isinstance(c, ast.ClassDef) and "def supports" in ast.unparse(c)], path.name


def test_thresholds_are_explained_and_used():
    """Every number of `ppl/tuning.py` has a text below it, and is used by another module."""
    body = ast.parse((ROOT / "ppl/tuning.py").read_text(encoding="utf-8")).body
    texts = [s for s in body if isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant)]
    assigned = [s for s in body if isinstance(s, ast.Assign)]
    assert all(body[body.index(s) + 1] in texts for s in assigned)
    names = {x.id for s in assigned for x in ast.walk(s) if isinstance(x, ast.Name)}
    used = {
        x.attr if isinstance(x, ast.Attribute) else x.name
        for module, path in MODULES.items()
        if module != "ppl.tuning"
        for x in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(x, ast.Attribute | ast.alias)
    }
    assert len(names) > 60
    assert not names - used


def test_tests_that_run_a_share_exist():
    named = {name: name.split("::") for name in SHARES}
    assert not [name for name, (path, test) in named.items() if f"def {test}(" not in (ROOT / path).read_text()]
