"""Modules that are imported when they are first used, so that `import ppl` does not wait for them.

Meanwhile Python's collector of cycles rests, which would walk through all that Numba and the package hold again and
again; as it does while graphs and machine code are made. And the threads that OpenBLAS starts when it is loaded sleep
when they find no work, which they would look for without a pause.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import threading
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from ppl.tuning import COLLECTOR

WAITS = "OPENBLAS_THREAD_TIMEOUT", "GOTO_THREAD_TIMEOUT"
"""Variables that OpenBLAS reads when it is loaded: for how many ticks of the processor, as a power of 2, a thread looks
for work before it sleeps."""

BRIEFLY = "20"
"""0.4 ms. OpenBLAS's own 28 are 0.1 s of a core after every call, and after it is loaded: NumPy's and SciPy's each. The
package's calls use no threads of either."""

_lock = threading.Lock()
_before: list[tuple[int, int, int]] = []


@contextlib.contextmanager
def resting() -> Iterator[None]:
    """Inside, in whichever thread, the collector runs rarely; thresholds that a user has set higher, or to 0, stay.

    The thresholds come back when the last thread is out, unless somebody has set others meanwhile.
    """
    with _lock:
        found = gc.get_threshold()
        _before.append(found)
        if len(_before) == 1 and 0 < found[0] < COLLECTOR[0]:
            gc.set_threshold(*COLLECTOR)
    try:
        yield
    finally:
        with _lock:
            first = _before[0]
            _before.pop()
            if not _before and gc.get_threshold() == COLLECTOR:
                gc.set_threshold(*first)


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """Inside, the collector rests, and an OpenBLAS that is loaded waits briefly; what a user has set of that stays."""
    with resting():
        said = any(name in os.environ for name in WAITS)
        if not said:
            os.environ[WAITS[0]] = BRIEFLY
        try:
            yield
        finally:
            if not said and os.environ.get(WAITS[0]) == BRIEFLY:
                del os.environ[WAITS[0]]


class Lazy:
    """Stands for module `name`."""

    def __init__(self, name: str):
        self.__name = name

    def __getattr__(self, attribute: str) -> Any:
        with loading():
            found = getattr(import_module(self.__name), attribute)
        vars(self)[attribute] = found
        return found

    def later(self, function: str) -> Any:
        """A function of the module for a table that is made before the module is needed."""
        return lambda *args, **options: getattr(self, function)(*args, **options)


class _Unread(Lazy):
    """Stands for a module among those that have been imported; gives way to it when it is used."""

    __spec__ = None

    def __init__(self, name: str):
        super().__init__(name)
        self.__name = name

    def __getattr__(self, attribute: str) -> Any:
        self.give_way()
        return super().__getattr__(attribute)

    def give_way(self) -> None:
        """Have the next import find the module."""
        known: Any = sys.modules.get(self.__name)
        if known is self:
            del sys.modules[self.__name]


@contextlib.contextmanager
def unread(name: str) -> Iterator[None]:
    """Who imports module `name` inside gets what imports it when an attribute is first used, outside too.

    Nothing where it has been imported or is not installed. An import outside is one as ever.
    """
    if name in sys.modules or find_spec(name) is None:
        yield
        return
    module = _Unread(name)
    sys.modules[name] = module  # type: ignore[assignment]
    try:
        yield
    finally:
        module.give_way()


special: Any = Lazy("scipy.special")
meeting: Any = Lazy("ppl.kernels.cpu.ranks")
checks: Any = Lazy("ppl.kernels.cpu.data_checks")
optimizers: Any = Lazy("ppl.kernels.cpu.training.optimizers")
cpu_calls: Any = Lazy("ppl.kernels.cpu.entry_points")
cpu_regions: Any = Lazy("ppl.kernels.cpu.threads.regions")
cpu_threads: Any = Lazy("ppl.kernels.cpu.threads.thread_count")
cpu_workers: Any = Lazy("ppl.kernels.cpu.threads.pool")
externals: Any = Lazy("ppl.kernels.cpu.externals")
cuda_launch: Any = Lazy("ppl.kernels.cuda.launch")
cuda_graph: Any = Lazy("ppl.kernels.cuda.training_steps")
cuda_presence: Any = Lazy("ppl.kernels.cuda.availability")
cuda_rank_sums: Any = Lazy("ppl.kernels.cuda.launch")
cuda_tables: Any = Lazy("ppl.kernels.cuda.table_gradients")
cuda_training: Any = Lazy("ppl.kernels.cuda.training_steps")
cuda_emission: Any = Lazy("ppl.compiler.emit.cuda.emitter")
diagnosing: Any = Lazy("ppl.inference.diagnose")
pricing: Any = Lazy("ppl.choosing.auto_particles")
devices: Any = Lazy("ppl.runtime.cuda")
device_training: Any = Lazy("ppl.training.on_device")
rank_sums: Any = Lazy("ppl.kernels.cpu.sums")
table_sums: Any = Lazy("ppl.kernels.cpu.sums")
parallel_optimizers: Any = Lazy("ppl.kernels.cpu.training.parallel_optimizers")
notebook_curves: Any = Lazy("ppl.notebook.loss_curve")
notebook_plans: Any = Lazy("ppl.notebook.plans")
networkx: Any = Lazy("networkx")
mpi: Any = Lazy("mpi4py.MPI")
rich_box: Any = Lazy("rich.box")
rich_console: Any = Lazy("rich.console")
rich_markup: Any = Lazy("rich.markup")
rich_table: Any = Lazy("rich.table")
