"""The benchmark harness: turns are timed, promises judged on the right side, records written whole."""

from __future__ import annotations

import ast
import functools
import json
import os
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks import (
    first_steps,
    forms,
    machine,
    peer,
    race,
    roofline,
    sbn_products,
    slow_tests,
    suite,
    timing,
    tuning,
)
from ppl import tuning as tuning_module
from ppl.compiler.lower import target as targets
from ppl.models import pictures

pytestmark = pytest.mark.tiny


def test_interleave_orders_by_duration() -> None:
    timings = timing.interleave(
        {"short": lambda: None, "long": lambda: time.sleep(2e-3)}, samples=3, sample_seconds=2e-3, pause=0.0
    )
    assert list(timings) == ["short", "long"]
    assert timings["short"].median < 1e-4 < 2e-3 <= timings["long"].minimum
    assert timings["short"].inner > 1
    assert timings["long"].samples == 3


def test_checks_know_their_side() -> None:
    assert timing.passes(timing.check("fast", 1.0, 2.0))
    assert not timing.passes(timing.check("slow", 3.0, 2.0))
    assert timing.passes(timing.check("many", 3.0, 2.0, "G/s", at_most=False))
    assert not timing.passes(timing.check("few", 1.0, 2.0, "G/s", at_most=False))


def test_record_is_written_as_json_and_markdown(tmp_path: Path) -> None:
    record = {
        "name": "example",
        "title": "An example",
        "timings": timing.interleave({"a": lambda: None, "b": lambda: None}, samples=2, sample_seconds=1e-4),
        "baseline": "b",
        "checks": [timing.check("a promise", 3e-5, 2e-5)],
        "notes": ["a note"],
        "date": "2000-01-01",
        "machine": machine.info(),
    }
    data, page = timing.write(record, tmp_path)
    assert json.loads(data.read_text())["timings"]["a"]["samples"] == 2
    text = page.read_text()
    assert "relative to b" in text
    assert "| a promise | 30 us | ≤ 20 us | MISSED |" in text
    assert timing.missed([record]) == record["checks"]


def test_record_has_tables_and_a_picture(tmp_path: Path) -> None:
    figure = pictures.pyplot().figure()
    table = {"columns": ["estimator", "variance"], "rows": [["REBAR", "0.5"]]}
    written = timing.write({"name": "example", "tables": [table], "figure": figure}, tmp_path)
    assert [path.name for path in written] == ["example.json", "example.md", "example.png"]
    assert "figure" not in json.loads(written[0].read_text())
    assert "| estimator | variance |\n| --- | --- |\n| REBAR | 0.5 |" in written[1].read_text()
    assert "(example.png)" in written[1].read_text()
    assert written[2].read_bytes().startswith(b"\x89PNG")


def test_products_have_both_layouts_and_the_right_work() -> None:
    measured = machine.product_times([machine.Product(8, 4, 2, calls=3, transposed="a")], repeats=3, warmup=1)
    assert len(measured.each) == 1
    assert measured.total > 0
    assert sum(product.flops for product in sbn_products.PRODUCTS) == 2 * 126_080_000


