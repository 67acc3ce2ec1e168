"""What a page may save: a closed list of keys, and of some keys the values. A file written by hand may hold every key.

A user of a page must not be able to make the console run a command, read a secret, ask a database or another
machine, or read files beyond the console's own. The list is held against the TOML document itself: a key that the
schema gets later is closed until it is listed here. docs/system-file.md prints the list; a test compares the two.
"""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from app.config import Settings
from app.config.system import expanded
from app.egress.addresses import DEFAULT_PORTS, check_parts, named
from app.errors import AddressRefused
from app.periods.files import MAX_FILES, PLACEHOLDER
from app.words.message import t

Place = tuple[str, ...]
# Replaces every name in a table whose keys the file's writer chooses.
ANY: Final = "*"
# Table -> keys; what is below a key on the list is free (a body, an expression by legend name).
OPEN: Final[Mapping[Place, tuple[str, ...]]] = {
    (): ("title",),
    ("api",): ("url", "health"),
    ("prometheus",): ("url", "selector"),
    ("metrics",): ("requests", "latency", "errors"),
    ("panels",): ("id", "title", "expr", "unit", "legend", "kind", "warn", "bad", "help", "tab"),
    ("alerts",): ("name", "expr", "for", "severity", "condition", "impact", "action"),
    ("status",): ("title", "expr"),
    ("request",): ("method", "path", "body"),
    ("request", "fields", ANY): ("from", "values", "min", "max", "step", "whole", "column"),
    ("request", "errors", ANY): ("body", "status"),
    ("drift",): (
        *("source", "path", "split", "split_at", "time", "window", "expr", "needs", "has", "label", "features"),
        *("identifier", "columns", "threshold", "min_rows", "comparable", "left_out", "thresholds", "methods"),
        *("target_threshold", "sentinels", "rule", "material_spread", "material_share"),
    ),
    ("quality",): ("kind",),
    ("load",): ("max_rate",),
    ("dashboard",): ("title", "refresh"),
    ("dashboard", "rows"): ("title", "panels"),
    ("story",): ("ref", "cur", "look"),
    ("lab",): ("course",),
}
_KEYS: Final = frozenset((*table, key) for table, keys in OPEN.items() for key in keys)
# Every table on the way to a key: `request.fields` too, which has no listed key.
_TABLES: Final = frozenset(place[:depth] for place in _KEYS for depth in range(len(place)))
# Sources that read no more than a page may: a later one is closed until it is listed here.
OPEN_SOURCES: Final = ("files", "gauge")
# A data file from a page; anything else would be read as CSV and shown, a file of secrets too.
DATA_ENDINGS: Final = (".csv", ".parquet")
# A longer list of refusals is a file of another kind.
MAX_NAMED: Final = 12


def refusals(settings: Settings, document: Mapping[str, Any]) -> list[str]:
    """Keys of a TOML document that a page may not save, each as `drift.hooks` or with the reason in brackets."""
    names = list(dict.fromkeys(_walk(settings, document, (), "")))
    return names if len(names) <= MAX_NAMED else [*names[:MAX_NAMED], t("{keys} more", keys=len(names) - MAX_NAMED)]


def _walk(settings: Settings, table: Mapping[str, Any], place: Place, shown: str) -> Iterator[str]:
    for key, value in table.items():
        here = (*place, ANY) if (*place, ANY) in _TABLES else (*place, key)
        name = f"{shown}{key[:80]}"
        if here in _KEYS:
            why = _VALUES[here](settings, value) if here in _VALUES else ""
            if why:
                yield t("{key} ({why})", key=name, why=why)
        elif here in _TABLES:
            # One table, or an array of tables; anything else here makes the file invalid.
            for inner in value if isinstance(value, list) else [value]:
                if isinstance(inner, Mapping):
                    yield from _walk(settings, inner, here, f"{name}.")
        else:
            yield name


def may_name(settings: Settings, url: str) -> bool:
    """True for an address that a page may name: this machine, and what the environment allows by name."""
    try:
        check_parts(url)
    except AddressRefused:
        return False
    parts = urlsplit(url)
    port = parts.port or DEFAULT_PORTS[parts.scheme]
    return url.rstrip("/") == settings.prometheus_url or named(parts.hostname or "", port, settings.propose_hosts)


def may_read(settings: Settings, text: str) -> bool:
    """True for a data file below home or checkout, wherever its links lead; `{period}` means every month."""
    path = Path(text)
    if not path.is_absolute() or path.suffix not in DATA_ENDINGS or ".." in path.parts:
        return False
    try:
        roots = settings.home.resolve(), settings.root.resolve()
        pattern = glob.escape(text).replace(glob.escape(PLACEHOLDER), "*")
        months = glob.iglob(pattern) if PLACEHOLDER in text else iter(())  # noqa: PTH207 - the pattern is text
        # The name itself too: it may lead nowhere today.
        files = [path, *map(Path, islice(months, MAX_FILES + 1))]
        return all(any(_below(_led_to(file), root) for root in roots) for file in files)
    except (OSError, RuntimeError, ValueError):
        return False  # a circle of links, a name that no file can have


def _led_to(file: Path) -> Path:
    """Where the links of a path lead, there or not yet. Raises OSError or RuntimeError for links that never end."""
    with suppress(FileNotFoundError):
        file.stat()  # from Python 3.13 on, resolve() takes a circle of links for a place
    return file.resolve()


def _below(path: Path, root: Path) -> bool:
    """Below a folder, and in nothing hidden: .streamlit and .git are no data."""
    return path.is_relative_to(root) and not any(part.startswith(".") for part in path.relative_to(root).parts)


def _address(settings: Settings, value: Any) -> str:
    if not isinstance(value, str) or may_name(settings, value):
        return ""  # what is no text is refused by the schema
    return t("a host beyond this machine that VIGIE_PROPOSE_HOSTS does not name")


def _data(settings: Settings, value: Any) -> str:
    if not isinstance(value, str) or may_read(settings, expanded(value, settings)):
        return ""
    return t("no .csv or .parquet file below ${VIGIE_HOME} or ${VIGIE_ROOT}")


def _source(settings: Settings, value: Any) -> str:
    del settings
    if value in OPEN_SOURCES:
        return ""
    return t("asks a database") if value in ("sql", "feast") else t("is not open to pages")


def _values_from(settings: Settings, value: Any) -> str:
    del settings
    return t("asks a database") if value == "sql" else ""


_VALUES: Final[Mapping[Place, Callable[[Settings, Any], str]]] = {
    ("api", "url"): _address,
    ("prometheus", "url"): _address,
    ("drift", "path"): _data,
    ("drift", "source"): _source,
    ("request", "fields", ANY, "from"): _values_from,
}
