"""A folder of CSV files to a checked month: every row that cannot be taken is named by file and line."""

import csv
import hashlib
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pandera.pandas as pa
from pandera.errors import SchemaErrors

from stack.ingest.layout import ID, LABELS, LAYOUTS, SUBSCRIPTIONS, USERS, Column, IngestError, Kind, Layout

# 7,043 accounts are 0.4 MB; a file beyond this (about two million accounts) is no month of this course, and reading it
# would take the machine's memory.
MAX_BYTES: Final = 100_000_000
# Bad rows named by line; the rest is counted.
NAMED: Final = 3
# A value is quoted up to here.
SHOWN: Final = 40
OLDEST: Final = date(1970, 1, 1)
UNLABELLED: Final = "no labels: the month's churn is not known yet"
DTYPES: Final[Mapping[Kind, str]] = {Kind.FLAG: "bool", Kind.WHOLE: "int64", Kind.NUMBER: "float64"}

# What a cell looks like as text. ASCII digits only; no thousands marks, no NaN, no infinity.
_PATTERNS: Final[Mapping[Kind, str]] = {
    Kind.TEXT: r"[^\x00-\x1f\x7f]{1,128}",
    Kind.DATE: r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[ T]00:00:00)?",
    Kind.FLAG: r"(?:[Tt]rue|TRUE|[Ff]alse|FALSE|0|1)",
    # Whole numbers pass through pandas as 2.0 when a column once had a gap.
    Kind.WHOLE: r"-?[0-9]{1,12}(?:\.0{1,6})?",
    Kind.NUMBER: r"[+-]?(?:[0-9]{1,18}(?:\.[0-9]{0,20})?|\.[0-9]{1,20})(?:[eE][+-]?[0-9]{1,2})?",
}


@dataclass(frozen=True, slots=True)
class Month:
    """One checked month: a frame a table, in the order of user_id; `notes` are worth saying and no errors."""

    as_of: date
    frames: Mapping[str, pd.DataFrame]
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """How many accounts the month has."""
        return len(self.frames[SUBSCRIPTIONS])

    @property
    def labelled(self) -> int:
        """How many of them have a label."""
        return len(self.frames[LABELS]) if LABELS in self.frames else 0

    @property
    def sha256(self) -> str:
        """One hash of everything in it, independent of the order of the rows."""
        whole = hashlib.sha256()
        for table in sorted(self.frames):
            whole.update(f"{table}\0{digest(self.frames[table])}\n".encode())
        return whole.hexdigest()

    def with_labels(self, labels: pd.DataFrame) -> "Month":
        """The month with those of an earlier folder that are about its accounts."""
        labels = labels[labels[ID].isin(self.frames[SUBSCRIPTIONS][ID])].reset_index(drop=True)
        if labels.empty:
            return self
        note = f"no labels: the {len(labels):,} labels that this month has already stay"
        notes = (one for one in self.notes if one != UNLABELLED)
        return Month(self.as_of, {**self.frames, LABELS: labels}, (*notes, note))


def as_csv(frame: pd.DataFrame) -> bytes:
    """A frame as the CSV file it could have come from; floats so that they read back the same."""
    return frame.to_csv(index=False, lineterminator="\n").encode()


def digest(frame: pd.DataFrame) -> str:
    """A hash of a table's content."""
    return hashlib.sha256(as_csv(frame)).hexdigest()


def parse_as_of(text: str) -> date:
    """The month's date; IngestError unless it is an ISO date that is not in the future."""
    try:
        day = date.fromisoformat(text.strip())
    except ValueError:
        raise IngestError(f"--as-of {text[:SHOWN]!r} is no date. Write the month's last day as 2024-01-31.") from None
    # A day more: midnight comes earlier elsewhere.
    if not OLDEST <= day <= datetime.now(UTC).date() + timedelta(days=1):
        raise IngestError(f"--as-of {day} lies before {OLDEST} or in the future. Write the day the month was taken.")
    return day


def read_month(folder: Path, as_of: date) -> Month:
    """Everything in the folder, checked. Raises IngestError with file and line."""
    if not folder.is_dir():
        raise IngestError(f"{folder} is no folder. Give the folder of one month, with users.csv and the others.")
    frames, lines, notes = {}, {}, []
    for table, layout in LAYOUTS.items():
        path = folder / layout.file
        if path.exists():
            frames[table], lines[table] = _read(path, layout)
            notes += _gaps(frames[table], layout)
        elif table == LABELS:
            notes.append(UNLABELLED)
        else:
            raise IngestError(f"{folder} has no {layout.file}.{_inside(folder)}")
    _check_accounts(folder, frames, lines, notes)
    if LABELS in frames:
        # A label that is not known yet has no row in the table of labels.
        labels = _with_values(frames.pop(LABELS), LAYOUTS[LABELS])
        frames |= {} if labels.empty else {LABELS: labels}
        notes += [UNLABELLED] if labels.empty else []
    return Month(as_of, {table: frame.sort_values(ID, ignore_index=True) for table, frame in frames.items()}, (*notes,))


