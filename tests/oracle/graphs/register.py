"""The registry of hand-written graphs, and how their texts are put together.

`WRITTEN` maps a name "class/what" to a program's text. `single` writes models without data, `one` those of one node and
one cost, `rows` those of one plate.
"""

from __future__ import annotations

WRITTEN: dict[str, str] = {}


def add(name: str, text: str) -> None:
    """Register a program's text."""
    if name in WRITTEN:
        raise ValueError(f"two graphs are called {name}")
    WRITTEN[name] = text.strip() + "\n"


def model(body: str, arguments: str = "") -> str:
    """A model of the given lines."""
    lines = "\n".join("    " + line for line in body.strip("\n").split("\n"))
    return f"@ppl.model\ndef model({arguments}):\n{lines}\nobjective = model\n"


def single(name: str, body: str, params: str) -> None:
    """Lines of a model without data."""
    add(name, model(body) + f"params = {params}")


def one(name: str, dist: str, cost: str, params: str) -> None:
    """One node z over parameters `t` (and `s`), and a cost of it."""
    used = [p for p in ("s", "t") if f"{p}=" in params.replace(" ", "")]
    lines = [f"{p} = ppl.param({p!r}, 0.5)" for p in used]
    single(name, "\n".join([*lines, f"z = ppl.sample('z', {dist})", f"ppl.cost('c', {cost})"]), params)


def rows(name: str, body: str, params: str, data: str, total_rows: str = "None") -> None:
    """Lines of a model of one data argument x."""
    add(name, model(body, "x") + f"params = {params}\ndata = ({data},)\ntotal_rows = {total_rows}")


X3 = "np.array([0.7, -1.1, 0.4])"
