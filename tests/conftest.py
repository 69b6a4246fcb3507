"""Settings of all tests: the IR is verified after every pass of the compiler, and NumPy's own BLAS has one thread.

Several test processes share the cores, and threads of a BLAS spin while they wait. SciPy's BLAS, which programs call,
is left as it is.
"""

import gc
import os
import signal
from collections.abc import Iterator

import numpy as np  # noqa: F401 - its BLAS must be there to be found
import pytest
from threadpoolctl import ThreadpoolController

from tests.shares import SHARES

FROZEN_EVERY = 200
finished = 0

os.environ["PPL_VERIFY"] = "1"
for library in ThreadpoolController().lib_controllers:
    if "numpy" in library.filepath:
        library.set_num_threads(1)

# A shell starts background jobs with signals ignored, and so are they in all their children: tests send them.
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the cases of `SHARES` that are not in every run."""
    seen: dict[str, int] = {}
    for item in items:
        name = item.nodeid.partition("[")[0]
        if name in SHARES:
            count = seen[name] = seen.get(name, -1) + 1
            if SHARES[name] == 0 or count % SHARES[name]:
                item.add_marker(pytest.mark.slow)


def pytest_runtest_logfinish(nodeid: str) -> None:
    """What tests leave behind (programs and machine code are kept) is not looked through again for garbage."""
    global finished
    finished += 1
    if finished % FROZEN_EVERY == 0:
        gc.collect()
        gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Collect tests, whose thousands of objects live until the end, without looking for garbage among them."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()
