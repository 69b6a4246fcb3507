"""The page of distributions is what the registries say."""

from __future__ import annotations

from ppl import catalog as table
from ppl.distributions import COMBINATORS, REGISTRY


def test_page_is_up_to_date():
    stale = "docs/distributions.md is stale; run `python -m ppl.catalog`"
    assert table.PAGE.read_text(encoding="utf-8") == table.page(), stale


def test_page_has_every_distribution():
    page = table.page()
    assert all(f"| `{name}` |" in page for name in (*REGISTRY, *COMBINATORS, "StickBreaking", "Exp"))
