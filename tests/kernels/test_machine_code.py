"""Machine code on disk: what is garbled, foreign or stale is compiled again, and nothing raises."""

import os
import shutil
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import numba
import numpy as np
import pytest

from ppl.kernels import decorators
from ppl.kernels.code_cache import machine_code, trusted_files

pytestmark = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="looks at compiled functions")

ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


SOURCE = """
def double(x):
    return x + x

def triple(x):
    return x + x + x
"""

there: dict[str, Any] = {}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The folder for machine code of two functions; warnings are errors, and have not been given yet."""
    (tmp_path / "source").mkdir()
    file = tmp_path / "source" / "functions.py"
    file.write_text(SOURCE)
    there["__name__"] = "functions_on_disk"
    monkeypatch.setitem(sys.modules, "functions_on_disk", ModuleType("functions_on_disk"))
    exec(compile(SOURCE, str(file), "exec"), there)
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PPL_CACHE_DIR", str(tmp_path / "user"))
    monkeypatch.setattr(trusted_files, "_warned_reasons", [])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield tmp_path / "cache"


def found(name="double", argument=2.0):
    """Whether a fresh dispatcher finds machine code on disk; it must give the right result either way."""
    dispatcher = decorators.jit(there[name])
    dispatcher._cache.stamp = lambda: "that of all kernels"
    assert dispatcher(argument) == there[name](argument)
    return sum(dispatcher.stats.cache_hits.values()) == 1


def files(cache):
    return sorted(cache.rglob("*.nbc"))


def test_a_second_dispatcher_finds_it(cache):
    assert not found() and found()
    assert len(files(cache)) == 1 and not list(cache.rglob(f"*{trusted_files.UNFINISHED}"))
    assert not found(argument=np.float32(2)) and found(argument=np.float32(2)) and found()


def test_folders_are_for_their_owner_alone(cache):
    found()
    assert all(path.stat().st_mode & 0o077 == 0 for path in (cache, *cache.iterdir()))
    assert all(path.stat().st_mode & 0o022 == 0 for path in files(cache))


def _flip(at):
    def flip(path):
        content = bytearray(path.read_bytes())
        content[int(at * (len(content) - 1))] ^= 0x10
        path.write_bytes(content)

    return flip


def _other(path):
    """The file of another function, under this name."""
    found("triple")
    (other,) = (p for p in path.parent.glob("*triple*"))
    shutil.copyfile(other, path)


def _instead(path, make):
    path.unlink()
    make(path)


GARBLED = {
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "head alone": lambda path: path.write_bytes(path.read_bytes()[:20]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "text": lambda path: path.write_bytes(b"no such thing" * 100),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    **{f"bit at {at}": _flip(at) for at in (0.0, 0.003, 0.02, 0.3, 0.6, 0.9, 1.0)},
    "other": _other,
    "link": lambda path: (shutil.move(path, f"{path}.moved"), path.symlink_to(f"{path}.moved")),
    "pipe": lambda path: _instead(path, os.mkfifo),
    "others may write": lambda path: path.chmod(0o666),
}


@pytest.mark.parametrize("kind", GARBLED)
def test_garbled_files_are_compiled_again_and_written_anew(kind, cache):
    found()
    (path,) = files(cache)
    GARBLED[kind](path)
    assert not found() and found()


def test_a_file_that_cannot_be_replaced_lies_elsewhere(cache, tmp_path):
    found()
    (path,) = files(cache)
    path.unlink()
    (path / "inside").mkdir(parents=True)
    assert not found() and found()
    assert len(list((tmp_path / "source" / "__pycache__").iterdir())) == 1


def test_another_version_of_kernels_or_settings(cache, monkeypatch):
    found()
    monkeypatch.setattr(machine_code, "kernels_version", lambda: "other")
    assert not found() and found() and len(files(cache)) == 1
    monkeypatch.setenv("PPL_CHECK", "1")
    assert not found() and found() and len(files(cache)) == 2
    monkeypatch.setattr(numba.config, "OPT", 1)
    assert not found()


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_a_folder_that_others_may_write_to_is_not_used(mode, cache, tmp_path):
    found()
    (inner,) = cache.iterdir()
    inner.chmod(mode)
    assert "others" in trusted_files.why_untrusted(inner, trusted_files.trusted_owners())
    assert not found() and found()
    assert not found("triple") and len(files(cache)) == 1
    for folder in (tmp_path / "source" / "__pycache__", tmp_path / "user"):
        folder.chmod(mode) if folder.exists() else folder.mkdir()
    (tmp_path / "user").chmod(mode)
    with pytest.warns(RuntimeWarning, match="others"):
        assert not found()
    assert not found()


@pytest.mark.skipif(not ROOT, reason="gives files away")
def test_a_folder_of_another_user_is_not_used(tmp_path, monkeypatch):
    os.chown(tmp_path, 12345, -1)
    assert "another user" in trusted_files.why_untrusted(tmp_path, trusted_files.trusted_owners())
    assert not trusted_files.why_untrusted(tmp_path, trusted_files.trusted_owners(tmp_path))
    monkeypatch.setenv("PPL_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(trusted_files, "_warned_reasons", [])
    with pytest.warns(RuntimeWarning, match="another user"):
        assert trusted_files.writable_user_folder() is None


def test_a_parent_where_anybody_may_rename(tmp_path):
    inner = tmp_path / "outer" / "inner"
    assert not trusted_files.create_folder(inner, trusted_files.trusted_owners())
    (tmp_path / "outer").chmod(0o777)
    assert "rename" in trusted_files.create_folder(inner, trusted_files.trusted_owners())
    (tmp_path / "outer").chmod(0o1777)
    assert not trusted_files.create_folder(inner, trusted_files.trusted_owners())


def test_a_link_in_place_of_a_folder(tmp_path):
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert "not a folder" in trusted_files.create_folder(tmp_path / "link", trusted_files.trusted_owners())


def _file(path: Path) -> dict[str, str]:
    path.write_text("")
    return {"PPL_CACHE_DIR": str(path)}


BAD = {
    "a file": _file,
    "below a file": lambda path: {"PPL_CACHE_DIR": f"{_file(path)['PPL_CACHE_DIR']}/inner"},
    "a loop": lambda path: (path.symlink_to(path), {"PPL_CACHE_DIR": str(path)})[1],
    "no file system": lambda path: {"PPL_CACHE_DIR": "/proc/self/nothing"},
    "too long": lambda path: {"PPL_CACHE_DIR": f"{path}/{'x' * 300}"},
    "open to all": lambda path: (path.mkdir(), path.chmod(0o777), {"PPL_CACHE_DIR": str(path)})[2],
    "home is a file": lambda path: (_file(path), {"PPL_CACHE_DIR": "", "XDG_CACHE_HOME": "", "HOME": str(path)})[1],
}


@pytest.mark.parametrize("kind", BAD)
def test_no_usable_folder_of_the_user(kind, tmp_path, monkeypatch):
    from ppl.runtime import cache

    for name, value in BAD[kind](tmp_path / "bad").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(trusted_files, "_warned_reasons", [])
    with pytest.warns(RuntimeWarning, match="in memory only") as given:
        assert cache.load(f"answer = 42  # {tmp_path}").answer == 42
        assert cache.load(f"answer = 43  # {tmp_path}").answer == 43
    assert len(given) == 1


def test_home_without_a_user(monkeypatch, tmp_path):
    for name in ("PPL_CACHE_DIR", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    path, reason = trusted_files.user_folder()
    assert path is None and "home" in reason


def test_a_full_disk(cache, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(trusted_files.os, "replace", full)
    with pytest.warns(RuntimeWarning, match="No space left"):
        assert not found() and not found("triple")
    assert not list(cache.rglob(f"*{trusted_files.UNFINISHED}"))
    monkeypatch.undo()


def test_the_folder_is_removed_while_the_process_runs(cache):
    found()
    shutil.rmtree(cache)
    assert not found() and found()


def test_what_killed_processes_left_is_removed(tmp_path, monkeypatch):
    old, new = tmp_path / f"a{trusted_files.UNFINISHED}", tmp_path / f"b{trusted_files.UNFINISHED}"
    for path in (old, new):
        path.write_text("")
    os.utime(old, (0, 0))
    monkeypatch.setattr(trusted_files, "_cleaned_folders", set())
    trusted_files.create_folder(tmp_path, trusted_files.trusted_owners())
    assert new.exists() and not old.exists()


def test_the_source_of_a_program_is_run_from_memory(tmp_path, monkeypatch):
    from ppl.runtime import cache

    monkeypatch.setenv("PPL_CACHE_DIR", str(tmp_path / "programs"))
    source = f"answer = 42  # {tmp_path}"
    module = cache.load(source)
    path = Path(module.__file__)
    for content in ("", "answer = 1", "syntax error ("):
        path.write_text(content)
        monkeypatch.delitem(sys.modules, module.__name__)
        assert cache.load(source).answer == 42 and path.read_text() == source
    monkeypatch.delitem(sys.modules, module.__name__)
