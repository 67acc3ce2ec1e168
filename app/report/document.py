"""A report before it is written: sections of blocks, every number with its origin. Pure data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Number:
    """One number of the report. `value` None is unknown, and `shown` says so with the reason.

    `origin` is how anyone gets it again: `{"query": PromQL, "at": epoch seconds}` for an instant, with the `labels` of
    its series where there are several,
    `{"query": PromQL, "start": …, "end": …, "step": …, "take": "max" | "last" | …}` for a range,
    `{"run": id, "field": "counted.delta"}` for a result in the ledger's run directory, `{"file": name, …}` for a file
    of the evidence.
    """

    name: str
    value: float | None
    shown: str
    origin: Mapping[str, Any]


Cell = str | Number


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph. Its only markup is `code` between backticks and **bold**; all else is shown as it is."""

    text: str


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells below their heads."""

    heads: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True, slots=True)
class Code:
    """What a terminal or a file shows, character for character."""

    text: str
    language: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """A chart: `name` is its file without ending, `svg` the drawing, `csv` the numbers it is drawn from."""

    name: str
    svg: str
    csv: str
    caption: str


@dataclass(frozen=True, slots=True)
class Gap:
    """A part without data: why, and the exact click or command that brings it. Never blank, never left to fill in."""

    why: str
    step: str


Block = Text | Table | Code | Picture | Gap


@dataclass(frozen=True, slots=True)
class Evidence:
    """A file for the ZIP: `name` may have one folder (`drift/report.html`)."""

    name: str
    data: bytes
    about: str


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the report under its title."""

    title: str
    blocks: Sequence[Block]
    evidence: Sequence[Evidence] = ()
    parts: Sequence[Section] = ()


@dataclass(frozen=True, slots=True)
class Document:
    """A whole report: `name` is that of its files (`monitoring`, `rapport_tp5`), `about` lines below its title."""

    name: str
    title: str
    about: Sequence[str]
    sections: Sequence[Section]
    language: str
    numbers: Sequence[Number] = field(default=())

    def walk(self) -> Iterator[Section]:
        """Every section and part, in the order of the report."""
        waiting = list(reversed(self.sections))
        while waiting:
            section = waiting.pop()
            yield section
            waiting += reversed(section.parts)

    @property
    def all_numbers(self) -> list[Number]:
        """The numbers of all tables, in the order of the report, and those of its sentences (`numbers`)."""
        tables = [block for section in self.walk() for block in section.blocks if isinstance(block, Table)]
        cells = [cell for table in tables for row in table.rows for cell in row]
        return [*(cell for cell in cells if isinstance(cell, Number)), *self.numbers]

    @property
    def gaps(self) -> list[Gap]:
        """What is missing."""
        return [block for section in self.walk() for block in section.blocks if isinstance(block, Gap)]
