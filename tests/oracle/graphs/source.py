"""A graph as the source text of a program: what `ppl` runs, what the oracle reads, and what a failure prints."""

from __future__ import annotations

import linecache
from dataclasses import dataclass
from typing import Any

import numpy as np

import ppl

HEADER = "import numpy as np\nimport ppl\n\n"


@dataclass(eq=False)
class Program:
    """An objective, unconstrained parameters, data, rows of the whole data set and run-time scalars; and the text."""

    name: str
    text: str
    objective: Any
    params: dict[str, np.ndarray]
    data: tuple[Any, ...]
    total_rows: int | None

    def reproduce(self, estimators: str) -> str:
        """A program that shows the gradient under `estimators`."""
        return (
            f"{HEADER}{self.text}\nprogram = ppl.compile(objective, estimators={estimators}, dtype='float64')\n"
            "state = program.init(0, *data).replace(params={k: np.array(v, float) for k, v in params.items()})\n"
            "print(program.diagnose(state, *data, repeats=10_000, total_rows=total_rows, backend='interpret'))\n"
        )


def program(name: str, text: str) -> Program:
    """Run `text`, which sets `objective` and `params`, and perhaps `data` and `total_rows`."""
    filename = f"<graph {name}>"
    linecache.cache[filename] = (len(text), None, text.splitlines(True), filename)
    scope: dict[str, Any] = {"np": np, "ppl": ppl, "data": (), "total_rows": None}
    exec(compile(text, filename, "exec"), scope)
    params = {k: np.array(v, np.float64) for k, v in scope["params"].items()}
    return Program(name, text, scope["objective"], params, tuple(scope["data"]), scope["total_rows"])
