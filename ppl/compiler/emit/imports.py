"""The imports of an emitted module: what it uses of the kernels, so that nothing else is loaded with it."""

from __future__ import annotations

import re

IMPORT = re.compile(r"^from ((?:ppl\.kernels|ppl\.errors|numba)[\w.]*) import (.*)\n", re.MULTILINE)


def pruned(source: str) -> str:
    """`source` without the names that it imports from ppl and from Numba, one line each, and does not use."""
    words = set(re.findall(r"[A-Za-z_]\w*", IMPORT.sub("", source)))

    def used(line: re.Match[str]) -> str:
        names = [x for x in line[2].split(", ") if x.split(" as ")[-1] in words]
        return f"from {line[1]} import {', '.join(names)}\n" if names else ""

    return IMPORT.sub(used, source)
