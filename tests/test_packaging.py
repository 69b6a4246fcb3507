"""The wheel holds every module of the tree under its installed name, and an installation finds them all."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
INSTALLED_AS = {"ppl": "ppl", "kernels": "ppl/kernels", "models": "ppl/models"}
FOLDERS = tuple(INSTALLED_AS)


def modules(folder: str) -> Iterator[Path]:
    """Yield the modules of a top-level folder, relative to it."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        if "__pycache__" not in path.parts:
            yield path.relative_to(ROOT / folder)


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names of the files in a wheel built, offline, from a copy of the source."""
    source = tmp_path_factory.mktemp("source")
    ignore = shutil.ignore_patterns("__pycache__")
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, source / folder, ignore=ignore)
    for name in ("pyproject.toml", "setup.py", "LICENSE", "README.md"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, source / name)
    target = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        ".",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(target),
    ]
    result = subprocess.run(command, cwd=source, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    (wheel,) = target.glob("numba_ppl-*.whl")
    return set(zipfile.ZipFile(wheel).namelist())


@pytest.mark.parametrize("folder", FOLDERS)
def test_wheel_holds_every_module(wheel_names: set[str], folder: str) -> None:
    expected = {f"{INSTALLED_AS[folder]}/{path.as_posix()}" for path in modules(folder)}
    assert expected
    assert expected <= wheel_names, f"missing: {sorted(expected - wheel_names)}"


def test_wheel_holds_only_the_package(wheel_names: set[str]) -> None:
    strays = {name for name in wheel_names if not name.startswith(("ppl/", "numba_ppl-"))}
    assert not strays


def test_wheel_is_typed_and_licensed(wheel_names: set[str]) -> None:
    assert "ppl/py.typed" in wheel_names
    assert any(name.endswith("licenses/LICENSE") for name in wheel_names)
    assert any(name.endswith("entry_points.txt") for name in wheel_names)


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_folder_of_modules_is_a_package(folder: str) -> None:
    """A folder without ``__init__.py`` would be left out of the wheel."""
    parents = {(ROOT / folder / path).parent for path in modules(folder)}
    assert not [str(parent.relative_to(ROOT)) for parent in parents if not (parent / "__init__.py").exists()]


@pytest.mark.parametrize(("folder", "package"), [("kernels", "ppl.kernels"), ("models", "ppl.models")])
def test_installation_maps_the_folder(folder: str, package: str) -> None:
    """The installed name resolves, in a process that does not start in the source tree."""
    code = f"import importlib.util as u; print(u.find_spec({package!r}).origin)"
    result = subprocess.run([sys.executable, "-c", code], cwd="/", capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert Path(result.stdout.strip()).name == "__init__.py"
    assert importlib.util.find_spec(package) is not None
    assert importlib.util.find_spec(folder) is None or folder not in sys.modules
