"""Sentences with values: the English sentence is the message id of gettext's catalogues.

A value is written by one of our number forms, so that a kept sentence can be written again in another language,
numbers included.

    t("{drifted} of {columns} columns drifted", drifted=7, columns=16)
    tn("{n:count} row", "{n:count} rows", 7043)

The text of an id is a literal at the call: `make words` collects the ids from there.
"""

from __future__ import annotations

import json
import math
import re
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Self

from app.base.phrase import Phrase
from app.base.text import one_line
from app.words import numbers, units
from app.words.language import ENGLISH, FRENCH, catalogue, language, localised, speaking

# What may follow the colon of a placeholder, with Python's own formats: `{rows:count}`.
FORMS: Final[Mapping[str, Callable[[Any], str]]] = MappingProxyType(
    {
        "count": numbers.count,
        "number": numbers.number,
        "limit": numbers.limit,
        "significant": units.format_number,
        "duration": units.format_duration,
        "seconds": lambda value: units.format_value(value, "s"),
        "rate": lambda value: units.format_value(value, "1/s"),
        "rate_words": lambda value: units.format_value(value, "1/s", words=True),
        "percent": lambda value: units.format_value(value, "ratio"),
        "bytes": lambda value: units.format_value(value, "bytes"),
        # A number that a function of `numbers` has written, see `figure`.
        "figure": localised,
        # Of texts: part of a sentence, without its full stop; the beginning of one.
        "clause": lambda text: str(_anew(text)).rstrip("."),
        "capital": lambda text: f"{_anew(text)[:1].upper()}{_anew(text)[1:]}",
    }
)
# A value of another kind is kept as the text it shows.
_KEPT: Final = (str, int, float, bool, type(None))
# A kept code is a few times as long as its sentence, which has at most 2,000 characters; each join of two is a level.
MAX_CODE: Final = 12_000
MAX_DEPTH: Final = 50
# Between the parts of what is joined; French writes a space before a semicolon.
_SEMICOLON: Final = "}; {"
# A width or a precision of three digits is in no text of ours, and could ask for gigabytes of spaces.
_WIDE: Final = re.compile(r"[0-9]{3}")


class _Formatter(string.Formatter):
    """Values by their plain name alone: a text that was kept reaches no attribute of anything."""

    def get_field(self, field_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, str]:
        """The value of that very name."""
        return self.get_value(field_name, args, kwargs), field_name

    def format_field(self, value: Any, format_spec: str) -> str:
        """By one of FORMS, or as Python formats it with the signs of the language."""
        if format_spec in FORMS:
            return FORMS[format_spec](value)
        if _WIDE.search(format_spec):
            raise ValueError(f"{format_spec!r} is no form of a value")
        written: str = format(_anew(value), format_spec)
        return localised(written) if isinstance(value, (int, float)) else written


_FORMATTER: Final = _Formatter()


class Message(str):
    """A text in the language of its reader. It remembers what it was made of: `id`, `plural` and `values`."""

    __slots__ = ("id", "plural", "values")
    id: str
    plural: str
    values: Mapping[str, Any]

    def __new__(cls, text: str, values: Mapping[str, Any] = MappingProxyType({}), plural: str = "") -> Self:
        """`text` is the id."""
        self = super().__new__(cls, _in_words(text, values, plural))
        self.id, self.values, self.plural = text, values, plural
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.id, dict(self.values), self.plural)

    def anew(self) -> Message:
        """The same, in the language of the one who reads now."""
        return type(self)(self.id, self.values, self.plural)

    def with_values(self, change: Callable[[str], str]) -> Message:
        """The same with its values that are texts changed, those of the messages within it too."""
        values = {
            name: value.with_values(change)
            if isinstance(value, Message)
            else change(value)
            if isinstance(value, str)
            else value
            for name, value in self.values.items()
        }
        return type(self)(self.id, values, self.plural)

    def code(self) -> dict[str, Any]:
        """Id and values as JSON takes them; `read` is the way back."""
        kept: dict[str, Any] = {"id": self.id, "values": {name: _kept(value) for name, value in self.values.items()}}
        return kept | ({"plural": self.plural} if self.plural else {})


def t(text: str, /, **values: Any) -> Message:
    """A text of the catalogue with its values; a message is written anew for the present reader."""
    again = _anew(text)
    return again if isinstance(again, Message) else Message(text, values)


def tn(one: str, several: str, n: float | None, /, **values: Any) -> Message:
    """The same where a count decides the form; the count is the value `n`, several where it is unknown."""
    return Message(one, {"n": n, **values}, several)


def read(code: Any) -> Message | None:
    """The message of what `code()` gave, in the language of the present reader; None for anything else."""
    return _read(code, MAX_DEPTH)


