"""One side of `benchmarks.against`: takes turns at the forms of some workloads, of whichever checkout it runs in.

Prints the labels of the forms, then for each label that it reads the fastest and the median seconds of a step.
"""

from __future__ import annotations

import importlib
import json
import statistics
import sys
import time

from benchmarks.forms import Form
from benchmarks.suite import CODES, two_threads


def turn(form: Form, seconds: float) -> list[float]:
    """Call `form` for some seconds; the fastest and the median seconds of a step."""
    found: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(found) < 3:
        begin = time.perf_counter()
        form.wait(form.call())
        found.append((time.perf_counter() - begin) / form.steps)
    return [min(found), statistics.median(found)]


def serve(codes: str, seconds: float) -> None:
    """Answer until there is nothing more to read."""
    forms: dict[str, Form] = {}
    with two_threads():
        for code in codes.split(","):
            workload = importlib.import_module(f"benchmarks.workloads.{CODES[code]}")
            for label, form in workload.forms().items():
                form.wait(form.call())
                forms[f"{code} {label}"] = form
        print(json.dumps(list(forms)), flush=True)
        for line in sys.stdin:
            print(json.dumps(turn(forms[line.strip()], seconds)), flush=True)


if __name__ == "__main__":
    serve(sys.argv[1], float(sys.argv[2]))
