"""Code blocks of the documentation: what a page says of each, and how they are run.

All blocks of a page in ```` ```python ```` are one script. What follows on the same line says what else they are:

| info string | meaning |
|---|---|
| `python` | run, after the blocks before it |
| `python no-run: reason` | not run |
| `python excerpt: PATH` | lines of a file of the repository, in their order |
| `output` | what the last block of Python before it prints, by `compare` |
| `output not compared: reason` | an example of it |

A block in a comment (`<!-- python` ... `-->`) is run, too, and not shown.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
import types
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FENCE = re.compile(
    r"^(?P<indent>[ \t]*)```(?P<language>\w+)(?P<info>[^\n`]*)\n(?P<text>.*?)^(?P=indent)```[ \t]*$"
    r"|^<!-- python\n(?P<hidden>.*?)^-->$",
    re.MULTILINE | re.DOTALL,
)
NUMBER = re.compile(r"-?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?")


@dataclass(frozen=True)
class Block:
    """A block of a page: its language, what its first line says besides, its text, and the line where that starts."""

    language: str
    info: str
    text: str
    line: int


def pages() -> list[str]:
    """All pages, as paths from the root of the repository."""
    return ["README.md", *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))]


def blocks(page: str) -> list[Block]:
    """The blocks of a page that have a language."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        group = "text" if match["hidden"] is None else "hidden"
        lines = match[group].splitlines(keepends=True)
        indent = len(match["indent"] or "")
        body = "".join(line[indent:] if line.strip() else "\n" for line in lines)
        line = text.count("\n", 0, match.start(group)) + 1
        found.append(Block(match["language"] or "python", (match["info"] or "").strip(), body, line))
    return found


def scripts(page: str) -> list[str]:
    """The texts of a page's blocks of Python that are run."""
    return [block.text for block in blocks(page) if block.language == "python" and not block.info]


def run(page: str, count: int | None = None) -> list[str]:
    """Run the first blocks of a page in this process, and compare their output: what each of them printed.

    A block has the page as its file and stands in its own lines there, so that errors and sources lead to the page.
    """
    module = types.ModuleType("page_of_the_documentation")
    sys.modules[module.__name__] = module
    printed: list[str] = []
    try:
        for block in blocks(page):
            if block.language == "python" and not block.info:
                if len(printed) == count:
                    break
                printed.append(_run(page, block, vars(module)))
            elif block.language == "output" and not block.info:
                assert printed, f"{page}: output before any code"
                compare(printed[-1], block.text, f"{page}, line {block.line}")
    finally:
        del sys.modules[module.__name__]
    return printed


def _run(page: str, block: Block, names: dict[str, object]) -> str:
    code = compile("\n" * (block.line - 1) + block.text, str(ROOT / page), "exec")
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(code, names)
    return out.getvalue()


def compare(printed: str, shown: str, where: str) -> None:
    """What was printed against what a page shows: words as they are, numbers to one in the last digit shown.

    A line `…` stands for any lines.
    """
    found, wanted = (text.strip().splitlines() for text in (printed, shown))
    if "…" in wanted:
        left = wanted.index("…")
        right = len(wanted) - left - 1
        found, wanted = found[:left] + found[max(left, len(found) - right) :], wanted[:left] + wanted[left + 1 :]
    assert len(found) == len(wanted), f"{where}: {len(wanted)} lines are shown, and printed was\n{printed}"
    for one, other in zip(found, wanted, strict=True):
        assert _same(one, other), f"{where} shows\n{other}\nand printed was\n{one}\nin\n{printed}"


def _same(found: str, wanted: str) -> bool:
    """Whether two lines are equal but for spaces and the last digits of their numbers."""
    one, other = (" ".join(line.split()) for line in (found, wanted))
    if NUMBER.sub("#", one) != NUMBER.sub("#", other):
        return False
    pairs = zip(NUMBER.findall(one), NUMBER.findall(other), strict=True)
    return all(abs(float(a) - float(b)) <= 1.001 * _unit(b) for a, b in pairs)


def _unit(number: str) -> float:
    """The last digit of a number as it is written; none of a whole number, which is exact."""
    mantissa, _, exponent = number.lower().partition("e")
    if not exponent and "." not in mantissa:
        return 0.0
    return 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))


def python(script: str, folder: Path, **modules: str) -> str:
    """The output of a script in a process of its own, in `folder`; it may import `modules`, given by name and text."""
    for name, text in {**modules, "script": script}.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "script.py"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout
