"""Compile flags, the disk cache in a second process, threads, and a run without the JIT."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from ppl import tuning
from ppl.kernels import decorators, internals
from ppl.kernels.code_cache import versions
from ppl.kernels.generated.f32 import scalar

MODULE = """
import numpy as np
from ppl.kernels.decorators import jit
from ppl.kernels.cpu.products.blas import enter_single, gemm_f32, leave_single
from ppl.kernels.generated.f32.cpu.noise import fill_uniform_f32
from ppl.kernels.generated.f32 import scalar as f32

@jit
def layer(x, w, out, noise, key):
    enter_single()
    gemm_f32(False, False, 4, 3, 2, 1.0, x, 2, w, 3, 0.0, out, 3)
    leave_single()
    fill_uniform_f32(noise, 0, key, 0, 0, 0)
    for i in range(out.shape[0]):
        out[i] = f32.sigmoid(out[i]) - noise[i]

out = np.empty(12, np.float32)
layer(np.ones(8, np.float32), np.ones(6, np.float32), out, np.empty(12, np.float32), np.uint64(3))
print(sum(layer.stats.cache_hits.values()), sum(layer.stats.cache_misses.values()), float(out.sum()).hex())
"""


def test_disk_cache_hits_in_the_second_process(tmp_path):
    script = tmp_path / "emitted.py"
    script.write_text(MODULE)
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    runs = [
        subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    first, second = (run.stdout.split() for run in runs)
    assert first[:2] == ["0", "1"]
    assert second[:2] == ["1", "0"]
    assert first[2] == second[2]


def test_version_stamps_the_cache():
    assert len(versions.kernels_version()) == 32
    assert versions.kernels_version() in scalar.exp._cache._stamp()


def test_version_knows_the_thresholds(tmp_path, monkeypatch):
    """Other numbers in `ppl/tuning.py` are other machine code; the same text elsewhere is not."""
    text = Path(tuning.__file__).read_text()
    for content, same in ((text, True), (text.replace("TABLED_ROWS = ", "TABLED_ROWS = 1"), False)):
        (tmp_path / "tuning.py").write_text(content)
        monkeypatch.setattr(tuning, "__file__", str(tmp_path / "tuning.py"))
        assert (versions.kernels_version.__wrapped__() == versions.kernels_version()) is same


def test_version_knows_the_files_of_all_folders(tmp_path, monkeypatch):
    folder = shutil.copytree(Path(internals.__file__).parent, tmp_path / "internals")
    monkeypatch.setattr(versions, "__file__", str(tmp_path / "code_cache" / "versions.py"))
    before = versions.kernels_version.__wrapped__()
    assert versions.kernels_version.__wrapped__() == before
    with open(folder / "calls.py", "a") as file:
        file.write("# another text\n")
    changed = versions.kernels_version.__wrapped__()
    (folder / "calls.py").rename(folder / "others.py")
    assert len({before, changed, versions.kernels_version.__wrapped__()}) == 3


def test_version_reads_all_sources_of_the_kernels():
    root = Path(versions.__file__).parent.parent
    known = {(path.relative_to(root).as_posix(), str(path)) for path in root.rglob("*.py")}
    assert set(versions._source_files(str(root))) == known and ("cpu/memory.py", str(root / "cpu/memory.py")) in known


def test_infinities_keep_their_meaning():
    @decorators.jit
    def count_nan(x):
        total = 0
        for i in range(x.shape[0]):
            total += x[i] != x[i]
        return total

    assert count_nan(np.array([np.nan, np.inf, 1.0, np.nan])) == 2
    assert not {"nnan", "ninf", "fast"} & (decorators.LOOP_FASTMATH | decorators.SCALAR_FASTMATH)


def test_scalar_functions_without_jit():
    """The source is plain Python: the same tests pass with the compiler switched off."""
    here = Path(__file__).parent
    noise = ["philox_known_answers", "scalar_equals_reference", "extreme_words_stay_inside"]
    files = [here / "test_scalar.py", *(here / f"test_noise.py::test_{name}" for name in noise)]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *map(str, files)],
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout[-3000:]


def test_one_place_owns_the_compile_flags():
    """No kernel and no emitted text is compiled, or kept on disk, by Numba's own decorators."""
    root = Path(__file__).parents[2]
    emitters = [*(root / "ppl" / "compiler").rglob("*.py"), *(root / "ppl" / "training").rglob("*.py")]
    files = [*(root / "kernels").rglob("*.py"), *emitters, root / "ppl" / "random.py"]
    for path in [p for p in files if p.name != "decorators.py" and "cuda" not in p.parts]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        called = {ast.unparse(x.func) for x in ast.walk(tree) if isinstance(x, ast.Call)}
        used = {ast.unparse(d) for x in ast.walk(tree) if isinstance(x, ast.FunctionDef) for d in x.decorator_list}
        assert not {"njit", "numba.njit", "numba.jit", "vectorize", "guvectorize"} & (called | used), path
    for path in emitters:
        assert not re.search(r"@(numba\.)?njit|import .*\bnjit\b|cache=True", path.read_text(encoding="utf-8")), path
