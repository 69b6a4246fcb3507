"""The line that says what a program waits for: when it appears, what it says, and that it leaves nothing behind."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from ppl import progress
from ppl.progress import Line
from ppl.training.progress_bar import ProgressBar


class Terminal(io.StringIO):
    """A terminal that keeps what is written to it."""

    def isatty(self):
        return True

    @property
    def seen(self):
        """The texts of the line, one after another."""
        return [part for part in self.getvalue().split("\r\x1b[K") if part]

    @property
    def left(self):
        """What the line says now."""
        return self.getvalue().rpartition("\r\x1b[K")[2]


@pytest.fixture
def terminal(monkeypatch):
    found = Terminal()
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=found))
    monkeypatch.delenv("PPL_PROGRESS", raising=False)
    for name, seconds in (("DELAY", 0.1), ("INTERVAL", 0.02), ("PAUSE", 0.2)):
        monkeypatch.setattr(progress, name, seconds)
    return found


def wait_for(condition):
    """Until a condition holds, for ten seconds at most: machines may be slow."""
    end = time.monotonic() + 10
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    assert condition()


def test_long_work_shows_a_line_that_goes(terminal):
    with Line().during(lambda: "compiling 'vae'"):
        wait_for(lambda: terminal.seen)
    assert terminal.seen[0].startswith("compiling 'vae' … ")
    assert terminal.left == ""


def test_short_work_shows_nothing(terminal, monkeypatch):
    monkeypatch.setattr(progress, "DELAY", 60.0)
    with Line().during(lambda: "short"):
        time.sleep(0.1)
    assert terminal.getvalue() == ""


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_errors_take_the_line_away(terminal, error):
    with pytest.raises(error), Line().during(lambda: "work"):
        wait_for(lambda: terminal.seen)
        raise error
    assert terminal.left == ""


def test_work_in_a_row_is_one_wait(terminal, monkeypatch):
    monkeypatch.setattr(progress, "PAUSE", 60.0)
    line = Line()
    line._ended = -1e9
    for _ in range(3):
        with line.during(lambda: "part"):
            time.sleep(0.07)
    with line.during(lambda: "last"):
        wait_for(lambda: any(text.startswith("last") for text in terminal.seen))
    assert terminal.left == ""


def test_the_last_work_is_shown(terminal):
    line = Line()
    with line.during(lambda: "outer"):
        with line.during(lambda: "inner"):
            wait_for(lambda: any(text.startswith("inner") for text in terminal.seen))
        wait_for(lambda: terminal.left.startswith("outer"))
    assert terminal.left == ""


def test_its_thread_ends(terminal):
    with Line().during(lambda: "work"):
        assert "ppl-progress" in [t.name for t in threading.enumerate()]
    wait_for(lambda: "ppl-progress" not in [t.name for t in threading.enumerate()])


def test_something_else_can_show_it(terminal):
    said = []
    line = Line()
    with line.through(said.append), line.during(lambda: "work"):
        wait_for(lambda: said)
    assert said[-1] == "" and said[0].startswith("work")
    assert terminal.getvalue() == ""


def test_the_bar_of_fit_shows_it(terminal, monkeypatch):
    monkeypatch.setattr("ppl.training.progress_bar.sys", progress.sys)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "xterm")
    with ProgressBar(True, 10, "rows"), progress.line.during(lambda: "compiling model 'vae'"):
        wait_for(lambda: "fit: compiling model 'vae'" in terminal.getvalue())
    assert progress.line.write is progress.to_reader
    assert "compiling" not in terminal.getvalue().splitlines()[-1]


@pytest.mark.parametrize("how", ["no terminal", "no stderr", "turned off"])
def test_silent(terminal, monkeypatch, how):
    other = io.StringIO()
    if how == "turned off":
        monkeypatch.setenv("PPL_PROGRESS", "0")
    else:
        monkeypatch.setattr(progress.sys, "stderr", other if how == "no terminal" else None)
    with Line().during(lambda: "work"):
        time.sleep(0.3)
    assert terminal.getvalue() == other.getvalue() == ""


CODE = """
import sys
from ppl import progress
progress.DELAY = progress.INTERVAL = 0.01
import numpy as np, ppl
@ppl.model
def drift():
    ppl.cost("c", ppl.sample("z", ppl.Normal(ppl.param("mu", 0.1234), 1.0)) ** 2)
program = ppl.compile(drift)
program.step(program.init(0))
"""


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_a_program_on_a_terminal(tmp_path):
    """The model's name, functions done and in all, and a clean line at the end."""
    master, slave = os.openpty()
    folder = tmp_path / "cache"
    folder.mkdir(mode=0o700)
    environment = {**os.environ, "PPL_CACHE_DIR": str(folder), "COLUMNS": "200"}
    environment.pop("PPL_PROGRESS", None)
    child = subprocess.Popen([sys.executable, "-c", CODE], stderr=slave, env=environment)
    os.close(slave)
    parts = []
    while True:
        try:
            parts.append(os.read(master, 65536))
        except OSError:  # how Linux says that the other side has closed
            break
        if not parts[-1]:
            break
    assert child.wait() == 0
    os.close(master)
    text = b"".join(parts).decode(errors="replace")
    lines = [part for part in text.split("\r\x1b[K") if part]
    shown = [part for part in lines if part.startswith("compiling model 'drift' (gradient): ")]
    assert shown and all(" functions, " in part for part in shown)
    assert text.endswith("\r\x1b[K")
