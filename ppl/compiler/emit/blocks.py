"""Loops over rows that add up to float64: short blocks in float32, whose sums are added in float64.

A float64 accumulator in the loop itself would halve the width of all its vectors.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ppl.compiler.emit.checks import PART

BLOCK = 256
"""Rows that are added up in float32."""


def blocked(var: str, size: str, hoisted: Sequence[str], body: Sequence[str], sums: Sequence[str]) -> list[str] | None:
    """``for var in range(size): body`` in blocks, where `sums` are the float64 accumulators in `body`.

    `hoisted` are the statements before the loop, among them the slices that it walks through. None where the body
    uses `var` otherwise than as an index of these slices.
    """
    slices = [line.split(" = ")[0] for line in hoisted if re.fullmatch(rf"\w+ = {PART}\(.*\)", line)]
    text = "\n".join(body)
    for name in slices:
        text = re.sub(rf"\b{name}\[{var}\]", f"{name}b[{var}]", text)
    for name in sums:
        text = re.sub(rf"\b{name}\b", f"{name}b", text)
    if re.search(rf"\b{var}\b", re.sub(rf"\w+b\[{var}\]", "", text)):
        return None
    lines = [f"for {var}0 in range(0, {size}, {BLOCK}):", f"    {var}n = min({BLOCK}, {size} - {var}0)"]
    lines += [f"    {name}b = F(0.0)" for name in sums]
    lines += [f"    {name}b = part({name}, {var}0, {var}n)" for name in slices]
    lines += [f"    for {var} in range({var}n):", *(f"        {line}" for line in text.splitlines())]
    return [*lines, *(f"    {name} = {name} + {name}b" for name in sums)]
