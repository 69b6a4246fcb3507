"""The notebook and the page of the textbook models, made from the scripts beside this one.

Run: python examples/textbook/build.py
It writes textbook.ipynb with its output, docs/textbook.md and its pictures; with --plain textbook.ipynb without output.
It needs nbclient and ipykernel, the extra `notebook`.
"""

import base64
import os
import re
import sys
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
NOTEBOOK, PAGE, PICTURES = HERE / "textbook.ipynb", ROOT / "docs" / "textbook.md", ROOT / "docs" / "textbook"
NAMES = ("eight_schools", "mixed_model", "gaussian_process", "hidden_markov", "mixture", "survival", "asia", "ratings",
         "autoregression")  # fmt: skip
INTRODUCTION = """# Nine models from the textbooks

Each part stands for itself: data, model, fit, answer, picture. `tests/textbook` compares the numbers with references
that share no code with `ppl`: quadrature, closed forms, enumeration, recursions in NumPy."""
SETTINGS = "%config InlineBackend.print_figure_kwargs = {'dpi': 80, 'bbox_inches': None}"


def cells(name: str) -> list[tuple[str, str]]:
    """("markdown" or "code", text) of the cells of a script."""
    parts = re.split(r"^# %%(.*)\n", (HERE / f"{name}.py").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    found = []
    for mark, text in zip(parts[::2], parts[1::2], strict=True):
        if "markdown" in mark:
            found.append(("markdown", re.sub(r"^# ?", "", text, flags=re.MULTILINE).strip()))
        else:
            found.append(("code", text.strip()))
    return found


def notebook() -> nbformat.NotebookNode:
    """All scripts as one notebook, not run."""
    made = [new_markdown_cell(INTRODUCTION), new_code_cell(SETTINGS)]
    for name in NAMES:
        for kind, text in cells(name):
            made.append((new_markdown_cell if kind == "markdown" else new_code_cell)(text))
            made[-1].metadata["part"] = name
    for i, cell in enumerate(made):
        cell.id = f"cell-{i}"
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return new_notebook(cells=made, metadata={"kernelspec": spec})


def run(book: nbformat.NotebookNode, seconds: int = 600) -> nbformat.NotebookNode:
    """The notebook with its output."""
    from nbclient import NotebookClient

    inline = {**os.environ, "MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    done = NotebookClient(book, timeout=seconds, kernel_name="python3").execute(env=inline)
    for cell in done.cells:
        cell.metadata.pop("execution", None)
    done.metadata.pop("language_info", None)
    return done


def page(book: nbformat.NotebookNode) -> str:
    """The page of a notebook that was run; its pictures are written beside it."""
    PICTURES.mkdir(exist_ok=True)
    link = "[The notebook](../examples/textbook/textbook.ipynb) has all of it; here are models and answers."
    lines = [INTRODUCTION, "", link, ""]
    for name in NAMES:
        own = [c for c in book.cells if c.metadata.get("part") == name]
        code = [c for c in own if c.cell_type == "code"]
        model = code[0].source[code[0].source.index("@ppl.model") :]
        lines += [own[0].source, "", f"```python excerpt: examples/textbook/{name}.py", model, "```", ""]
        printed = "".join(o.text for c in code for o in c.outputs if o.output_type == "stream" and o.name == "stdout")
        lines += ["It prints", "", "```text", printed.rstrip(), "```", ""]
        (picture,) = (o.data["image/png"] for c in code for o in c.outputs if "image/png" in o.get("data", {}))
        (PICTURES / f"{name}.png").write_bytes(base64.b64decode(picture))
        lines += [f"![{own[0].source.splitlines()[0].lstrip('# ')}](textbook/{name}.png)", ""]
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    """Write the notebook, and the page unless `--plain` asks for the notebook alone."""
    book = notebook()
    if "--plain" not in sys.argv[1:]:
        PAGE.write_text(page(run(book)), encoding="utf-8")
    nbformat.write(book, NOTEBOOK)


if __name__ == "__main__":
    main()
