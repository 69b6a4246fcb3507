"""Which training loop takes the steps of a program."""

from __future__ import annotations

from ppl.lazy import resident
from ppl.runtime.compiled import Compiled
from ppl.training.columns.trainer import ColumnTrainer
from ppl.training.loops import SparseTrainer, Trainer


def trainer_of(compiled: Compiled, sparse: bool, rule: str = "") -> Trainer | None:
    """The training loop of a program, or None; `sparse`: the optimizer leaves rows without a gradient as they are."""
    key = sparse, rule if sparse and rule in ColumnTrainer.rules else ""
    if key not in compiled.trainers:
        compiled.trainers[key] = _new_trainer(compiled, *key)
    return compiled.trainers[key]


def _new_trainer(compiled: Compiled, sparse: bool, rule: str) -> Trainer | None:
    """The first loop that suits, where the target has them: tables by columns, tables by rows, whole gradients."""
    target = compiled.target
    if not compiled.layout.shapes:
        return None
    if target.resident:
        made: Trainer | None = resident.resident_trainer(compiled)
        return None if made is not None and made.executable.tells else made
    if sparse and compiled.binder.plates:
        if rule in ColumnTrainer.rules and (cut := ColumnTrainer(compiled)):
            return cut
        if found := SparseTrainer(compiled):
            return found
    trainer = Trainer(compiled)
    return trainer if trainer.executable.trains else None
