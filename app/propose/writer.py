"""TOML as text: what a system file holds, escaped so that `tomllib` reads back what was written.

The standard library reads TOML and does not write it. Tables are written by their caller, line by line, so that
comments can go between the keys; here are the parts: a key, a value, a comment, an assignment.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

# Deeper than any request body; what a service describes about itself may be without end.
MAX_DEPTH = 32
# TOML asks for 64 bits; more is a number no service takes.
MAX_WHOLE = 2**63

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}


def plain_text(value: str) -> str:
    """`value` as it can be written: what is no Unicode text (half a surrogate pair) becomes a question mark."""
    return value.encode("utf-8", "replace").decode()


def string(value: str) -> str:
    """A TOML string: literal where quotation marks would have to be escaped, basic otherwise."""
    value = plain_text(value)
    if ('"' in value or "\\" in value) and "'" not in value and all(_printable(char) for char in value):
        return f"'{value}'"
    return basic(value)


def basic(value: str) -> str:
    """Always a basic string: keys read better in one kind of quotation marks."""
    text = plain_text(value)
    return '"' + "".join(_ESCAPES.get(char) or (char if _printable(char) else _code(char)) for char in text) + '"'


def _printable(char: str) -> bool:
    """Whether a character may be in any TOML string unescaped.

    Escaped, so that a reader of the file sees them: controls, line separators, and what turns the direction of writing.
    """
    return char.isprintable()


def _code(char: str) -> str:
    return f"\\u{ord(char):04X}" if ord(char) < 0x10000 else f"\\U{ord(char):08X}"


def key(name: str) -> str:
    """A key, quoted where it has to be."""
    return name if _BARE.fullmatch(name) else basic(name)


def value(item: Any, depth: int = 0) -> str:
    """A value on one line. Raises ValueError for what TOML cannot hold: null, other types, too deep, too large."""
    if depth > MAX_DEPTH:
        raise ValueError(f"nested more than {MAX_DEPTH} deep")
    if isinstance(item, bool):
        return "true" if item else "false"
    if isinstance(item, str):
        return string(item)
    if isinstance(item, int):
        if not -MAX_WHOLE <= item < MAX_WHOLE:
            raise ValueError("a whole number of more than 64 bits")
        return str(item)
    if isinstance(item, float):
        return _number(item)
    if isinstance(item, Mapping):
        pairs = ", ".join(f"{key(str(name))} = {value(inner, depth + 1)}" for name, inner in item.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(item, Sequence) and not isinstance(item, bytes | bytearray):
        return "[" + ", ".join(value(inner, depth + 1) for inner in item) + "]"
    raise ValueError(f"a value of type {type(item).__name__}")


def _number(item: float) -> str:
    if math.isnan(item):
        return "nan"
    if math.isinf(item):
        return "inf" if item > 0 else "-inf"
    return repr(item)


def assign(name: str, item: Any) -> str:
    """`name = value` on one line."""
    return f"{key(name)} = {value(item)}"


def comment(text: str) -> str:
    """`text` as comment lines; nothing in it can end the comment."""
    lines = plain_text(text).splitlines() or [""]
    return "\n".join("# " + "".join(char if _printable(char) else " " for char in line) for line in lines)
