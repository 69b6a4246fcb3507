"""Settings of all tests: the IR is verified after every pass of the compiler."""

import gc
import os
from collections.abc import Iterator

import pytest

os.environ["PPL_VERIFY"] = "1"


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Collect tests, whose thousands of objects live until the end, without looking for garbage among them."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()
