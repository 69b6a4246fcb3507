"""The regret table: PyTorch's column from records as they are written, and records of several processes."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import regret
from benchmarks.regret import peer_table, table, work

pytestmark = pytest.mark.tiny


def record(torch: Mapping[str, Any] | None = None, variance: float = 2.0, copies: int = 1) -> dict[str, Any]:
    """A graph with one candidate of a second and the given variance with one particle, a half of that with two."""
    rows = {"1": [variance, 0.1, 1.0], "2": [variance / 2, 0.05, 1.0]}
    candidate = {"plan": {"z": "Pathwise()"}, "label": "Pathwise()", "copies": copies, "particles": rows}
    choice = {"plan": {"z": "Pathwise()"}, "particles": 1}
    found = {
        "title": "a graph",
        "group": "laws",
        "candidates": [candidate],
        "given_up": {},
        "auto": choice,
        "particles": choice,
    }
    return found if torch is None else {**found, "torch": torch}


def of_torch(apart: float = 0.5, **estimators: dict[str, list[float]]) -> dict[str, Any]:
    """What PyTorch's part of a record looks like."""
    return {"estimators": estimators, "apart": dict.fromkeys(estimators, apart), "seconds": 30.0, "date": "2000-01-01"}


def test_the_best_of_torch_over_the_best_of_ours() -> None:
    found = record(of_torch(rsample={"1": [8.0, 0.1, 3.0], "16": [0.5, 0.1, 6.0]}, RLOO={"2": [9.0, 0.1, 3.0]}))
    assert peer_table.ratio(found) == peer_table.Ratio(3.0, "rsample", 16, False)
    assert peer_table.cell(found) == "**3** (rsample, 16)"


def test_more_particles_than_ours_count_in_a_line_of_their_own() -> None:
    found = record(of_torch(rsample={"16": [0.5, 0.1, 6.0], "256": [0.03125, 0.1, 8.0]}))
    assert peer_table.ratio(found, 16).value == 3.0
    assert peer_table.ratio(found, 256) == peer_table.Ratio(0.25, "rsample", 256, False)
    assert "| 1 | 0.25 | 0.25 to 0.25 | 0 |" in "\n".join(peer_table.lines({"a": found}))


def test_ours_with_many_copies_is_what_torch_is_compared_with() -> None:
    many = record(of_torch(RLOO={"2": [8.0, 0.1, 1.0]}))
    many["candidates"] += record(variance=0.5, copies=32)["candidates"]
    assert peer_table.ratio(many).value == 32.0
    assert table.best(many).product == 1.0


@pytest.mark.parametrize(("variance", "ours", "text"), [
    (0.0, 0.0, "**4** (exact, time only)"),
    (0.5, 0.0, "**inf** (sum, 1)"),
    (0.0, 2.0, "**0** (sum, 1)"),
])  # fmt: skip
def test_exact_estimators(variance: float, ours: float, text: str) -> None:
    assert peer_table.cell(record(of_torch(sum={"1": [variance, 0.0, 4.0]}), ours)) == text


@pytest.mark.parametrize("apart", [1.2, np.nan])
def test_another_graph_is_said_to_be_one(apart: float) -> None:
    same, other = of_torch(RLOO={"2": [4.0, 0.1, 1.0]}), of_torch(apart, RLOO={"2": [4.0, 0.1, 1.0]})
    records = {"a": record(same), "b": {**record(other), "title": "another"}, "c": record()}
    assert [peer_table.cell(r) for r in records.values()] == ["**4** (RLOO, 2)", "differs", "-"]
    text = "\n".join(peer_table.lines(records))
    assert "| 1 | 4 | 4 to 4 | 0 |" in text
    assert "left out: another." in text


def test_the_page_has_torch_and_the_time_of_searching() -> None:
    records = {
        "a": {**record(of_torch(RLOO={"2": [4.0, 0.1, 1.0]})), "date": "2026-11-30"},
        "b": {**record(), "date": "2026-12-01"},
    }
    text = table.page(records, {"graphs": 2, "processes": 2, "minutes": 59.6, "date": "2026-11-30"})
    assert "| candidates | PyTorch |" in text
    assert "| 1 | **4** (RLOO, 2) |" in text
    took = "Searching all 2 graphs in one go, 2 at a time, took 60 minutes (2026-11-30)."
    assert f"{took} 1 of them were searched again later." in text
    assert "in one go" not in table.page(records)
    assert "Searching 1 graphs, in several runs, took 2 minutes of a core." in table.page(
        {"a": {**record(), "seconds": 120.0}}
    )
    assert "PyTorch, at most" not in table.page({"b": record()})


def test_records_are_added_to_those_of_others(tmp_path: Path) -> None:
    store = tmp_path / "regret.json"
    work.keep(store, {"a": record()})
    found = work.keep(store, {"b": record(), "a": {**record(), "title": "new"}})
    assert found == work.read(store)
    assert {name: r["title"] for name, r in found.items()} == {"a": "new", "b": "a graph"}
    assert json.loads(store.read_text())["machine"]
    assert list(tmp_path.iterdir()) == [store] and work.last_run(store) is None
    run = {"graphs": 2, "processes": 1, "minutes": 3.0, "date": "2026-11-30"}
    work.keep(store, {}, run)
    work.keep(store, {"c": record()})
    assert work.last_run(store) == run and set(work.read(store)) == {"a", "b", "c"}


CHILD = """
import json, pathlib, sys, time
name, out, folder = sys.argv[1:]
pathlib.Path(folder, name).touch()
if name in "ab":
    until = time.monotonic() + 20
    while len(list(pathlib.Path(folder).iterdir())) < 2 and time.monotonic() < until:
        time.sleep(0.01)
if name == "c":
    sys.exit(3)
pathlib.Path(out).write_text(json.dumps({name: {"beside": len(list(pathlib.Path(folder).iterdir()))}}))
"""
"""A child that waits until another one runs beside it; the third fails."""


def test_children_run_at_once_and_their_records_are_merged(tmp_path: Path) -> None:
    found: dict[str, Any] = {}
    failed = work.in_children(
        "abcd", 2, lambda name, out: [sys.executable, "-S", "-c", CHILD, name, str(out), str(tmp_path)],
        found.update, time.monotonic() + 60,
    )  # fmt: skip
    assert failed == ["c"]
    assert set(found) == {"a", "b", "d"}
    assert found["a"]["beside"] >= 2 and found["b"]["beside"] >= 2


def test_no_child_is_begun_after_the_time(tmp_path: Path) -> None:
    assert work.in_children("ab", 2, lambda name, out: ["false"], {}.update, time.monotonic() - 1) == []


def test_a_graph_without_a_record_is_not_measured_with_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(regret, "STORE", tmp_path / "regret.json")
    monkeypatch.setattr(regret, "write", lambda records, run: None)
    assert regret.main(["square", "--torch"]) == 1
    assert "square: no record yet: measure it without --torch first" in capsys.readouterr().out
    assert regret.main(["square", "--torch", "--out", str(tmp_path / "square.json")]) == 1
    assert not list(tmp_path.iterdir())


def test_a_child_is_asked_for_what_the_parent_was(tmp_path: Path) -> None:
    command = work.child_command(work.Options(choices=True, tune=True))("square", tmp_path / "x.json")
    assert command[1:] == [
        "-m",
        "benchmarks",
        "regret",
        "square",
        "--out",
        str(tmp_path / "x.json"),
        "--choices",
        "--tune",
    ]
