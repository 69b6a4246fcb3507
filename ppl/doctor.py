"""What ``ppl doctor`` shows: versions, processor, threads, cache, CUDA, and a short test of this machine."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import numpy as np

import ppl
from ppl.kernels.code_cache.machine_code import EMITTED_PREFIX
from ppl.lazy import cpu_threads, cuda_presence

PACKAGES = ("numba", "llvmlite", "numpy", "scipy", "networkx")

CHAINS = ("nutpie", "arviz")
"""Packages of the extra "mcmc"."""

VARIABLES = ("PPL_CACHE_DIR", "PPL_CHECK", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_DISABLE_JIT",
             "NUMBA_ENABLE_CUDASIM")  # fmt: skip

FEATURES = ("avx512f", "avx2", "fma", "neon", "sve")
"""What kernels gain from, where the processor has it."""

STEP, TOLERANCE = 1e-5, 1e-5
"""Of differences of a loss, and how far a gradient may be from them."""


class Finding(NamedTuple):
    """A line of the report; `good` is False where something has to be mended."""

    name: str
    text: str
    good: bool = True


def examine() -> Iterator[Finding]:
    """The findings, one after another; the test comes last and takes some seconds."""
    yield Finding("ppl", f"{_version('numba-ppl')}, Python {platform.python_version()}, {platform.platform()}")
    yield Finding("packages", ", ".join(f"{name} {_version(name)}" for name in PACKAGES))
    yield from map(_tried, (_processor, _threads, _blas, _cache, _cuda, _chains, _test))


def report() -> int:
    """Print the findings; the exit status is 1 where something has to be mended."""
    good = True
    for finding in examine():
        good = good and finding.good
        print(f"{finding.name:10} {'' if finding.good else 'FAILED: '}{finding.text}", flush=True)
    return 0 if good else 1


def show_cache() -> int:
    """Print where compiled code lies."""
    found = _tried(_cache)
    print(found.text)
    return 0 if found.good else 1


def clear_cache() -> int:
    """Remove the compiled code of this user: files that ppl has written, and folders that are empty then."""
    from ppl.kernels.code_cache import trusted_files  # imports Numba

    path, flaw = trusted_files.user_folder()
    if path is None or not path.is_dir():
        print(f"there is no cache: {flaw or path}")
        return 0
    files = _compiled(path)
    size = sum(x.stat().st_size for x in files)
    for x in files:
        x.unlink(missing_ok=True)
    for folder in sorted({x.parent for x in files} - {path}, reverse=True):
        with contextlib.suppress(OSError):
            folder.rmdir()
    print(f"removed {len(files)} files ({size / 2**20:.1f} MiB) from {path}")
    return 0


def _compiled(folder: Path) -> list[Path]:
    """The files below `folder` that ppl has written: emitted modules, and machine code of modules and kernels."""
    written = [*folder.glob(f"{EMITTED_PREFIX}*.py"), *folder.rglob("*.nbc")]
    return [x for x in written if x.is_file() and not x.is_symlink()]


def _tried(examined: Callable[[], Finding]) -> Finding:
    """A finding; an exception is one too."""
    try:
        return examined()
    except Exception as error:
        return Finding(examined.__name__.strip("_"), f"{type(error).__name__}: {error}", good=False)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def _processor() -> Finding:
    import llvmlite.binding as llvm  # as slow as Numba, which it is part of

    features = llvm.get_host_cpu_features()
    found = [name for name in FEATURES if features.get(name)]
    return Finding("processor", f"{llvm.get_host_cpu_name()}, {', '.join(found) or 'no wide vectors'}")


def _threads() -> Finding:
    told = [f"{name}={os.environ[name]}" for name in VARIABLES if name in os.environ]
    return Finding("threads", f"{cpu_threads.num_threads()} of {os.cpu_count()} cores; {', '.join(told) or 'defaults'}")


def _blas() -> Finding:
    found = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return Finding("BLAS", f"{found['name']} {found['version']} (NumPy); SciPy's serves compiled code")


def _cache() -> Finding:
    from ppl.kernels.code_cache import trusted_files  # imports Numba

    path, flaw = trusted_files.user_folder()
    if path is None or trusted_files.writable_user_folder() is None:
        return Finding("cache", f"machine code stays in memory: {flaw or path}", good=False)
    files = _compiled(path)
    size = sum(x.stat().st_size for x in files) / 2**20
    return Finding("cache", f"{path}, {len(files)} files, {size:.1f} MiB; 'ppl cache --clear' removes them")


def _cuda() -> Finding:
    """What of CUDA is there, and what is missing."""
    if (missing := cuda_presence.missing()) == cuda_presence.NO_PACKAGE:
        return Finding("CUDA", f"no: {missing}")
    from ppl.kernels.cuda import compat, launch, ptx  # optional

    if compat.SIMULATED:
        return Finding("CUDA", "simulated (NUMBA_ENABLE_CUDASIM)")
    compiler = "compiler" if ptx.is_available() else 'no compiler (pip install "numba-ppl[cuda]")'
    found = f"numba-cuda {_version('numba-cuda')}, {compiler}"
    if missing:
        return Finding("CUDA", f"no: {found}, but no driver or no device")
    return Finding("CUDA", f"{found}, {launch.count()} devices: {', '.join(launch.names())}")


def _chains() -> Finding:
    """What of `ppl.mcmc` is there."""
    found = {name: _version(name) for name in CHAINS}
    hint = '; pip install "numba-ppl[mcmc]"' if "missing" in found.values() else ""
    return Finding("chains", ", ".join(f"{name} {version}" for name, version in found.items()) + hint)


def _test() -> Finding:
    """Train a small model in compiled code, and compare its gradient with differences of its loss."""
    began = time.perf_counter()

    @ppl.model
    def line(x):  # type: ignore[no-untyped-def]
        w = ppl.param("w", np.array([0.3, -0.2]))
        with ppl.plate("rows", x) as x:
            z = ppl.sample("z", ppl.Normal(x @ w, 1.0))
            ppl.cost("square", (z - 1.0) ** 2)

    x = np.linspace(-1.0, 1.0, 200).reshape(100, 2)
    program = ppl.compile(line, dtype="float64", data=x)
    state = program.init(0)
    _, grads = program.value_and_grad(state, x)
    losses = [program.value(state.replace(params={"w": np.array([0.3, -0.2]) + h}), x) for h in _moves()]
    expected = np.array([losses[0] - losses[1], losses[2] - losses[3]]) / (2 * STEP)
    error = float(np.max(np.abs(grads["w"] - expected) / (1.0 + np.abs(expected))))
    fit = ppl.fit(program, x, steps=50, optimizer=ppl.optim.Adam(0.05), progress=False)
    seconds = time.perf_counter() - began
    good = error < TOLERANCE and bool(np.isfinite(fit.history["loss"]).all())
    return Finding("test", f"a gradient is {'right' if good else f'wrong by {error:.2g}'}; {seconds:.1f} s", good)


def _moves() -> list[np.ndarray]:
    return [sign * STEP * np.eye(2)[i] for i in range(2) for sign in (1.0, -1.0)]
