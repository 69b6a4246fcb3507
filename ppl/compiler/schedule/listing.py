"""A schedule as text: stages, steps and loop trees."""

from __future__ import annotations

from collections.abc import Sequence

from ppl.compiler.schedule.fusion import Loop, Op
from ppl.compiler.schedule.stages import Cluster, Stage


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
        lines += [f"  by shares of the result: gemm {s.target.name} {s.node.type}" for s in stage.owned]
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
