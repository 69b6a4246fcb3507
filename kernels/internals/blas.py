"""SciPy's BLAS, which Numba calls, without the rest of `scipy.linalg`, whose import takes a tenth of a second."""

from __future__ import annotations

import importlib.util
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from ppl.lazy import loading

PARENT = "scipy.linalg"
NAME = f"{PARENT}.cython_blas"


class _Again(MetaPathFinder):
    """Has the first import of `scipy.linalg` import its BLAS, too, which gives the same module, as its attribute."""

    waits = True

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        """Find nothing; other finders do."""
        if self.waits and name == PARENT:
            self.waits = False
            sys.modules.pop(NAME, None)


def blas_alone() -> None:
    """Import SciPy's BLAS without `scipy.linalg`; nothing where that is not possible, so that Numba imports both.

    Relies on: Numba imports and calls the BLAS by its module's name, and looks at nothing else of `scipy.linalg`.
    """
    if NAME in sys.modules or PARENT in sys.modules:
        return
    try:
        import scipy

        spec = PathFinder.find_spec(NAME, [str(Path(scipy.__file__).parent / "linalg")])
        if spec is None or spec.loader is None:
            return
        with loading():  # SciPy's OpenBLAS waits briefly, whoever imports it
            sys.modules[NAME] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(sys.modules[NAME])
    except Exception:  # whatever a build of SciPy raises, the ordinary import says it
        sys.modules.pop(NAME, None)
    else:
        sys.meta_path.insert(0, _Again())
