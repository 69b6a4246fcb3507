"""The pictures of docs/gallery.md: those of examples/ into this folder, those of the zoo into docs/models.

Run: python docs/pictures/gallery.py [names]            (all: about an hour; `tune_queue` or `gmm` alone: seconds)
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1]
EXAMPLES = ("tune_queue", "gillespie_posterior", "growth_curve", "lorenz_fit")
MODELS = sorted(path.stem for path in (DOCS / "models").glob("*.png") if path.stem != "vae_plane")


def command(name: str, folder: str) -> tuple[list[str], Path]:
    """What draws a picture in `folder`, and where it belongs."""
    if name in EXAMPLES:
        return [sys.executable, str(DOCS.parent / "examples" / f"{name}.py")], DOCS / "pictures"
    return [sys.executable, "-m", "ppl.cli", "run", name, "--out", f"{folder}/outputs"], DOCS / "models"


def main(names: list[str]) -> None:
    """Draw them one after the other."""
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            words, place = command(name, folder)
            subprocess.run(words, cwd=folder, check=True)
            (found,) = Path(folder).rglob(f"{name}.png")
            shutil.copy(found, place / f"{name}.png")
            print(f"{place.name}/{name}.png")


if __name__ == "__main__":
    main(sys.argv[1:] or [*EXAMPLES, *MODELS])
