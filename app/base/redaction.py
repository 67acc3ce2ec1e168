"""No password in a message: every message, log line and stored outcome passes here."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

HIDDEN: Final = "***"
# A shorter value is a word such as `api`; hiding it would tear sentences apart.
SHORTEST: Final = 4
# Each of these expressions passes a text once: anyone who writes a long one from outside must not hold up every page.
_WORD: Final = re.compile(r"\S+")
# From `://` to the *last* @ of what is one word: in a password that was not escaped, each of @ / : # ? may be. Our
# own examples (USER@HOST) are no secrets.
_SCHEME_END: Final = re.compile(r"://(?!USER(?::PASSWORD)?@HOST)")
_SECRET_NAME: Final = re.compile(r"password|passwd|pwd|token|secret|api[_-]?key|signature|credential", re.IGNORECASE)
_QUERY: Final = re.compile(r"(?<=[?&;])([\w.-]+)=[^&;\s\"'#]*")
# libpq: host=db password='it''s' …
_VALUE: Final = r"""('(?:\\.|[^'\\])*'|"[^"]*"|[^\s'",;&)]+)"""
_PAIR: Final = re.compile(rf"(\b\w*(?:password|passwd)\s*=\s*){_VALUE}", re.IGNORECASE)
# The values of variables with such names are secrets; a name such as F1PA_PASSWORD_FILE holds a path.
_VARIABLE: Final = re.compile(r"PASSWORD|PASSWD|TOKEN|SECRET|(API|ACCESS|PRIVATE)_?KEY|CREDENTIAL", re.IGNORECASE)
_NO_SECRET: Final = ("_FILE", "_PATH", "_DIR")
# What settings with such a name say where they hold no secret (TOKENIZERS_PARALLELISM=false).
_WORDS: Final = frozenset({"true", "false", "none", "null"})
_IN_URL: Final = re.compile(r"://[^\s:@/]*:(\S+)@")


def redacted(text: str) -> str:
    """`text` without the user and password of any URL in it, secrets in query strings, and `password=…` pairs."""
    # Nearly no text has one: three searches for single characters are quick.
    if "@" in text and "://" in text:
        text = _WORD.sub(_without_user, text)
    if "=" in text:
        text = _PAIR.sub(rf"\1{HIDDEN}", _QUERY.sub(_without_value, text))
    return text


def _without_user(word: re.Match[str]) -> str:
    text = word[0]
    last = text.rfind("@")
    # Not bounded by `last`: our example is looked at whole.
    start = _SCHEME_END.search(text)
    return f"{text[: start.end()]}{HIDDEN}{text[last:]}" if start is not None and start.end() <= last else text


def _without_value(pair: re.Match[str]) -> str:
    return f"{pair[1]}={HIDDEN}" if _SECRET_NAME.search(pair[1]) else pair[0]


def without(text: str, secrets: Iterable[str]) -> str:
    """`redacted`, and without these values either, as they are or escaped for a URL; longest first."""
    forms = {form for secret in secrets for form in (secret, quote(secret, safe=""), quote(secret), unquote(secret))}
    for form in sorted(forms, key=len, reverse=True):
        if len(form) >= SHORTEST and form.lower() not in _WORDS:
            text = text.replace(form, HIDDEN)
    return redacted(text)


def named_secrets(pairs: Iterable[tuple[str, str]]) -> set[str]:
    """The values that are secrets by their name, and the passwords in those that are URLs."""
    secrets = set[str]()
    for name, value in pairs:
        if _VARIABLE.search(name) and not name.upper().endswith(_NO_SECRET):
            secrets.add(value.strip())
        secrets.update(_IN_URL.findall(value))
    return secrets


def secret_files(pairs: Iterable[tuple[str, str]]) -> set[Path]:
    """The files that hold secrets, as such variables name them: `VIGIE_TOKEN=file:PATH`, `F1PA_PASSWORD_FILE=PATH`."""
    secret = ((name, value.strip()) for name, value in pairs if _VARIABLE.search(name))
    return {
        Path(value.removeprefix("file:")).expanduser()
        for name, value in secret
        if value.startswith("file:") or (value and name.upper().endswith("_FILE"))
    }


class Formatter(logging.Formatter):
    """Of every log file: the line, its trace included, without passwords."""

    def format(self, record: logging.LogRecord) -> str:
        """The whole entry, redacted."""
        return redacted(super().format(record))