def _read(code: Any, depth: int) -> Message | None:
    match code:
        case {"id": str(text), "values": dict(values)} if depth:
            plural = code.get("plural", "")
            plural = plural if isinstance(plural, str) else ""
            values = {name: _read(value, depth - 1) or value for name, value in values.items()}
            try:
                if _written_once(text, values) and _written_once(plural, values):
                    return Message(text, values, plural)
            except (KeyError, ValueError, TypeError, IndexError, AttributeError, OverflowError):
                pass  # a newer version's form, or a file that was changed by hand
    return None


def _written_once(text: str, values: Mapping[str, Any]) -> bool:
    """Whether no message within it is written twice: nested in each other, such would grow without bound."""
    fields = [(name, form or "") for _, name, form, _ in string.Formatter().parse(text) if name is not None]
    nested = [name for name, _ in fields if isinstance(values.get(name), Message)]
    return len(nested) == len(set(nested)) and not any("{" in form for _, form in fields)


def english(text: str) -> str:
    """The text as files and tables keep it, in any language of the reader."""
    with speaking(ENGLISH):
        return str(text.anew()) if isinstance(text, Message) else text


def code_of(text: str) -> dict[str, Any] | None:
    """What to keep beside the English sentence of a message; None for a text that is none, or is too long."""
    code = text.code() if isinstance(text, Message) else None
    return code if code is None or len(json.dumps(code)) <= MAX_CODE else None


def kept(sentence: str, code: Any) -> str:
    """The message of a kept sentence and its code, an object or its JSON.

    The sentence alone where the code is missing, cannot be read, or says something else: an older version that changes
    a sentence leaves the code of the former one beside it.
    """
    try:
        if not code or len(code if isinstance(code, str) else json.dumps(code)) > MAX_CODE:
            return sentence
        message = read(json.loads(code) if isinstance(code, str) else code)
    except (ValueError, TypeError, RecursionError):
        return sentence
    return sentence if message is None or english(message) != sentence else message


def joined(texts: Iterable[str], by: str) -> str:
    """The texts that are not empty as one, each of which is said anew for its reader."""
    parts = [text for text in texts if text]
    if len(parts) < 2:
        return parts[0] if parts else ""
    places = [f"{{{place}}}" for place in range(len(parts))]
    return Message(by.join(places), {str(place): text for place, text in enumerate(parts)})


def sentences(texts: Iterable[str]) -> str:
    """Whole sentences one after the other, those that are empty left out."""
    return joined(texts, " ")


def clauses(texts: Iterable[str]) -> str:
    """The same with a semicolon between them: `a; b; c`."""
    return joined(texts, "; ")


def on_one_line(text: str) -> str:
    """The text on one line and without control characters, which values from data may carry."""
    return text.with_values(_inside) if isinstance(text, Message) else one_line(text)


def _inside(value: str) -> str:
    """A value on one line. A blank at its ends stays: a column may be called `f0 `, and the sentence is about that."""
    return one_line(f"|{value}|")[1:-1]


def listed(texts: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    if len(texts) < 2:
        return joined(texts, "")
    return t("{first} and {last}", first=joined(texts[:-1], ", "), last=texts[-1])


def either(texts: Sequence[str]) -> str:
    """`a`, `a or b`, `a, b or c`."""
    if len(texts) < 2:
        return joined(texts, "")
    return t("{first} or {last}", first=joined(texts[:-1], ", "), last=texts[-1])


def some(names: Sequence[str], most: int) -> str:
    """The first names, and how many more there are: `a, b, c and 4 more`."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else t("{names} and {n} more", names=shown, n=len(names) - most)


def figure(write: Callable[..., str], *values: float | None) -> str:
    """What the function writes, in English: the value of a `{…:figure}`, which each reader sees in their own way."""
    with speaking(ENGLISH):
        return write(*values)


def clause(text: str) -> Message:
    """A sentence as part of another: without its full stop."""
    return Message("{text:clause}", {"text": text})


def _anew(value: Any) -> Any:
    """A message within another, for the present reader; a plain text is a name or a text of others, and stays."""
    if isinstance(value, Phrase):
        return Message(value.id, value.values)
    return value.anew() if isinstance(value, Message) else value


def _in_words(text: str, values: Mapping[str, Any], plural: str) -> str:
    if not text:
        return ""  # gettext answers the empty id with the head of the catalogue
    texts = catalogue(language())
    template = texts.ngettext(text, plural, _whole(values["n"])) if plural else texts.gettext(text)
    if _SEMICOLON in template and language() == FRENCH:
        template = template.replace(_SEMICOLON, "}\N{NARROW NO-BREAK SPACE}; {")
    return _FORMATTER.vformat(template, (), values) if values else template


def _whole(n: Any) -> int:
    """The count as the rule of a plural takes it: an unknown one is several, 0.5 are several in English alone."""
    if not isinstance(n, (int, float)) or not math.isfinite(n):
        return 2
    return 2 if n != int(n) and language() == ENGLISH else int(n)


def _kept(value: Any) -> Any:
    if isinstance(value, (Message, Phrase)):
        return value.code()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, _KEPT) else str(value)
