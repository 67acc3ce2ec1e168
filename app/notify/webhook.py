"""A hook that is a URL: one POST. Addresses of chat services carry their secret in the path: no message names it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote, urlsplit

from app.config import Settings, System
from app.config.drift import Hook
from app.errors import AddressRefused, AnswerTooLarge, DeadlineExceeded, EgressError
from app.notify.channel import STOPPED, Cancellable, Hide, HookResult
from app.notify.event import Event
from app.words.language import word

if TYPE_CHECKING:
    from app.egress import Answer, Credentials

# What a receiver answers is quoted in a line; a page of HTML is not needed for it.
MAX_ANSWER: Final = 65_536
# Looking up a name has its own clock next to the deadline of the request.
URL_SLACK: Final = 2.0
# A shorter part of a path is a word such as `api`, and no secret: hiding it would tear words apart.
HIDDEN_CHARS: Final = 6
NO_ANSWER: Final = word("no complete answer")
REDIRECT: Final = word("a redirect, which is not followed")


@dataclass(frozen=True, slots=True)
class Bearer:
    """The credentials of a hook in the words of `[api]` and `[prometheus]`."""

    secret: str | None
    auth: str = "bearer"
    user: str | None = None


def bearer(settings: Settings, system: System, hook: Hook) -> Credentials | None:
    """The token of a hook, None without `secret`. Raises ConfigError when it is not set."""
    if hook.secret is None:
        return None
    from app.egress import credentials

    where = f"{system.id}.toml [[drift.hooks]] {hook.name}"
    return credentials(Bearer(hook.secret), settings.environ, settings.root, where=where)


def send(event: Event, hook: Hook, body: bytes, wait: Cancellable, _hide: Hide) -> HookResult:
    """Post the note. Addresses of chat services carry their secret in the path: no message names it."""
    from app import egress
    from app.egress.addresses import check_parts, origin

    url = str(hook.url)
    token = bearer(event.settings, event.system, hook)

    def post() -> HookResult:
        headers = {"Content-Type": "application/json"}
        try:
            check_parts(origin(url))
        except AddressRefused as error:
            return HookResult("failed", str(error).rstrip("."))
        try:
            with egress.Session(hook.timeout, MAX_ANSWER, auth=token) as session:
                answer = session.fetch(url, method="POST", data=body, headers=headers)
        except DeadlineExceeded:
            return HookResult("ended", NO_ANSWER)
        except EgressError as error:
            status = getattr(error, "status", None) or 0
            if 300 <= status < 400:
                return HookResult(f"HTTP {status}", REDIRECT)
            return HookResult("failed", _why(error, origin(url)).rstrip("."))
        # no catalogue: kept in English
        return HookResult(f"HTTP {answer.status}", "" if answer.ok else _quoted(answer, url, token))

    result = wait.wait(post, hook.timeout + URL_SLACK)
    if result is None:
        return HookResult("ended", STOPPED if wait.stopped else "")
    return result


def _why(error: EgressError, where: str) -> str:
    """What went wrong at `where`, scheme and host alone: the error's own words quote the address as it was sent."""
    from app.egress.faults import map_error

    if isinstance(error, AnswerTooLarge):
        # no catalogue: kept in English
        return f"{where} answered more than {MAX_ANSWER:,} bytes; the rest was not read"
    cause = error.__cause__
    # The same fault in the same words, at an address without path.
    text = str(error if cause is None else map_error(cause, where, 0.0))
    # no catalogue: kept in English
    return text if text.count("://") == text.count(where) else f"{where}: the request failed ({type(error).__name__})"


def _quoted(answer: Answer, url: str, token: Credentials | None) -> str:
    """The beginning of the receiver's answer, without token, path and query in any form."""
    parts = urlsplit(url)
    path_parts = [parts.path, *re.split(r"[/?&=;]", f"{parts.path}?{parts.query}")]
    forms = {form for part in path_parts for form in (part, unquote(part), quote(unquote(part)), quote(part))}
    text = answer.body.decode("utf-8", "replace")
    text = token.redact(text) if token else text
    for form in sorted(forms, key=len, reverse=True):
        if len(form) >= HIDDEN_CHARS:
            text = text.replace(form, "/…" if form.startswith("/") else "…")
    return replace(answer, body=text.encode()).excerpt
