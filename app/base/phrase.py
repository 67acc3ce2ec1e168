"""A sentence of a room that may not know the catalogue: English, with what it is made of, for readers of others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

# A value of another kind is kept as the text it shows.
_KEPT = (str, int, float, bool, type(None))


class Phrase(str):
    """`Phrase("waiting for {service}", service=name)`: a literal at the call, where `make words` reads it."""

    __slots__ = ("id", "values")
    id: str
    values: Mapping[str, Any]

    def __new__(cls, text: str, /, **values: Any) -> Self:
        """`text` with its values, each in braces and in one of Python's own formats."""
        kept = {name: value if isinstance(value, _KEPT) else str(value) for name, value in values.items()}
        self = super().__new__(cls, text.format(**kept))
        self.id, self.values = text, kept
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self.id, dict(self.values))

    def code(self) -> dict[str, Any]:
        """Id and values as JSON takes them: what `app.words.message.kept` reads."""
        return {"id": self.id, "values": {name: code_of(value) or value for name, value in self.values.items()}}


def _again(text: str, values: Mapping[str, Any]) -> Phrase:
    return Phrase.__new__(Phrase, text, **values)


def code_of(value: object) -> dict[str, Any] | None:
    """What to keep beside the text of a phrase; None for anything else."""
    return value.code() if isinstance(value, Phrase) else None
