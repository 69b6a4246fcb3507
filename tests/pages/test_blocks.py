"""All code of the documentation runs and prints what its page shows; `tests/pages/blocks.py` says how it is marked."""

import ast
import re
from pathlib import Path

import pytest

from tests.pages.blocks import ROOT, blocks, compare, pages, run, scripts

ELSEWHERE = {
    "docs/embedding.md": "test_embedding.py",
    "docs/extending.md": "../test_extending.py",
    "docs/guides.md": "test_guides.py",
    "docs/loops.md": "test_loops.py",
    "docs/predict.md": "test_predict.py",
}
"""Pages whose code is run by tests that also look at what it finds."""

FAST = {"docs/cuda.md": 1, "docs/diagnostics.md": 1, "docs/tutorial-choose.md": 3, "docs/tutorial-embed.md": 1}
"""How many blocks of a page run in every run of the tests: those of the others compile too much, and are slow tests."""

WITH_CODE = [page for page in pages() if scripts(page) and page not in ELSEWHERE]


def test_pages_with_tests_of_their_own_have_them():
    for page, test in ELSEWHERE.items():
        assert page in (Path(__file__).parent / test).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", pages())
def test_marks_of_blocks_are_known(page):
    if page == "docs/extending.md":
        return
    for block in blocks(page):
        where = f"{page}, line {block.line}: {block.info}"
        if block.language == "python":
            assert re.fullmatch(r"|no-run: \w.*|excerpt: [\w/]+\.py", block.info), where
            compile(block.text, where, "exec")
        else:
            assert re.fullmatch(r"|not compared: \w.*", block.info), where


EXCERPTS = [
    (page, block.info.split()[1], block.text)
    for page in pages()
    for block in blocks(page)
    if block.info.startswith("excerpt:")
]


@pytest.mark.parametrize(("page", "path", "text"), EXCERPTS, ids=[f"{page}-{path}" for page, path, _ in EXCERPTS])
def test_an_excerpt_is_in_its_file(page, path, text):
    """Lines of code in their order."""
    there = _code((ROOT / path).read_text(encoding="utf-8"))
    for line in _code(text):
        assert line in there, f"{page} shows what is not in {path}, or in another order"
        del there[: there.index(line) + 1]


def _code(text):
    """The lines of a file without comments, docstrings, annotations and indentation."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.FunctionDef):
            node.returns = None
            if isinstance(node.body[0], ast.Expr) and isinstance(node.body[0].value, ast.Constant):
                del node.body[0]
    return [line.strip() for line in ast.unparse(tree).splitlines() if line.strip()]


@pytest.mark.parametrize("page", sorted(FAST))
def test_first_blocks_of_a_page_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(run(page, FAST[page])) == FAST[page]


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_CODE)
def test_all_blocks_of_a_page_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(run(page)) == len(scripts(page))


def test_output_is_compared():
    compare("loss 1.2341, 3 rows\n\n", "loss 1.2340,  3 rows\n", "here")
    compare("1.51e-08", "1.50e-08", "here")
    compare("a\nb\nc\nd", "a\n…\nd", "here")
    for found, shown in (
        ("3 rows", "4 rows"),
        ("1.2342", "1.2340"),
        ("a", "b"),
        ("a\nb", "a"),
        ("1.5", "1.5 2.5"),
        ("a\nb\nd", "a\n…\nc"),
    ):
        with pytest.raises(AssertionError):
            compare(found, shown, "here")