def _gaps(frame: pd.DataFrame, layout: Layout) -> list[str]:
    """The columns with empty cells, counted: `subscriptions.csv: plan_stream_tv is empty in 1,526 of 7,043 rows`."""
    empty = frame.isna().sum()
    return [
        f"{layout.file}: {name} is empty in {count:,} of {len(frame):,} rows" for name, count in empty.items() if count
    ]


def _with_values(frame: pd.DataFrame, layout: Layout) -> pd.DataFrame:
    """The rows without an empty cell, typed as a file without the others would be."""
    whole = frame.dropna(ignore_index=True)
    return pd.DataFrame(
        {one.name: pd.Series(whole[one.name].tolist(), dtype=DTYPES.get(one.kind)) for one in layout.columns}
    )


def _inside(folder: Path) -> str:
    months = sorted(path.name for path in folder.iterdir() if path.is_dir() and (path / "users.csv").exists())
    return f" It holds {', '.join(months[:4])}: give one of these." if months else ""


def _read(path: Path, layout: Layout) -> tuple[pd.DataFrame, list[int]]:
    """The rows of one file as typed columns, and the line each begins on."""
    rows, lines = _rows(path, layout)
    text = pd.DataFrame(rows, columns=list(layout.names), dtype=object)
    _validate(path, text, lines, layout, _text_schema(layout))
    typed = pd.DataFrame({column.name: _typed(text[column.name], column) for column in layout.columns})
    _validate(path, typed, lines, layout, _value_schema(layout))
    return typed, lines


def _rows(path: Path, layout: Layout) -> tuple[list[list[str]], list[int]]:
    """Cells in the layout's order of columns, and the line each row begins on."""
    if not path.is_file():
        raise IngestError(f"{path.name} is no file.")
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise IngestError(f"{path.name} has {size:,} bytes; at most {MAX_BYTES:,} are read. Is it one month's table?")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise IngestError(f"{path.name} cannot be read: {error.strerror}. Look at its rights.") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise IngestError(f"{path.name}, line {line}: not UTF-8. Save it as CSV in UTF-8.") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    order: list[int] | None = None
    rows, lines, begins = [], [], 1
    try:
        for cells in reader:
            if cells and order is None:
                order = _order(path, cells, layout)
                width = len(cells)
            elif cells and order is not None:
                if len(cells) != width:
                    what = f"{len(cells)} cells where the first line has {width}"
                    raise IngestError(f"{path.name}, line {begins}: {what}. Quote cells that hold a comma.")
                rows.append([cells[place].strip() for place in order])
                lines.append(begins)
            begins = reader.line_num + 1
    except csv.Error as error:
        raise IngestError(f"{path.name}, line {begins}: {error}. Is a quotation mark open?") from None
    if order is None:
        raise IngestError(f"{path.name} is empty. Its first line names the columns: {', '.join(layout.names)}.")
    if not rows:
        raise IngestError(f"{path.name} has no rows below its first line.")
    return rows, lines


def _order(path: Path, header: Sequence[str], layout: Layout) -> list[int]:
    """Where each column of the layout is; IngestError names what is missing, unknown or there twice."""
    names = [name.strip() for name in header]
    if len(names) == 1 and ";" in names[0]:
        raise IngestError(f"{path.name}: its columns are separated by semicolons. Save it with commas.")
    missing = [name for name in layout.names if name not in names]
    unknown = [name for name in names if name not in layout.names]
    twice = sorted({name for name in names if names.count(name) > 1})
    for accounts, what in ((twice, "has twice"), (missing, "lacks"), (unknown, "does not know")):
        if accounts:
            listed = ", ".join(repr(name[:SHOWN]) for name in accounts[:8])
            subject = path.name if what != "does not know" else f"{path.name}: this table"
            raise IngestError(f"{subject} {what} {listed}. Its columns are {', '.join(layout.names)}.")
    return [names.index(name) for name in layout.names]


def _text_schema(layout: Layout) -> pa.DataFrameSchema:
    """Each cell looks like what it must be."""

    def pattern(column: Column) -> str:
        return f"(?:{_PATTERNS[column.kind]})?" if column.optional else _PATTERNS[column.kind]

    def matches(column: Column) -> pa.Check:
        matches = re.compile(pattern(column)).fullmatch
        return pa.Check(lambda cell: matches(cell) is not None, element_wise=True, name="form")

    return pa.DataFrameSchema({column.name: pa.Column(object, matches(column)) for column in layout.columns})


