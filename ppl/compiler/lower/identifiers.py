"""Names in emitted code of what users name: plates, data arguments, tables and values."""

from __future__ import annotations

import re

PREFIXES = ("n_", "total_", "scale_", "ids_", "row0_", "x_", "batch_", "out_", "best_", "t_", "c_", "slab_", "lane_",
            "stride_", "tile_", "first_", "chunk_", "rows", "stage", "v_")  # fmt: skip
"""What other locals of emitted code begin with, that end as names of plates, arguments, outputs or stages do."""

_FOREIGN, _ESCAPED = re.compile(r"[^A-Za-z0-9_]"), re.compile(r"[^A-Za-z0-9_]|_(?=X[0-9A-F])")


def identifier(name: str) -> str:
    """`name` as part of a Python identifier; different names give different ones.

    A character that identifiers lack becomes ``_X20_``, by its code, and so does a ``_`` that would begin such text.
    """
    return _ESCAPED.sub(lambda found: f"_X{ord(found[0]):X}_", name)


def stem(name: str) -> str:
    """What the name of a value in emitted code begins with, before its number; no other local begins so.

    Different names may have one stem: the number tells their values apart.
    """
    text = _FOREIGN.sub("_", name)
    return text if text[:1].isalpha() and not text.startswith(PREFIXES) else f"v_{text}"
