"""The benchmark harness: turns are timed, promises judged on the right side, records written whole."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks import machine, sbn_products, slow_tests, timing

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
    assert "- failed: `t[y]`" in text and "- error: `v`" in text and "Run 2000-01-02 on " in text
