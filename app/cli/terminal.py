"""What commands print: one JSON object, or aligned columns; nothing that could steer a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from app.base.text import plain, printable
from app.errors import VigieError
from app.words.message import t

# Values as wide as this push the rest of a table off the screen; --json has them whole.
CELL_CHARS = 70


def say_json(value: Mapping[str, Any]) -> None:
    """One object on standard output."""
    print(json.dumps(plain(value), allow_nan=False))


def say(text: str) -> None:
    """One line on standard output."""
    print(printable(text))


def say_error(text: str) -> None:
    """One line on standard error."""
    print(printable(text), file=sys.stderr, flush=True)


def say_note(text: str) -> None:
    """What a reader should know as well."""
    say_error(t("note: {note}", note=text))


def say_problem(error: VigieError) -> None:
    """An error with its next step."""
    say_error(t("error: {error}", error=error.text))


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
    line = printable(text)
    return line if whole or len(line) <= CELL_CHARS else line[: CELL_CHARS - 1] + "…"
