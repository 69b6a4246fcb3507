"""The notebook holds what the scripts say, is small, and runs headless."""

import runpy
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "examples" / "textbook"


@pytest.fixture
def build():
    pytest.importorskip("nbformat")
    return runpy.run_path(str(FOLDER / "build.py"), run_name="build")


def test_the_notebook_is_made_of_the_scripts(build):
    import nbformat

    text = (FOLDER / "textbook.ipynb").read_text(encoding="utf-8")
    kept, made = nbformat.reads(text, as_version=4), build["notebook"]()
    nbformat.validate(kept)
    assert [c.source for c in kept.cells] == [c.source for c in made.cells], "run python examples/textbook/build.py"
    assert len(text) < 1_500_000
    for name in build["NAMES"]:
        code = build["cells"](name)[1][1]
        model = code[code.index("@ppl.model") :]
        assert 1 <= sum(line.strip() != "" for line in model.splitlines()) <= 25, name


@pytest.mark.slow
def test_the_notebook_runs(build):
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    book = build["run"](build["notebook"]())
    pictures = [o for c in book.cells if c.cell_type == "code" for o in c.outputs if "image/png" in o.get("data", {})]
    assert len(pictures) == len(build["NAMES"])
