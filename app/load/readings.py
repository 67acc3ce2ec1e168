"""What the service's /metrics said before and after a load run, kept as text beside its result."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Final

from app.base import files
from app.config import System

LOG = logging.getLogger("vigie.jobs")

BEFORE: Final = "metrics_before.txt"
AFTER: Final = "metrics_after.txt"
# A Python service answers about 10 kB. Of a longer page only the system's own lines are kept, of those the first ones.
MAX_TEXT_BYTES: Final = 500_000
_COMMENT: Final = re.compile(r"#[ \t]+(?:TYPE|HELP)[ \t]+([a-zA-Z_:][\w:]*)")
_NAME: Final = re.compile(r"[a-zA-Z_:][\w:]*")


def keep(folder: Path, system: System, before: bytes, after: bytes) -> None:
    """Write both texts into a run directory. One that failed leaves none: the run itself is worth more."""
    for name, data in ((BEFORE, before), (AFTER, after)):
        if not data:
            continue
        text = data.decode("utf-8", "replace")
        try:
            files.replace(folder / name, text if len(data) <= MAX_TEXT_BYTES else _short(system, text))
        except OSError as error:
            LOG.warning("%s cannot be written to %s (%s)", name, folder, error.strerror)


def read(folder: Path, name: str) -> bytes | None:
    """One of the two texts; None for a run that kept none."""
    try:
        return files.read(folder / name, 2 * MAX_TEXT_BYTES)
    except (OSError, ValueError):
        return None


def own_lines(system: System, text: str) -> list[str]:
    """The lines of the system's request counter and latency histogram, in the order of the page, comments included."""
    names = own_names(system)
    return [
        line
        for line in text.split("\n")
        if (hit := _COMMENT.match(line) or _NAME.match(line)) and hit[hit.lastindex or 0] in names
    ]


def own_names(system: System) -> frozenset[str]:
    """The names that the system's counter and histogram have on the page."""
    metrics = system.metrics
    counters = [name for name in (metrics.requests, metrics.errors) if name and _NAME.fullmatch(name)]
    names = {form for name in counters for form in (name, f"{name}_total", name.removesuffix("_total"))}
    if metrics.latency:
        names |= {f"{metrics.latency}{end}" for end in ("", "_bucket", "_sum", "_count")}
    return frozenset(names)


def _short(system: System, text: str) -> str:
    # no catalogue: a comment in a file
    head = f"# Vigie kept the lines of {system.id}'s counter and histogram alone: the page had {len(text)} characters."
    lines, room = [head], MAX_TEXT_BYTES
    for line in own_lines(system, text):
        room -= len(line.encode()) + 1
        if room < 0:
            break
        lines.append(line)
    return "\n".join([*lines, ""])
