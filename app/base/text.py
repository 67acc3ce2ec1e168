"""Values as JSON can hold them, and text that is safe to print."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from enum import Enum
from typing import Any


def printable(text: str) -> str:
    """`text` with a space for each character that could steer a terminal or break a line."""
    return "".join(char if char.isprintable() else " " for char in text)


def one_line(text: str) -> str:
    """`text` on one line, each run of white space as one space: values from data may carry newlines."""
    return " ".join(printable(text).split())


def plain(value: Any) -> Any:
    """`value` as JSON can hold it: dataclasses as objects, NaN and infinity as null, other types as their text."""
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
    return value if value is None or isinstance(value, str | int | bool) else str(value)


def finite(value: object) -> float | None:
    """`value` when it is a finite number, else None. A Boolean is no number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
