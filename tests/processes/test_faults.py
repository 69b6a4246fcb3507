"""Caches that are garbled or cannot be written, and kernels that have been edited."""

import random
import shutil

import pytest

from tests.processes.programs import ROOT, TRAIN, finish, run, start

pytestmark = pytest.mark.slow

LIMITED = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n" + TRAIN


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    """A folder with machine code of kernels and of a trained program, and the program's output."""
    folder = tmp_path_factory.mktemp("warm")
    return folder, run(TRAIN, folder / "programs", NUMBA_CACHE_DIR=str(folder / "kernels"))


def _flipped(content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(3):
        changed[random.Random(len(content)).randrange(len(content))] ^= 1
    return bytes(changed)


KINDS = {
    "empty": lambda content: b"",
    "half": lambda content: content[: len(content) // 2],
    "flipped": _flipped,
    "noise": lambda content: random.Random(0).randbytes(len(content)),
}


@pytest.mark.parametrize("kind", [*KINDS, "swapped"])
def test_a_garbled_cache_is_rebuilt(kind, warm, tmp_path):
    source, expected = warm
    shutil.copytree(source, tmp_path, dirs_exist_ok=True)
    given = {"NUMBA_CACHE_DIR": str(tmp_path / "kernels")}
    files = [p for p in sorted(tmp_path.rglob("*.*")) if p.is_file()]
    assert sum(p.suffix == ".nbc" for p in files) > 1 and any(p.suffix == ".py" for p in files)
    contents = [p.read_bytes() for p in files]
    if kind == "swapped":
        contents = [*contents[1:], contents[0]]
    for path, content in zip(files, contents, strict=True):
        path.write_bytes(content if kind == "swapped" else KINDS[kind](content))
    assert run(TRAIN, tmp_path / "programs", **given) == expected
    written = {p: p.stat().st_mtime_ns for p in files}
    assert run(TRAIN, tmp_path / "programs", **given) == expected
    assert {p: p.stat().st_mtime_ns for p in files} == written


@pytest.mark.parametrize("kind", ["no file may grow", "no home", "a file for a folder"])
def test_without_a_cache_there_is_one_warning(kind, warm, tmp_path):
    _, expected = warm
    (tmp_path / "file").write_text("")
    given = {
        "no file may grow": {},
        "no home": {"PPL_CACHE_DIR": "", "XDG_CACHE_HOME": "", "HOME": "/proc/nobody"},
        "a file for a folder": {"PPL_CACHE_DIR": str(tmp_path / "file")},
    }[kind]
    script = LIMITED if kind == "no file may grow" else TRAIN
    for _ in range(2):
        output, errors = finish(start(script, tmp_path / "programs", **given))
        assert output == expected and errors.count("RuntimeWarning: ppl keeps machine code in memory only") == 1


def test_edited_kernels_are_compiled_again(tmp_path):
    """The optimizer's step, which a threaded kernel and the program's training loop contain."""
    site = tmp_path / "site"
    shutil.copytree(ROOT / "ppl", site / "ppl")
    for part in ("kernels", "models"):
        shutil.copytree(ROOT / part, site / "ppl" / part)
    given = {"PYTHONPATH": str(site)}
    first = run(TRAIN, tmp_path / "programs", **given)
    path = site / "ppl" / "kernels" / "cpu" / "training" / "optimizers.py"
    text = path.read_text()
    assert text.count("def sgd(p, g, lr, scale):") == 1
    path.write_text(text.replace("def sgd(p, g, lr, scale):", "def sgd(p, g, lr, scale):\n    lr = 2.0 * lr"))
    second = run(TRAIN, tmp_path / "programs", **given)
    assert first != second == run(TRAIN, tmp_path / "programs", **given)
