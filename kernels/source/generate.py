"""Makes the float32 and the float64 form of a source: decides ``SINGLE``, renames types, and sorts imports.

What is left are the source's own lines, so that the modules made read as written by hand.
"""

from __future__ import annotations

import ast
import io
import re
import textwrap
import tokenize
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "ppl.kernels"
WIDTH = 120
NOTE = "# Made from kernels/source/{place} by `python -m ppl.kernels.source`: change that file instead.\n"
Member = tuple[str, str | None]
"""What is imported, and the name it gets here if that is another."""
TYPES = {"f32": "np.float32", "f64": "np.float64", "i32": "np.int32", "i64": "np.int64", "u64": "np.uint64"}


def modules() -> tuple[dict[Path, str], dict[Path, str]]:
    """The modules that sources make, and those that are there: text by path."""
    wanted, present = {}, {}
    for source in sorted(path for path in (ROOT / "source").glob("*/*.py") if path.name != "__init__.py"):
        place = source.relative_to(ROOT / "source")
        for bits in (32, 64):
            folder = ROOT / "generated" / f"f{bits}" / place.parent
            wanted[folder / place.name] = generate(source.read_text(encoding="utf-8"), place.as_posix(), bits)
            for path in folder.glob("*.py"):
                if path.name != "__init__.py":
                    present[path] = path.read_text(encoding="utf-8")
    return wanted, present


def generate(source: str, place: str, bits: int) -> str:
    """The module that the text of a source makes for numbers of so many bits; `place` is its path below the sources."""
    text = _renamed(_decided(source, bits == 32), bits)
    return NOTE.format(place=place) + _laid_out(text, bits)


def _decided(text: str, single: bool) -> str:
    """`text` with the side of every condition on ``SINGLE`` that holds, outer conditions first."""
    while True:
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.If | ast.IfExp) and ast.unparse(node.test) in ("SINGLE", "not SINGLE"):
                holds = single == isinstance(node.test, ast.Name)
                text = _without_if(text, node, holds) if isinstance(node, ast.If) else _chosen(text, node, holds)
                break
        else:
            return text


def _chosen(text: str, node: ast.IfExp, holds: bool) -> str:
    """`text` with one of two expressions in the place of the condition on which they depend."""
    starts = [0]
    for line in text.encode().splitlines(keepends=True):
        starts.append(starts[-1] + len(line))

    def span(part: ast.expr) -> tuple[int, int]:
        last, column = part.end_lineno or 0, part.end_col_offset or 0
        return starts[part.lineno - 1] + part.col_offset, starts[last - 1] + column

    first, last = span(node)
    kept = slice(*span(node.body if holds else node.orelse))
    return (text.encode()[:first] + text.encode()[kept] + text.encode()[last:]).decode()


def _without_if(text: str, node: ast.If, holds: bool) -> str:
    """`text` with the lines under ``if`` or those under ``else`` in the place of the whole statement."""
    lines = text.splitlines(keepends=True)
    end, body_end = node.end_lineno, node.body[-1].end_lineno
    other = next((i for i in range(body_end or 0, end or 0) if lines[i].strip() == "else:"), end)
    chosen = lines[node.lineno : other] if holds else lines[(other or 0) + 1 : end]
    indent = " " * node.col_offset
    new = textwrap.indent(textwrap.dedent("".join(chosen)), indent)
    return "".join(lines[: node.lineno - 1]) + new + "".join(lines[end:])


def _renamed(text: str, bits: int) -> str:
    """`text` with the names of one precision, in code, comments and docstrings."""
    names = {"real": f"f{bits}", "integer": f"i{bits}"}
    lines = text.splitlines(keepends=True)
    tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    for token in reversed(tokens):
        if token.type == tokenize.NAME:
            new = _suffixed(names.get(token.string, token.string), bits)
        elif token.type in (tokenize.COMMENT, tokenize.STRING):
            new = _suffixed(token.string.replace("`real`", f"float{bits}"), bits)
            new = re.sub(r"\{([^{}|]*) \| ([^{}|]*)\}", lambda pair: pair[1 if bits == 32 else 2], new)
        else:
            continue
        if new != token.string:
            (row, first), (end, last) = token.start, token.end
            before, after = lines[row - 1][:first], lines[end - 1][last:]
            lines[row - 1 : end] = [before + new + after]
    return "".join(lines)


