"""Modules that are imported when they are first used, so that `import ppl` does not wait for them."""

from __future__ import annotations

from importlib import import_module
from typing import Any


class Lazy:
    """Stands for module `name`."""

    def __init__(self, name: str):
        self.__name = name

    def __getattr__(self, attribute: str) -> Any:
        found = getattr(import_module(self.__name), attribute)
        vars(self)[attribute] = found
        return found

    def later(self, function: str) -> Any:
        """A function of the module for a table that is made before the module is needed."""
        return lambda *args, **options: getattr(self, function)(*args, **options)


special: Any = Lazy("scipy.special")
optimizers: Any = Lazy("ppl.kernels.cpu.training.optimizers")
cpu_regions: Any = Lazy("ppl.kernels.cpu.parallel.regions")
cpu_threads: Any = Lazy("ppl.kernels.cpu.parallel.threads")
cpu_workers: Any = Lazy("ppl.kernels.cpu.parallel.workers")
cuda_launch: Any = Lazy("ppl.kernels.cuda.launch")
cuda_graph: Any = Lazy("ppl.kernels.cuda.training.graph")
cuda_presence: Any = Lazy("ppl.kernels.cuda.presence")
cuda_tables: Any = Lazy("ppl.kernels.cuda.training.tables")
cuda_training: Any = Lazy("ppl.kernels.cuda.training.steps")
devices: Any = Lazy("ppl.runtime.devices.executable")
resident: Any = Lazy("ppl.training.resident.tables")
rank_sums: Any = Lazy("ppl.kernels.cpu.parallel.rank_sums")
table_sums: Any = Lazy("ppl.kernels.cpu.training.table_sums")
parallel_optimizers: Any = Lazy("ppl.kernels.cpu.training.parallel_optimizers")
networkx: Any = Lazy("networkx")
mpi: Any = Lazy("mpi4py.MPI")
