"""A profile as a table."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from ppl.program.profile import Profile

COSTLIEST = 6
"""Functions whose time of compiling is shown."""


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