def _suffixed(text: str, bits: int) -> str:
    return re.sub(r"_REAL\b", f"_F{bits}", re.sub(r"_real\b", f"_f{bits}", text))


def _laid_out(text: str, bits: int) -> str:
    """`text` with the imports of one precision, and blank lines as they should be between statements."""
    tree, lines, last = ast.parse(text), text.splitlines(), 0
    parts: list[tuple[ast.stmt, int, str]] = []
    for node in tree.body:
        block = lines[last : node.end_lineno]
        last = node.end_lineno or last
        blank = next((i for i, line in enumerate(block) if line.strip()), 0)
        parts.append((node, blank, "\n".join(block[blank:])))
    code = [part for part in parts if not isinstance(part[0], ast.Import | ast.ImportFrom)]
    first, _, doc = code[0]
    out, before = doc + "\n\n" + _imports(tree, bits), first
    for node, blank, own in code[1:]:
        apart = 2 if isinstance(node, ast.FunctionDef) or isinstance(before, ast.FunctionDef) else min(blank, 1)
        out += "\n" * (1 if before is first and apart < 2 else apart) + own + "\n"
        before = node
    return out


def _imports(tree: ast.Module, bits: int) -> str:
    """The lines that import what a module uses, and name its types."""
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    plain: set[Member] = set()
    members: set[tuple[str, Member]] = set()
    types: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.Import):
            plain |= {(alias.name, alias.asname) for alias in node.names if (alias.asname or alias.name) in used}
        elif isinstance(node, ast.ImportFrom):
            kept = [(alias.name, alias.asname) for alias in node.names if (alias.asname or alias.name) in used]
            if node.module == f"{PACKAGE}.source.precision":
                types += sorted({name for name, _ in kept})
            else:
                members |= {(_moved(node.module or "", bits), pair) for pair in kept}
    if types:
        plain.add(("numpy", "np"))
    blocks = [_plain(plain - {("numpy", "np")}), _plain(plain & {("numpy", "np")}), _members(members)]
    if types:
        blocks.append(f"{', '.join(types)} = {', '.join(TYPES[name] for name in types)}\n")
    return "\n".join(block for block in blocks if block)


def _moved(module: str, bits: int) -> str:
    """The name of a module that a source imports, in what is made."""
    return re.sub(rf"^{PACKAGE}\.source\.(scalar|cpu)\b", rf"{PACKAGE}.generated.f{bits}.\1", module)


def _plain(names: Iterable[Member]) -> str:
    return "".join(f"import {_aliased(*names)}\n" for names in sorted(names, key=str))


def _members(names: set[tuple[str, Member]]) -> str:
    """Imports of members, a line for each module and for each that gets another name."""
    out = ""
    for module in sorted({module for module, _ in names}):
        own = sorted((pair for home, pair in names if home == module), key=lambda pair: _order(pair[0]))
        groups = [[pair] for pair in own if pair[1]] + [[pair for pair in own if not pair[1]]]
        for group in sorted(filter(None, groups), key=lambda group: _order(group[0][0])):
            words = [_aliased(*pair) for pair in group]
            line = f"from {module} import {', '.join(words)}\n"
            wrapped = "".join(f"    {word},\n" for word in words)
            out += line if len(line) <= WIDTH + 1 else f"from {module} import (\n{wrapped})\n"
    return out


def _aliased(name: str, other: str | None) -> str:
    return f"{name} as {other}" if other else name


def _order(name: str) -> tuple[bool, list[int | str]]:
    """Constants first, and numbers in names by their size."""
    return not name.isupper(), [int(x) if x.isdigit() else x for x in re.split(r"(\d+)", name)]
