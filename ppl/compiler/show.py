"""A schedule as text: stages, steps and loop trees; a profile as a table."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ppl.compiler.fuse import Loop, Op
from ppl.compiler.stages import Cluster, Stage

if TYPE_CHECKING:
    from ppl.compiler.profile import Profile


COSTLIEST = 6
"""Functions whose time of compiling is shown."""


def show(stages: Sequence[Stage]) -> str:
    """One line per stage, step, loop and body."""
    lines = []
    for stage in stages:
        lines.append(f"{stage.name}: " + (f"for rows of {stage.row.name}" if stage.row else "unplated"))
        for step in stage.steps:
            if isinstance(step, Cluster):
                lines.append("  kernel")
                lines += _tree(step.items, "    ")
            else:
                lines.append(f"  {step.node.op} {step.target.name} {step.node.type}")
    return "\n".join(lines)


def _tree(items: Sequence[Loop | Op], pad: str) -> list[str]:
    lines, names = [], []
    for item in items:
        if isinstance(item, Op):
            names.append(item.target.name)
            continue
        if names:
            lines.append(pad + " ".join(names))
            names = []
        lines.append(f"{pad}for {item.token if not hasattr(item.token, 'name') else item.token.name}:")
        lines += _tree(item.items, pad + "  ")
    return [*lines, pad + " ".join(names)] if names else lines


def show_profile(profile: Profile, width: int = 110) -> str:
    """The profile as a table, one row a step, and a line of totals."""
    out = io.StringIO()
    console = Console(file=out, width=width, color_system=None, force_terminal=False)
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in ("stage", "kind", "step"):
        table.add_column(column, overflow="fold")
    for column in ("µs", "share", "Gflop/s", "KiB", "of roof"):
        table.add_column(column, justify="right")
    for r in profile.rows:
        rate = f"{r.rate / 1e9:.1f}" if r.flops else ""
        memory = (f"{r.bytes / 1024:.1f}", f"{r.roof:.0%}") if r.bytes else ("", "")
        table.add_row(r.stage, r.kind, escape(r.name), f"{r.seconds * 1e6:.2f}", f"{r.share:.1%}", rate, *memory)
    console.print(table)
    parts = [f"{profile.seconds * 1e6:.1f} µs a call", f"{profile.python * 1e6:.1f} µs of it in Python",
             f"{profile.serial * 1e6:.1f} µs on one thread", f"{profile.kernels} kernels",
             f"{profile.regions} row regions", f"{profile.workspace / 1024:.0f} KiB workspace"]  # fmt: skip
    if profile.flops:
        parts.append(f"products {profile.flops / 1e6:.2f} Mflop at {profile.rate / 1e9:.1f} Gflop/s")
    console.print(", ".join(parts), markup=False, highlight=False, soft_wrap=True)
    roof = f"roof: {profile.rates.flops / 1e9:.0f} Gflop/s, {profile.rates.bytes / 1e9:.0f} GB/s on one thread"
    total, most = sum(s for _, s in profile.compiled), profile.compiled[:COSTLIEST]
    named = ", ".join(f"{name} {s:.2f} s" for name, s in most)
    console.print(f"{roof}; compiled or read from disk in {total:.2f} s: {named}", markup=False, highlight=False,
                  soft_wrap=True)  # fmt: skip
    return out.getvalue().rstrip()
