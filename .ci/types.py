"""Run mypy over the package as installed: ``kernels/`` is ``ppl.kernels``, ``models/`` is ``ppl.models``.

mypy names modules after folders and cannot map one to the other, so this lays out links under
``build/types/ppl`` in the shape of the installed package, checks that, and prints paths of the real tree.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TREE = ROOT / "build" / "types"
MOVED = ("kernels", "models")


def lay_out_links() -> None:
    """Make ``build/types/ppl`` mirror the installed package."""
    shutil.rmtree(TREE, ignore_errors=True)
    package = TREE / "ppl"
    package.mkdir(parents=True)
    for child in (ROOT / "ppl").iterdir():
        if child.name != "__pycache__":
            (package / child.name).symlink_to(child)
    for name in MOVED:
        if (ROOT / name).is_dir():
            (package / name).symlink_to(ROOT / name)


def real_paths(report: str) -> str:
    """Return mypy's report with the paths of the link tree replaced by those of the source tree."""
    for name in MOVED:
        report = report.replace(f"build/types/ppl/{name}/", f"{name}/")
    return report.replace("build/types/", "")


def main() -> int:
    """Check the package; return mypy's exit status."""
    lay_out_links()
    command = [sys.executable, "-m", "mypy", "--config-file", "pyproject.toml", "build/types/ppl"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    sys.stdout.write(real_paths(result.stdout))
    sys.stderr.write(real_paths(result.stderr))
    return result.returncode


if __name__ == "__main__":
    sys.exit(main())