def test_workload_files_have_descriptions(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--list"]) == 0
    assert capsys.readouterr().out.split() == command.names()
    with pytest.raises(SystemExit):
        command.main(["no_such_workload"])
    assert "no workload no_such_workload" in capsys.readouterr().err


FAKE = """
import time
from benchmarks.forms import Form
print("libraries may print")
def fail():
    raise ValueError("the form is broken")
def forms():
    return {"fake sleep": Form(lambda: time.sleep(1e-3)), "fake pair": Form(lambda: time.sleep(1e-3), 2),
            "fake broken": Form(fail)}
"""


@pytest.fixture
def fake_peers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder `fakes` of peers that other processes can import."""
    folder = tmp_path / "fakes"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "quick.py").write_text(FAKE)
    (folder / "missing.py").write_text("import no_such_library")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return folder


def test_a_peer_answers_and_is_stopped_in_between(fake_peers: Path) -> None:
    with peer.Peer("fakes.quick") as found:
        assert found.labels == ["fake sleep", "fake pair", "fake broken"]
        assert 5 <= found.calls_for("fake sleep", 0.02) <= 20
        one, half = (found.seconds_per_step(label, 5) for label in found.labels[:2])
        assert one >= 1e-3 and half >= 5e-4
        with pytest.raises(peer.PeerError, match="the form is broken"):
            found.seconds_per_step("fake broken", 1)
        assert found.seconds_per_step("fake sleep", 1) >= 1e-3
        stat = Path(f"/proc/{found.process.pid}/stat")
        if stat.exists():
            deadline = time.monotonic() + 5
            while (state := stat.read_text().rpartition(")")[2].split()[0]) != "T" and time.monotonic() < deadline:
                time.sleep(0.01)
            assert state == "T"
    assert found.process.poll() is not None


def test_a_peer_that_cannot_start_says_why(fake_peers: Path) -> None:
    with pytest.raises(peer.PeerError, match="no_such_library"):
        peer.Peer("fakes.missing")


def test_peers_that_the_interpreter_lacks_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert peer.Peers(["json", "no_such_library"]).installed() == ["json"]
    assert "no_such_library is not installed" in capsys.readouterr().err


def _contestant(seconds: list[float], team: str = "") -> race.Contestant:
    """Turns of these lengths, then of the last again and again."""
    found = iter(seconds)
    return race.Contestant(lambda calls: next(found, seconds[-1]), lambda seconds: 1, team, rest=0.0)


def test_a_race_leaves_out_slow_moments() -> None:
    paces = iter([1.0, 1.0, 1.0, 3.0, *[1.0] * 100])
    found = race.race({"a": _contestant([5.0, 50.0, 6.0])}, lambda: next(paces), turns=3)
    assert found.timings["a"].samples == 3
    assert found.timings["a"].median == 6.0
    assert found.left_out["a"] == 0.25
    assert (found.fastest_pace, found.median_pace) == (1.0, 1.0)


def test_a_race_ends_in_time_and_drops_the_hopeless_of_a_team() -> None:
    contestants = {
        "ours": _contestant([9.0]),
        "best": _contestant([1.0], "peer"),
        "near": _contestant([1.2], "peer"),
        "far": _contestant([2.0], "peer"),
    }
    found = race.race(contestants, lambda: 1.0, turns=6)
    assert {label: timing.samples for label, timing in found.timings.items()} == {
        "ours": 6,
        "best": 6,
        "near": 6,
        "far": race.FIRST,
    }
    assert found.left == {"far"}
    hurried = race.race({"ours": _contestant([9.0])}, lambda: 1.0, turns=10**6, patience=0.0)
    assert hurried.timings["ours"].samples == race.FIRST


def test_goals_compare_with_whom_they_name() -> None:
    times = {"ppl, loop": 1.0, "ppl, call": 4.0, "JAX scan": 5.0, "PyTorch": 2.0, suite.PRODUCTS: 0.5}
    timings = {label: timing.summary([value], 1) for label, value in times.items()}
    found = suite.Goal(0.75).check(timings)
    assert found is not None and found["what"] == "ppl, loop / PyTorch" and found["measured"] == 0.5
    found = suite.Goal(0.1, ours="loop", peer="scan").check(timings)
    assert found is not None and found["what"] == "ppl, loop / JAX scan" and not timing.passes(found)
    found = suite.Goal(3.0, ours="call", seconds=True).check(timings)
    assert found is not None and found["measured"] == 4.0 and not timing.passes(found)
    found = suite.Goal(3.0, peer=suite.PRODUCTS).check(timings)
    assert found is not None and found["measured"] == 2.0
    assert suite.Goal(0.75).check({"ppl, loop": timings["ppl, loop"]}) is None


def test_the_suite_runs_a_workload_with_a_peer(
    fake_peers: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    workload = types.ModuleType("quick_workload")
    workload.TITLE, workload.GOALS = "Nothing", (suite.Goal(10.0),)
    workload.forms = lambda: {"sleep": forms.Form(lambda: time.sleep(2e-3))}
    workload.work = lambda: roofline.work(10**5, 2)
    monkeypatch.setitem(sys.modules, "quick_workload", workload)
    monkeypatch.setattr(suite, "CODES", {"Q0": "quick_workload"})
    monkeypatch.setattr(suite, "race", functools.partial(race.race, turns=3, seconds=4e-3, patience=0.0))
    monkeypatch.setattr(
        suite, "started", lambda stem, peers, problems: iter([_without_broken(peer.Peer("fakes.quick"))])
    )
    before = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    record = {"name": "quick_workload", "machine": machine.info(), **suite.run("quick_workload", [])}
    assert before is None or os.sched_getaffinity(0) == before
    assert record["details"]["ours"] == "ppl, sleep" and record["details"]["peer"] == "fake pair"
    assert record["checks"][0]["measured"] > 2.0
    timing.write(record, tmp_path)
    page = suite.overview(tmp_path)
    assert page is not None
    row = next(line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| Q0"))
    assert "[Nothing](quick_workload.md)" in row and "(fake pair)" in row and "| ≤ 10 | met |" in row


def _without_broken(found: peer.Peer) -> peer.Peer:
    found.labels.remove("fake broken")
    return found


def test_overview_without_records_is_none(tmp_path: Path) -> None:
    assert suite.overview(tmp_path) is None


def test_work_and_roof() -> None:
    step = roofline.work(1000, 6, 500, [machine.Product(2, 3, 4, calls=5)])
    assert step == (2 * 2 * 3 * 4 * 5, 4 * 6500, 4 * 3500)
    assert roofline.Roof(1.0, 2.0, 0.0, 0.0).seconds == 2.0
    assert roofline.triad_rate(1 << 20, repeats=2) > 1e8


def test_the_command_line_takes_codes_and_commas() -> None:
    options = command._options(["W3,W1", "noise", "--peers", "jax,torch"])
    assert options.names == ["sbn_step", "toy_step", "noise"]
    assert options.peers == ["jax", "torch"]
    assert command._options(["suite", "--peers", "jax", "torch"]).names == list(suite.CODES.values())
    with pytest.raises(SystemExit):
        command._options(["--peers", "tensorflow"])


def test_every_workload_of_the_suite_has_its_files() -> None:
    root = Path(command.__file__).parent
    for name in suite.CODES.values():
        assert (root / "workloads" / f"{name}.py").exists()
        for framework in command.PEERS:
            body = ast.parse((root / "peers" / f"{name}_{framework}.py").read_text(encoding="utf-8")).body
            assert any(isinstance(node, ast.FunctionDef) and node.name == "forms" for node in body)


def test_every_model_of_the_first_minute_has_its_peer() -> None:
    """Its loss by hand, or the step of the suite's peer."""
    tree = ast.parse((Path(command.__file__).parent / "peers" / "first_steps_jax.py").read_text(encoding="utf-8"))
    losses = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assigned = {node.targets[0].id: node.value for node in tree.body if isinstance(node, ast.Assign)}
    assert set(first_steps.MODELS) <= losses | set(ast.literal_eval(assigned["SUITE"]))


@pytest.mark.parametrize("edited", [False, True])
def test_models_of_the_first_minute_compile(edited: bool) -> None:
    """An edit changes the program."""
    program, data = first_steps.MODELS["robust"](edited)
    assert program.prepare(*data).layout.size == 14 + 13 * edited


def test_a_peers_process_needs_nothing_of_ours() -> None:
    code = "import sys, benchmarks.serve, benchmarks.data; print(*{'ppl', 'numba', 'torch', 'jax'} & {*sys.modules})"
    found = subprocess.run([sys.executable, "-c", code], cwd=peer.ROOT, check=True, capture_output=True, text=True)
    assert found.stdout.split() == []


REPORT = """<testsuites><testsuite timestamp="2000-01-02T03:04:05" tests="4">
<testcase classname="a" name="t[x]" time="1.5">
<properties><property name="estimator" value="rebar"/></properties></testcase>
<testcase classname="a" name="t[y]" time="2"><properties><property name="estimator" value="rebar"/></properties>
<failure message="no">no</failure></testcase>
<testcase classname="b" name="u" time="0"><skipped/></testcase>
<testcase classname="b" name="v" time="0"><error/></testcase>
</testsuite></testsuites>"""


def test_slow_tests_are_counted_by_estimator(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(REPORT)
    assert slow_tests.main([str(report), "--out", str(tmp_path)]) == 0
    text = (tmp_path / "slow_tests.md").read_text(encoding="utf-8")
    assert "4 tests: 1 passed, 1 failed, 1 error, 1 skipped." in text
    assert "| rebar | 1 | 1 | 0 | 0 | 4 |" in text and "| b | 0 | 0 | 1 | 1 | 0 |" in text
    again = tmp_path / "again.xml"
    again.write_text(REPORT.replace("<failure", "<skipped").replace("</failure", "</skipped"))
    assert slow_tests.main([str(report), str(again), "--out", str(tmp_path)]) == 0
    assert "4 tests: 1 passed, 0 failed, 1 error, 2 skipped." in (tmp_path / "slow_tests.md").read_text(
        encoding="utf-8"
    )
    assert "- failed: `t[y]`" in text and "- error: `v`" in text and "Run 2000-01-02 on " in text


def test_a_slow_test_of_many_cases_counts_as_that_many(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    many = '<property name="estimator" value="rebar"/><property name="cases" value="9"/><property name="passed" value='
    text = REPORT.replace('<property name="estimator" value="rebar"/>', f'{many}"9"/>', 1)
    report.write_text(text.replace('<property name="estimator" value="rebar"/></p', f'{many}"7"/></p'))
    assert slow_tests.main([str(report), "--out", str(tmp_path)]) == 0
    text = (tmp_path / "slow_tests.md").read_text(encoding="utf-8")
    assert "20 tests: 16 passed, 2 failed, 1 error, 1 skipped." in text and "| rebar | 16 | 2 | 0 | 0 | 4 |" in text


def test_a_threshold_moves_where_the_clock_clearly_says_so() -> None:
    now = tuning.present("TABLED_ROWS")
    ways = {now // 2: (2.0, 1.0), now: (4.0, 1.0), 2 * now: (8.0, 1.0)}
    assert tuning.suggested(tuning.Crossover("TABLED_ROWS", "", ways)) == now // 2
    reversed_ways = {size: pair[::-1] for size, pair in ways.items()}
    assert tuning.suggested(tuning.Crossover("TABLED_ROWS", "", reversed_ways)) == 4 * now
    assert tuning.suggested(tuning.Crossover("TABLED_ROWS", "", ways, shared=True), busy=True) == now
    near = {now // 2: 1.0, now: 1.01, 2 * now: 3.0}
    assert tuning.suggested(tuning.Sweep("TABLED_ROWS", "", near)) == now
    assert tuning.suggested(tuning.Sweep("TABLED_ROWS", "", {**near, now: 2.0})) == now // 2


def test_lines_are_those_of_the_file() -> None:
    text = Path(tuning_module.__file__).read_text(encoding="utf-8")
    names = ("TABLED_ROWS", "STREAM_TILE_BYTES")
    same = tuning.lines({name: tuning.present(name) for name in names})
    assert len(same) == 2 and all(f"\n{line}\n" in text for line in same)
    assert tuning.lines({"TABLED_ROWS": 7}) == [f"TABLED_ROWS = 7  # was {tuning.present('TABLED_ROWS')}"]
    (wide,) = tuning.lines({"STREAM_TILE_BYTES": 1 << 20})
    assert "= 3 << 19, 1 << 20, 8192  # was " in wide


def test_programs_are_compiled_for_assumed_machines() -> None:
    known = targets.TARGETS["cpu"]
    with tuning.assumed(sharing={"most": 1}):
        assert targets.TARGETS["cpu"].sharing.most == 1
    assert targets.TARGETS["cpu"] is known
