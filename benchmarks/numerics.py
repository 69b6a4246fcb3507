"""Writes docs/numerics.md, the largest errors of all scalar kernels: ``python -m benchmarks.numerics``.

Cases, references and stated bounds are those of the tests (`tests/kernels/scalar_cases.py`, `incomplete_cases.py`).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
HEAD = """# Accuracy of the scalar functions

Made by `python -m benchmarks.numerics`; `tests/kernels` asserts the bounds. float32 kernels are compared with SciPy's
double precision or 45 digits, float64 ones with 40 digits (mpmath), at arguments exact in their type.

## Elementary and special functions

The unit is an ulp of the result, or ("mixed") a machine epsilon of max(1, |y|) where the result crosses zero.
In float32 `sin`, `cos` and `tan` lose digits from 8,192 on, and are NaN from 6.5 million on, where neighbouring
numbers are half a radian apart; float64 has them everywhere.

| function | from | to | unit | float32 error | bound | float64 error | bound |
|---|---|---|---|---|---|---|---|
"""
SECOND = """
## Incomplete gamma and beta functions, distribution functions, their derivatives and inverses

Errors are relative to the value; for derivatives, which cross zero, relative to at least the stated part of their
largest value. In machine epsilons they grow with the logarithm of the value: a density of e^-700 has 700 of them. The
orders after a name are those of the derivative in the parameters.

| function | arguments | relative to at least | float32 error | bound | float64 error | bound |
|---|---|---|---|---|---|---|
"""


def elementary() -> str:
    """Rows of the unary functions."""
    import mpmath as mp
    from scalar_cases import CASES, apply

    rows = []
    for case in CASES:
        x = case.points(np.float32, 20000)
        single = case.error(apply("f32", case.name, x), np.asarray(case.reference(x.astype(float)), np.longdouble))
        x = case.points(np.float64, 200)
        with mp.workdps(40):
            truth = np.array([np.longdouble(mp.nstr(case.exact(mp.mpf(float(v))), 25)) for v in x])
        double = case.error(apply("f64", case.name, x), truth)
        cells = (case.low, case.high), (single, case.f32, double, case.f64)
        ends, errors = (" | ".join(f"{v:.3g}" for v in part) for part in cells)
        rows.append(f"| `{case.name}` | {ends} | {case.unit} | {errors} |")
    return "\n".join(rows)


def incomplete() -> str:
    """Rows of the functions with parameters."""
    from incomplete_cases import GRIDS
    from test_incomplete import error

    rows = []
    for i, grid in enumerate(GRIDS):
        parts = (error(i, "f32"), grid.f32, error(i, "f64"), grid.f64)
        floor = f"{grid.floor:g}" if grid.floor else "–"
        errors = " | ".join(f"{v:.2g}" for v in parts)
        rows.append(f"| `{grid.label}` | {len(grid.arguments())} | {floor} | {errors} |")
    return "\n".join(rows)


def main() -> int:
    """Measure and write."""
    sys.path.insert(0, str(ROOT / "tests" / "kernels"))
    (ROOT / "docs" / "numerics.md").write_text(HEAD + elementary() + "\n" + SECOND + incomplete() + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
