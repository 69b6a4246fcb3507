"""Bugs found by using the package: each a minimal reproduction that fails until it is mended."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from ppl.compiler import cache

SLOW = """import time
time.sleep(0.2)
serial = {value}
"""


@pytest.mark.xfail(strict=True, reason="cache.load hands out a module that another thread is still executing")
def test_a_module_loaded_by_two_threads_is_complete_in_both(tmp_path, monkeypatch):
    monkeypatch.setenv("PPL_CACHE_DIR", str(tmp_path))
    source = SLOW.format(value=id(tmp_path))
    with ThreadPoolExecutor(2) as pool:
        modules = list(pool.map(cache.load, [source, source]))
    assert all(hasattr(m, "serial") for m in modules)
