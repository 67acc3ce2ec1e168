"""A French catalogue of a few texts, in place of the real one."""

from __future__ import annotations

import gettext
from collections.abc import Mapping

import pytest

from app.words import language

Texts = Mapping[str, str | tuple[str, str]]


class French(gettext.NullTranslations):
    """Texts by id; where a count decides, (one, several). Others stay English."""

    def __init__(self, texts: Texts) -> None:
        super().__init__()
        self.texts = texts

    def gettext(self, message: str) -> str:
        text = self.texts.get(message, message)
        return text if isinstance(text, str) else text[0]

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        forms = self.texts.get(msgid1)
        return forms[n > 1] if isinstance(forms, tuple) else msgid1 if n == 1 else msgid2

    def info(self) -> dict[str, str]:
        return {language.COMPLETE.lower(): "yes"}


def install(monkeypatch: pytest.MonkeyPatch, texts: Texts) -> None:
    """Whoever reads French from now on, reads these."""

    def catalogue(chosen: str) -> gettext.NullTranslations:
        return French(texts) if chosen == language.FRENCH else gettext.NullTranslations()

    monkeypatch.setattr("app.words.message.catalogue", catalogue)
    monkeypatch.setattr(language, "catalogue", catalogue)
