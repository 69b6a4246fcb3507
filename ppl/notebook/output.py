"""Output of a notebook's cell that is written again and again."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

from ppl.notebook.html import element, escaped_text

NOTEBOOK_SHELLS = ("ZMQInteractiveShell",)
"""IPython's shells that show HTML."""


def in_notebook() -> bool:
    """Whether this process runs the cells of a notebook."""
    shell = sys.modules.get("IPython")
    return shell is not None and type(shell.get_ipython()).__name__ in NOTEBOOK_SHELLS


class Output:
    """A place below a cell; the first text makes it."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, markup: str) -> None:
        """Show `markup` in place of what was there."""
        shown = import_module("IPython.display")
        if self._handle is None:
            self._handle = shown.display(shown.HTML(markup), display_id=True)
        else:
            self._handle.update(shown.HTML(markup))

    def say(self, text: str) -> None:
        """Show a line of text."""
        self.show(element("span", escaped_text(text), style="color:#777"))


def progress_bar(share: float | None, text: str) -> str:
    """A bar that is filled to a share of 1 (None: unknown), and a text beside it."""
    given = {} if share is None else {"value": f"{share:.4f}", "max": 1}
    return element("div", element("progress", **given), " ", escaped_text(text), style="font-size:90%")
