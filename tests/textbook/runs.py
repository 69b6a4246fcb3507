"""The scripts of examples/textbook, run without pictures."""

import functools
from pathlib import Path
from types import SimpleNamespace

FOLDER = Path(__file__).parents[2] / "examples" / "textbook"
PICTURE = "# %%\nfigure"


@functools.cache
def run(name: str) -> SimpleNamespace:
    """What a script has computed before its picture, by the names of its variables."""
    text = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    before = text[: text.index(PICTURE)]
    space: dict = {"__name__": name}
    exec(compile(before, str(FOLDER / f"{name}.py"), "exec"), space)
    return SimpleNamespace(**space)
