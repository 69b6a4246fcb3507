"""Settings of all tests: the IR is verified after every pass of the compiler, and NumPy's own BLAS has one thread.

Several test processes share the cores, and threads of a BLAS spin while they wait. SciPy's BLAS, which programs call,
is left as it is.
"""

import gc
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import numpy as np  # noqa: F401 - its BLAS must be there to be found
import pytest
from threadpoolctl import ThreadpoolController

from tests.shares import SHARES

# An idle machine on which the loop of `_slowness` takes so long runs nearly all fast tests in so many minutes.
LOOP_SECONDS = 0.05
FULL_MINUTES = 8.0

os.environ["PPL_VERIFY"] = "1"
# Workers start later than the run, whose time is limited.
os.environ.setdefault("PPL_TESTS_BEGAN", str(time.time()))
for library in ThreadpoolController().lib_controllers:
    if "numpy" in library.filepath:
        library.set_num_threads(1)

# A shell starts background jobs with signals ignored, and so are they in all their children: tests send them.
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add options that limit the time of a run on a machine of unknown speed."""
    parser.addoption("--minutes", type=float, help="begin no test after so many minutes; those left are skipped")
    parser.addoption("--first-cases", action="store_true", help="run the first case of every test only")


def pytest_configure(config: pytest.Config) -> None:
    """Leave out all but the first cases where the minutes of a run are too few for the machine."""
    minutes = config.getoption("minutes")
    if hasattr(config, "workerinput"):
        config.option.first_cases = config.workerinput["first_cases"]
    elif minutes is not None:
        config.option.first_cases |= minutes < FULL_MINUTES * _slowness()


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say so where most cases are left out."""
    return "the first case of every test only" if config.option.first_cases else None


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker what was decided: all of them must collect the same tests."""
    node.workerinput["first_cases"] = node.config.option.first_cases


def _slowness() -> float:
    """Return how many times longer than `LOOP_SECONDS` a loop of Python takes, in a second in which others run, too."""
    start, loops = time.perf_counter(), 0
    while time.perf_counter() < start + 1.0:
        sum(i for i in range(1_000_000))
        loops += 1
    return (time.perf_counter() - start) / loops / LOOP_SECONDS


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the cases of `SHARES` that are not in every run; put first cases first where time is limited."""
    cases: dict[pytest.Item, int] = {}
    seen: dict[str, int] = {}
    for item in items:
        name = item.nodeid.partition("[")[0]
        cases[item] = seen[name] = seen.get(name, -1) + 1
        if name in SHARES and (SHARES[name] == 0 or cases[item] % SHARES[name]):
            item.add_marker(pytest.mark.slow)
    if config.getoption("minutes") is not None:
        items.sort(key=lambda item: cases[item] > 0)
    if config.getoption("first_cases"):
        config.hook.pytest_deselected(items=[item for item in items if cases[item]])
        items[:] = [item for item in items if not cases[item]]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test when the time of a limited run is over."""
    minutes = item.config.getoption("minutes")
    if minutes is not None and time.time() > float(os.environ["PPL_TESTS_BEGAN"]) + 60 * minutes:
        pytest.skip(f"no test begins after {minutes:g} minutes")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Collect tests without looking for garbage among their thousands of objects."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
