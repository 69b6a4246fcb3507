"""The ``ppl`` command: listing reads docstrings without importing, unknown names get a helpful answer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import ppl.models
from ppl import cli

pytestmark = pytest.mark.tiny

RUNNABLE = '''"""A model for the tests.

More about it.
"""

import sys
sys.modules["imported_by_listing"] = sys


def main(argv=None):
    print("got", argv)
    return 3 if argv == ["fail"] else None
'''


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model zoo of its own: one runnable module, one helper, one that does not parse."""
    (tmp_path / "zoo_runnable.py").write_text(RUNNABLE)
    (tmp_path / "zoo_helper.py").write_text('"""No main here."""\n')
    (tmp_path / "zoo_broken.py").write_text("def main(:\n")
    monkeypatch.setattr(ppl.models, "__path__", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "imported_by_listing", raising=False)
    monkeypatch.delitem(sys.modules, "ppl.models.zoo_runnable", raising=False)
    return tmp_path


def test_list_reads_docstrings_and_imports_nothing(zoo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list"]) == 0
    assert capsys.readouterr().out == "zoo_runnable  A model for the tests.\n"
    assert "imported_by_listing" not in sys.modules


def test_run_passes_arguments_on(zoo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "zoo_runnable", "--epochs", "2", "--help"]) == 0
    assert capsys.readouterr().out == "got ['--epochs', '2', '--help']\n"
    assert cli.main(["run", "zoo_runnable", "fail"]) == 3


@pytest.mark.parametrize(
    ("name", "hint"), [("zoo_runable", "did you mean zoo_runnable?"), ("qqq", "'ppl list' shows them")]
)
def test_unknown_model_gets_a_hint(zoo: Path, capsys: pytest.CaptureFixture[str], name: str, hint: str) -> None:
    assert cli.main(["run", name]) == 2
    assert hint in capsys.readouterr().err


def test_every_model_of_the_zoo_is_described() -> None:
    for entry in cli.runnable():
        assert entry.description, f"ppl.models.{entry.name} has no docstring"


def test_command_runs_as_a_module() -> None:
    result = subprocess.run([sys.executable, "-m", "ppl.cli", "--version"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("ppl ")


@pytest.mark.parametrize(
    ("option", "value"),
    [("epochs", "0"), ("batch-size", "0"), ("batch-size", "-1"), ("lr", "-1"), ("lr", "nan"), ("lr", "inf"),
     ("estimator", "x"), ("estimator", "")],
)  # fmt: skip
def test_malformed_options_of_a_model_are_named(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status = cli.main(["run", "bayes_logistic", f"--{option}={value}"])
    except SystemExit as ended:
        status = ended.code
    assert status == 2 and option in capsys.readouterr().err
