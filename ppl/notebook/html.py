"""Elements of HTML and SVG, for notebooks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

TABLE_STYLE = "border-collapse:collapse;font-size:90%"

CELL_STYLE = "text-align:left;vertical-align:top;padding:2px 10px 2px 0;border-bottom:1px solid #8884"


def element(name: str, *content: str, **attributes: object) -> str:
    """An element around what is markup already; `_` in the name of an attribute stands for `-`."""
    given = "".join(f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"' for key, value in attributes.items())
    return f"<{name}{given}>{''.join(content)}</{name}>"


def escaped_text(text: object) -> str:
    """A text as markup."""
    return escape(str(text))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], last: str = "", **attributes: object) -> str:
    """A table of texts, with a `last` row of markup."""
    head = element("tr", *(element("th", escaped_text(x), style=CELL_STYLE) for x in columns))
    body = (element("tr", *(element("td", escaped_text(x), style=CELL_STYLE) for x in row)) for row in rows)
    return element("table", element("thead", head), element("tbody", *body, last), style=TABLE_STYLE, **attributes)


def titled_block(title: str, *content: str) -> str:
    """What a notebook shows of an object: a title, and what belongs to it."""
    return element("div", element("p", element("b", escaped_text(title))), *content)


def code_block(text: str) -> str:
    """A text in lines, as it stands."""
    return element("pre", escaped_text(text), style="font-size:85%;line-height:1.3")
