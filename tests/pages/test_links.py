"""Pages name files that exist, and their links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")]
FOLDERS = ("ppl", "kernels", "models", "tests", "benchmarks", "examples", "docs")
FILES = {
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*.py"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")))
}
MADE_BY_THE_PAGE = {"docs/extending.md"}
"""Pages whose edits make files: `tests/test_extending.py` checks these."""


@pytest.mark.parametrize("page", sorted({"README.md", "CONTRIBUTING.md", *PAGES} - MADE_BY_THE_PAGE))
def test_paths_and_links_of_a_page_exist(page: str):
    text = (ROOT / page).read_text(encoding="utf-8")
    modules = re.findall(r"`([\w/]+\.py)`", text)
    missing = [name for name in modules if not any(f"/{path}".endswith(f"/{name}") for path in FILES)]
    folders = re.findall(rf"`((?:{'|'.join(FOLDERS)})/[\w/]*\w)`", text)
    missing += [name for name in folders if not (ROOT / name).exists() and not (ROOT / f"{name}.py").exists()]
    links = re.findall(r"\]\(([^)#\s]+)(?:#[\w-]*)?\)", text)
    missing += [link for link in links if "://" not in link and not ((ROOT / page).parent / link).exists()]
    assert not missing
