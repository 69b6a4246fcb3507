"""Scripts that tests run in processes of their own, and what runs them."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

TRAIN = """
import ppl

@ppl.model
def model():
    t = ppl.param("t", 0.3)
    z = ppl.sample("z", ppl.Normal(t, 1.0))
    ppl.cost("c", (z - 2.0) ** 2)

program = ppl.compile(model)
fit = ppl.fit(program, steps=20, optimizer=ppl.optim.SGD(0.1), progress=False)
print(float(fit.params["t"]).hex())
"""
"""A model without rows, whose training loop contains a kernel with threads."""


def start(script: str, folder: Path, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
    """A process that runs `script`, a text or a file, with its programs' machine code in `folder`."""
    env = {**os.environ, "PPL_CACHE_DIR": str(folder), "PYTHONPATH": str(ROOT)}
    env["PYTHONDONTWRITEBYTECODE"] = "1"  # an edit within the second would not be seen
    env |= environment
    given = [script] if script.endswith(".py") else ["-c", script]
    return subprocess.Popen(
        [sys.executable, *given, *arguments],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder.parent,
    )


def finish(process: "subprocess.Popen[str]") -> tuple[str, str]:
    """What a process wrote, to its output and to its errors; it must have succeeded."""
    output, errors = process.communicate(timeout=600)
    assert process.returncode == 0, f"exit status {process.returncode}\n{errors}"
    return output, errors


def run(script: str, folder: Path, *arguments: str, **environment: str) -> str:
    """The output of a process that must succeed without a warning."""
    output, errors = finish(start(script, folder, *arguments, **environment))
    assert "Warning" not in errors, errors
    return output
