"""How tables lie that threads share by columns, and the sums of their rows that additions share."""

from __future__ import annotations

from typing import NamedTuple

from ppl.compiler.lower.sparse import Table
from ppl.records import dataclass
from ppl.tuning import CACHE_LINE


class Summand(NamedTuple):
    """coefs[r, k] · table[rows[r, k]], summed over the `each` entries k of data row r; no `coefs` stands for ones."""

    table: str
    rows: str
    coefs: str | None
    each: int


class Rows(NamedTuple):
    """Rows that several additions may share: a sum of table rows for every data row, added up before tables move."""

    summands: tuple[Summand, ...]

    @property
    def plain(self) -> bool:
        """Whether they are table rows as they are."""
        return len(self.summands) == 1 and self.summands[0].coefs is None and self.summands[0].each == 1


@dataclass(frozen=True)
class Columns:
    """How tables are cut into `parts` of nearly equal width, and what `rows` of terms are, by name."""

    parts: int
    tables: tuple[Table, ...]
    rows: dict[str, Rows]

    def piece(self, table: Table, part: int) -> tuple[int, int]:
        """First and last but one column of a part."""
        return table.width * part // self.parts, table.width * (part + 1) // self.parts

    def padded(self, table: Table) -> int:
        """Entries from one row of a part to the next."""
        most = max(last - first for first, last in (self.piece(table, p) for p in range(self.parts)))
        return -(-most // CACHE_LINE) * CACHE_LINE

    def start(self, name: str) -> int:
        """Where a table begins in a part."""
        at = 0
        for table in self.tables:
            if table.name == name:
                return at
            at += table.length * self.padded(table)
        raise KeyError(name)

    @property
    def area(self) -> int:
        """Entries of a part."""
        return sum(t.length * self.padded(t) for t in self.tables)

    def table(self, name: str) -> Table:
        """The table of this name."""
        return next(t for t in self.tables if t.name == name)
