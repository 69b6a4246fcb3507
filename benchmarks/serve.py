"""``python -m benchmarks.serve MODULE``: a peer's process. It times its forms on request and else sleeps.

MODULE is a file of ``benchmarks/peers``, or another module by its dotted name, with ``forms() -> dict[str, Form]``.
Requests and answers are lines of JSON on stdin and stdout: first the answer ``{"labels": [...]}``; then to ``{"label",
"seconds"}`` the answer ``{"calls"}``, how many calls last that long, and to ``{"label", "calls"}`` the answer
``{"seconds"}``, those of one step. Whatever fails is answered by ``{"error"}``. The process needs the peer, NumPy and
this package, nothing of ppl.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from collections.abc import Mapping
from typing import Any

from benchmarks.forms import Form, calls_for, seconds_per_step


def answer(forms: Mapping[str, Form], request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answer to one request; a timed call follows one that is not timed, which warms the caches."""
    form = forms[request["label"]]
    if "seconds" in request:
        return {"calls": calls_for(form, request["seconds"])}
    form.wait(form.call())
    return {"seconds": seconds_per_step(form, request["calls"])}


def main() -> int:
    """Serve until stdin ends."""
    with os.fdopen(os.dup(1), "w") as out:
        os.dup2(2, 1)  # what libraries print must not come between the answers

        def say(message: Mapping[str, Any]) -> None:
            out.write(json.dumps(message) + "\n")
            out.flush()

        try:
            forms: Mapping[str, Form] = importlib.import_module(
                sys.argv[1] if "." in sys.argv[1] else f"benchmarks.peers.{sys.argv[1]}"
            ).forms()
            say({"labels": list(forms)})
        except Exception:
            say({"error": traceback.format_exc()})
            return 1
        for line in sys.stdin:
            try:
                say(answer(forms, json.loads(line)))
            except Exception:
                say({"error": traceback.format_exc()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
