"""The language of a text: that of its reader, never one for the whole process."""

from __future__ import annotations

import gettext
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Final

ENGLISH: Final = "en"
FRENCH: Final = "fr"
LANGUAGES: Final = (ENGLISH, FRENCH)
# One folder a language, in gettext's order: fr/LC_MESSAGES/vigie.po, and what `make words` compiles from it.
CATALOGUES: Final = Path(__file__).parent / "locale"
DOMAIN: Final = "vigie"
# A line in the head of a catalogue: "yes" where every text has its translation.
COMPLETE: Final = "X-Complete"
# More of `Accept-Language` is not read: a browser's is a tenth of it.
LONGEST_HEADER: Final = 500
# French groups digits by a narrow space that no line breaks at.
_TO_FRENCH: Final = str.maketrans({",": "\N{NARROW NO-BREAK SPACE}", ".": ","})

_CHOSEN: ContextVar[str] = ContextVar("language", default="")
# Who asks for a text where none was chosen: the screen answers with the language of the session that is drawn.
_READERS: Final[list[Callable[[], str]]] = []


def language() -> str:
    """The language of the text that is made now: one of LANGUAGES."""
    chosen = _CHOSEN.get() or next((answer for reader in _READERS if (answer := reader())), ENGLISH)
    return chosen if chosen in LANGUAGES else ENGLISH


@contextmanager
def speaking(chosen: str) -> Iterator[None]:
    """Texts within are in this language: for files, alerts and the command line."""
    token = _CHOSEN.set(chosen)
    try:
        yield
    finally:
        _CHOSEN.reset(token)


def ask(reader: Callable[[], str]) -> None:
    """From now on `reader` tells the language where none was chosen; it answers "" where it has no reader."""
    if reader not in _READERS:
        _READERS.append(reader)


@cache
def catalogue(chosen: str) -> gettext.NullTranslations:
    """The texts of a language; those of English are the message ids themselves."""
    return gettext.translation(DOMAIN, CATALOGUES, languages=[chosen], fallback=True)


def offered() -> list[str]:
    """The languages a reader may choose: English, and those that every text has been translated to."""
    return [one for one in LANGUAGES if one == ENGLISH or catalogue(one).info().get(COMPLETE.lower()) == "yes"]


def preferred(header: str) -> str:
    """The language offered that a browser likes best, by its `Accept-Language`; English where it names none of them."""
    weighed = []
    for part in header[:LONGEST_HEADER].split(","):
        name, _, weight = part.partition(";q=")
        with suppress(ValueError):
            weighed.append((-float(weight or 1), name.strip().partition("-")[0].lower()))
    return next(
        (name for weight, name in sorted(weighed, key=lambda pair: pair[0]) if weight and name in offered()), ENGLISH
    )


def word(text: str) -> str:
    """A text without values, as numbers are made of: `unknown`, `a second`. Whole sentences: `app.words.message.t`."""
    return catalogue(language()).gettext(text)


def localised(text: str) -> str:
    """A number written the English way (`12,345.6`), written the way of the language: `12 345,6`."""
    return text.translate(_TO_FRENCH) if language() == FRENCH else text