def _value_schema(layout: Layout) -> pa.DataFrameSchema:
    """Dates exist, numbers are in their range, no one is there twice."""

    def column(one: Column) -> pa.Column:
        if one.name == ID:
            return pa.Column(object, unique=True, report_duplicates="exclude_first")
        check = {
            Kind.DATE: pa.Check(_is_date, element_wise=True, name="date"),
            Kind.WHOLE: pa.Check.in_range(one.low, one.high),
            Kind.NUMBER: pa.Check.in_range(one.low, one.high),
        }.get(one.kind)
        return pa.Column(None, check, nullable=one.optional)

    return pa.DataFrameSchema({one.name: column(one) for one in layout.columns})


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _typed(cells: "pd.Series[Any]", column: Column) -> "pd.Series[Any]":
    readers: dict[Kind, Callable[[str], Any]] = {
        Kind.TEXT: str,
        Kind.DATE: lambda cell: cell[:10],
        Kind.FLAG: lambda cell: cell.lower() in {"true", "1"},
        Kind.WHOLE: lambda cell: int(cell.split(".")[0]),
        Kind.NUMBER: float,
    }
    values = [readers[column.kind](cell) if cell else None for cell in cells]
    # Neither True and False nor whole numbers have a dtype with room for "nothing" that writes them as they were.
    gaps = column.kind is not Kind.NUMBER and None in values
    return pd.Series(values, dtype="object" if gaps else DTYPES.get(column.kind, "object"))


def _validate(path: Path, frame: pd.DataFrame, lines: list[int], layout: Layout, schema: pa.DataFrameSchema) -> None:
    try:
        schema.validate(frame, lazy=True)
    except SchemaErrors as errors:
        cases = errors.failure_cases.dropna(subset=["index"]).sort_values("index", kind="stable")
        if cases.empty:
            raise IngestError(f"{path.name}: {' '.join(str(errors).split())[:300]}") from None
        first = cases.iloc[0]
        place, name = int(first["index"]), str(first["column"])
        value = frame.iloc[place][name]
        shown = repr(value[:SHOWN]) if isinstance(value, str) else str(value)
        if str(first["check"]) == "field_uniqueness":
            before = lines[int((frame[name] == value).to_numpy().argmax())]
            fault = f"{name} {shown} was on line {before} already; each account has one row"
        else:
            expected = next(column for column in layout.columns if column.name == name).wanted
            fault = f"{name} is {shown}; {expected} is wanted"
        others = sorted({int(index) for index in cases["index"]} - {place})
        more = (
            f" (and {len(others):,} more bad rows, lines {_listed([lines[one] for one in others])})" if others else ""
        )
        raise IngestError(f"{path.name}, line {lines[place]}: {fault}{more}.") from None


def _listed(lines: Sequence[int]) -> str:
    return ", ".join(map(str, lines[:NAMED])) + (" …" if len(lines) > NAMED else "")


def _check_accounts(
    folder: Path, frames: Mapping[str, pd.DataFrame], lines: Mapping[str, list[int]], notes: list[str]
) -> None:
    """The files speak of the same accounts: those of subscriptions.csv, each of which is in users.csv."""
    accounts = frames[SUBSCRIPTIONS][ID]
    for table, frame in frames.items():
        layout = LAYOUTS[table]
        inside, outside = (frame[ID], accounts) if table != USERS else (accounts, frame[ID])
        source, other = (table, SUBSCRIPTIONS) if table != USERS else (SUBSCRIPTIONS, USERS)
        strangers = ~inside.isin(outside)
        if strangers.any():
            place = int(strangers.to_numpy().argmax())
            who, many = inside.iloc[place], int(strangers.sum())
            more = f" (and {many - 1:,} more)" if many > 1 else ""
            where = f"{LAYOUTS[source].file}, line {lines[source][place]}"
            raise IngestError(f"{where}: {who[:SHOWN]!r} is not in {LAYOUTS[other].file}{more}.")
        absent = accounts[~accounts.isin(frame[ID])]
        if absent.empty or table == USERS:
            continue
        if table == LABELS:
            notes.append(f"{layout.file} has no row for {len(absent):,} of {len(accounts):,} accounts")
            continue
        # Left out, an account would be given an older month's values by the feature store, silently.
        more = f" and {len(absent) - 1:,} more" if len(absent) > 1 else ""
        raise IngestError(f"{folder / layout.file} has no row for {absent.iloc[0]!r}{more} of subscriptions.csv.")
