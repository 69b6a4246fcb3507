"""Progress below the cells of a notebook, with a stand-in for IPython."""

import sys
import time
from types import ModuleType, SimpleNamespace

import pytest

from ppl import progress
from ppl.notebook import output
from ppl.progress import Line
from ppl.training.progress_bar import ProgressBar


class ZMQInteractiveShell:
    """IPython's shell in a kernel, by its name."""


@pytest.fixture
def cells(monkeypatch):
    """What is shown below cells: a list of texts for every place."""
    places = []

    def display(markup, display_id=False):
        assert display_id
        places.append([markup])
        return SimpleNamespace(update=places[-1].append)

    found, shown = ModuleType("IPython"), ModuleType("IPython.display")
    found.get_ipython, shown.HTML, shown.display = ZMQInteractiveShell, str, display
    monkeypatch.setitem(sys.modules, "IPython", found)
    monkeypatch.setitem(sys.modules, "IPython.display", shown)
    monkeypatch.delenv("PPL_PROGRESS", raising=False)
    return places


def test_a_fit_shows_one_bar_that_fills(cells):
    with ProgressBar(True, 20, "rows") as bar:
        for _ in range(20):
            bar.step(2.0, 5)
    assert len(cells) == 1
    assert 'value="0.0000"' in cells[0][0] and 'value="1.0000"' in cells[0][-1]
    assert "20/20" in cells[0][-1] and "loss 2" in cells[0][-1] and "rows/s" in cells[0][-1]


def test_a_fit_of_unknown_length_counts_steps(cells):
    with ProgressBar(True, None, "steps") as bar:
        bar.step(1.0, 1)
    assert "1 steps" in cells[0][-1] and "value=" not in cells[0][-1]
    with ProgressBar(False, None, "steps") as bar:
        bar.step(1.0, 1)
    assert len(cells) == 1


def test_long_work_shows_a_line_that_goes_and_each_wait_has_its_own(cells, monkeypatch):
    for name, seconds in (("DELAY", 0.05), ("INTERVAL", 0.02), ("PAUSE", 0.05)):
        monkeypatch.setattr(progress, name, seconds)
    line = Line()
    for wait in ("compiling <a>", "compiling b"):
        end = time.monotonic() + 10
        with line.during(lambda wait=wait: wait):
            while not (cells and wait.split()[-1].strip("<>") in cells[-1][-1]) and time.monotonic() < end:
                time.sleep(0.01)
        time.sleep(0.3)
    assert len(cells) == 2 and "compiling &lt;a&gt;" in cells[0][0]
    assert all(place[-1].endswith("></span>") for place in cells)


def test_other_shells_are_no_notebook(cells, monkeypatch):
    assert output.in_notebook()
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: None)
    assert not output.in_notebook()
    monkeypatch.delitem(sys.modules, "IPython")
    assert not output.in_notebook()
