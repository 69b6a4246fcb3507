"""Hooks of mkdocs: what the pages of docs/ need on the site beside what they are in the repository.

* A pattern in `nav` (``models/*.md``) stands for the pages it matches that are not named elsewhere.
* Files outside of docs/ that pages link to become pages below ``repository/``, and the links lead there.
* Pages with code of two tools side by side have no columns beside them.
* Info strings of code blocks keep the language alone: the rest is for the tests (`tests/pages`).
"""

from __future__ import annotations

import posixpath
import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files, InclusionLevel

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"(\]\()([^)\s#:]+)((?:#[\w-]*)?\))")
INFO = re.compile(r"^([ \t]*```\w+)[ \t]+[^`\n{]+$", re.MULTILINE)
LANGUAGES = {".py": "python", ".toml": "toml", ".json": "json", ".c": "c", ".sh": "bash"}
PICTURES = {".png", ".svg"}
ALWAYS = ("CHANGELOG.md", "CONTRIBUTING.md", "README.md")


def on_config(config: Any) -> Any:
    """Replace the patterns of `nav` by pages."""
    docs = Path(config.docs_dir)
    pages = sorted(path.relative_to(docs).as_posix() for path in docs.rglob("*.md"))
    named = set(_names(config.nav))
    config.nav = _expanded(config.nav, [page for page in pages if page not in named])
    return config


def _names(entry: Any) -> list[str]:
    if isinstance(entry, dict):
        return [name for inner in entry.values() for name in _names(inner)]
    return [name for inner in entry for name in _names(inner)] if isinstance(entry, list) else [entry]


def _expanded(entry: Any, pages: list[str]) -> Any:
    """The entry of `nav` with patterns replaced; a pattern stays within its folder."""
    if isinstance(entry, dict):
        return {title: _expanded(inner, pages) for title, inner in entry.items()}
    if not isinstance(entry, list):
        return entry
    found: list[Any] = []
    for inner in entry:
        if isinstance(inner, str) and "*" in inner:
            found += [p for p in pages if fnmatch(p, inner) and p.count("/") == inner.count("/")]
        else:
            found.append(_expanded(inner, pages))
    return found


def on_files(files: Files, config: Any) -> Files:
    """Add the files of the repository that pages link to, and those that these link to."""
    docs = Path(config.docs_dir)
    waiting = [ROOT / name for name in ALWAYS]
    waiting += [path for page in docs.rglob("*.md") for path in _outside(page, docs)]
    seen: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path not in seen:
            seen.add(path)
            files.append(_generated(path, config))
            waiting += _outside(path, docs) if path.suffix == ".md" else []
    return files


def _targets(page: Path) -> list[Path]:
    """What the links of a page in the repository lead to."""
    links = LINK.findall(page.read_text(encoding="utf-8"))
    return [Path(posixpath.normpath((page.parent / link).as_posix())) for _, link, _ in links]


def _outside(page: Path, docs: Path) -> list[Path]:
    found = [path for path in _targets(page) if path.is_relative_to(ROOT) and not path.is_relative_to(docs)]
    return [path for path in found if path.exists()]


def _generated(path: Path, config: Any) -> File:
    """A page that shows a file or lists a folder; a picture as it is."""
    name = f"repository/{path.relative_to(ROOT).as_posix()}"
    if path.suffix in PICTURES:
        return File.generated(config, name, abs_src_path=str(path))
    uri = name if path.suffix == ".md" else f"{name}.md"
    return File.generated(config, uri, content=_page(path), inclusion=InclusionLevel.NOT_IN_NAV)


def _page(path: Path) -> str:
    title = path.relative_to(ROOT).as_posix()
    if path.is_dir():
        entries = sorted(p.name for p in path.iterdir() if not p.name.startswith(("_", ".")))
        return f"# `{title}`\n\n" + "".join(f"* `{name}`\n" for name in entries)
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return text
    return f"# `{title}`\n\n````{LANGUAGES.get(path.suffix, 'text')}\n{text}````\n"


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The page with its links led to pages of the site, and short info strings."""
    here = page.file.src_uri
    if here.startswith("repository/"):
        page.meta["search"] = {"boost": 0.1}  # found below the pages
    if '<div class="pair"' in markdown:
        page.meta["hide"] = ["navigation", "toc"]  # two columns of code need the room
    return LINK.sub(lambda m: m[1] + _led(m[2], here) + m[3], INFO.sub(r"\1", markdown))


def _led(link: str, here: str) -> str:
    """A link of the repository as one of the site."""
    inside = here.removeprefix("repository/") if here.startswith("repository/") else f"docs/{here}"
    target = posixpath.normpath(posixpath.join(posixpath.dirname(inside), link))
    if target.startswith("..") or not (ROOT / target).exists():
        return link
    if target.startswith("docs/"):
        uri = target.removeprefix("docs/")
        uri = f"{uri}/index.md" if (ROOT / target).is_dir() else uri
    else:
        plain = Path(target).suffix in {".md", *PICTURES}
        uri = f"repository/{target}" if plain else f"repository/{target}.md"
    return posixpath.relpath(uri, posixpath.dirname(here) or ".")
