"""What commands print: one JSON object, or aligned columns; nothing that could steer a terminal."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import date
from enum import Enum
from pathlib import Path
from typing import Any

# Values as wide as this push the rest of a table off the screen; --json has them whole.
CELL_CHARS = 70


def say_json(value: Mapping[str, Any]) -> None:
    """One object on standard output."""
    print(json.dumps(plain(value), allow_nan=False))


def say(text: str) -> None:
    """One line on standard output."""
    print(_clean(text))


def say_error(text: str) -> None:
    """One line on standard error."""
    print(_clean(text), file=sys.stderr, flush=True)


def plain(value: Any) -> Any:
    """`value` as JSON can hold it: dataclasses as objects, NaN and infinity as null."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, date | Path):
        return str(value)
    return value


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, last_whole: bool = False) -> None:
    """Aligned columns; nothing at all for no rows. `last_whole` leaves the last column uncut."""
    if not rows:
        return
    last = len(heads) - 1
    cut = [[_cell(text, whole=last_whole and place == last) for place, text in enumerate(row)] for row in rows]
    widths = [max(len(row[place]) for row in [list(heads), *cut]) for place in range(len(heads))]
    for row in [list(heads), *cut]:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def _cell(text: str, *, whole: bool = False) -> str:
    line = _clean(text)
    return line if whole or len(line) <= CELL_CHARS else line[: CELL_CHARS - 1] + "…"


def _clean(text: str) -> str:
    """On one line, without what could steer a terminal: label values and error texts come from elsewhere."""
    return "".join(char if char.isprintable() else " " for char in text)
