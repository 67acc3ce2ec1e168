"""Calling one hook: a command in a process group of its own, or a POST; bounded in time, output and words."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote, unquote, urlsplit

from app.base.child_process import stop
from app.base.redaction import named_secrets, secret_files, without
from app.base.text import plain, printable
from app.errors import AddressRefused, AnswerTooLarge, DeadlineExceeded, EgressError, VigieError
from app.notify import STOPPED, Bearer, Due, bearer, note

if TYPE_CHECKING:
    from app.config.drift import Hook
    from app.egress import Answer, Credentials

_Given = TypeVar("_Given")
Hide = Callable[[str], str]

# What a receiver answers is quoted in a line; a page of HTML is not needed for it.
MAX_ANSWER: Final = 65_536
# The end of what a command prints; its last line is quoted.
MAX_OUTPUT: Final = 4_096
LINE_CHARS: Final = 200
# An outcome is one line of a table.
MAX_OUTCOME: Final = 400
# A command that is ended may put its things away for this long.
GRACE_SECONDS: Final = 1.0
# How long the last output of a command is waited for.
DRAIN_SECONDS: Final = 0.5
# Looking up a name has a clock of its own beside the deadline of the request.
URL_SLACK: Final = 2.0
# A shorter part of a path is a word such as `api`, and no secret: hiding it would tear words apart.
HIDDEN_CHARS: Final = 6


class Patience:
    """Waits for one piece of work at a time; asking it to stop ends the wait."""

    def __init__(self) -> None:
        self.stopped = False
        # Its `put` may be called from a signal handler; an Event's `set` may not.
        self._inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def stop(self, *_: object) -> None:
        """End the wait, and every later one at once."""
        self.stopped = True
        self._inbox.put(None)

    def wait(self, work: Callable[[], _Given], seconds: float) -> _Given | None:
        """What `work` gives; None when it takes longer, or when stopping was asked for: it then goes on unheard."""
        inbox = self._inbox = queue.SimpleQueue()
        threading.Thread(target=lambda: inbox.put(work()), daemon=True).start()
        if self.stopped:
            return None
        try:
            given: _Given | None = inbox.get(timeout=seconds)
        except queue.Empty:
            return None
        return given


@dataclass(frozen=True, slots=True)
class Fared:
    """How a hook fared: `what` ("exit 0", "HTTP 500", "ended"), what it said, and whether its time tells anything."""

    what: str
    detail: str = ""
    timed: bool = True

    def line(self, seconds: float) -> str:
        """All of it on one bounded line."""
        text = f"{self.what} after {seconds:.1f} s" if self.timed else self.what
        text += f": {self.detail}" if self.detail else ""
        text = printable(text)
        return text if len(text) <= MAX_OUTCOME else text[: MAX_OUTCOME - 1] + "…"


NOT_CALLED: Final = Fared("not called", STOPPED, timed=False)


def call_one(found: Due, hook: Hook, patience: Patience) -> tuple[str, float]:
    """Call one hook: its outcome on one line, and the seconds it took."""
    if patience.stopped:
        return NOT_CALLED.line(0.0), 0.0
    started = time.monotonic()
    body = json.dumps(plain(note(found)), allow_nan=False).encode()
    hide = _hiding(found, hook)
    try:
        fared = (_post if hook.url else _run)(found, hook, body, patience, hide)
    except VigieError as error:
        fared = Fared("not called", str(error), timed=False)
    seconds = time.monotonic() - started
    return replace(fared, detail=hide(fared.detail)).line(seconds), seconds


def _hiding(found: Due, hook: Hook) -> Hide:
    """What takes every password and token of this console out of a text: what a hook prints may repeat any of them."""
    from app.egress.signin import credentials, secret_in, stored_secrets

    settings, system = found.settings, found.system
    database = system.drift.database if system.drift and system.drift.database else ""
    secrets = named_secrets([*settings.environ.items(), ("", database)])
    with contextlib.suppress(VigieError):
        secrets |= stored_secrets(settings.root)
    for path in secret_files(settings.environ.items()):
        with contextlib.suppress(VigieError):
            secrets.add((secret_in(path, system.id) or "").strip())
    for source in (system.api, system.prometheus, Bearer(hook.secret)):
        with contextlib.suppress(VigieError):
            signin = credentials(source, settings.environ, settings.root, where=system.id)
            secrets |= {signin.secret, signin.header.partition(" ")[2]} if signin else set()
    return lambda text: without(text, secrets)


def _run(found: Due, hook: Hook, body: bytes, patience: Patience, hide: Hide) -> Fared:
    """Start the command, give it the note, wait, and end what is left of it when it takes too long."""
    result = found.result
    told = {"run": result.run, "system": result.system, "decision": result.decision, "share": result.share}
    known = {f"VIGIE_{name.upper()}": str(value) for name, value in told.items() if value is not None}
    try:
        process = subprocess.Popen(
            hook.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=found.settings.root,
            env={**found.settings.environ, **known},
            process_group=0,
        )
    except FileNotFoundError:
        return Fared("not started", f"there is no program {hook.command[0]!r}", timed=False)
    except (OSError, ValueError) as error:
        return Fared("not started", str(getattr(error, "strerror", None) or error), timed=False)
    output = _Output(process)
    threading.Thread(target=_feed, args=(process, body), daemon=True).start()
    status = patience.wait(process.wait, hook.timeout)
    if status is None:
        # With a moment to put things away when there is one.
        stop([process], 0.0 if patience.stopped else GRACE_SECONDS)
        return Fared("ended", STOPPED if patience.stopped else output.last_line(hide))
    what = f"exit {status}" if status >= 0 else f"killed by signal {-status}"
    return Fared(what, output.last_line(hide))


class _Output:
    """Reads all that a command prints and keeps the end of it."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process, self._tail = process, b""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        while part := os.read(self._process.stdout.fileno(), 65_536):
            self._tail = (self._tail + part)[-MAX_OUTPUT:]

    def last_line(self, hide: Hide) -> str:
        """The last line with something on it. What a child of the command may still print is not waited for."""
        self._thread.join(DRAIN_SECONDS)
        lines = [line.strip() for line in self._tail.decode("utf-8", "replace").splitlines() if line.strip()]
        # Hidden before it is cut: half of a password is not found any more.
        return hide(lines[-1])[-LINE_CHARS:] if lines else ""


def _feed(process: subprocess.Popen[bytes], body: bytes) -> None:
    assert process.stdin is not None
    # A command need not read the note.
    with contextlib.suppress(OSError), process.stdin as pipe:
        pipe.write(body)


def _post(found: Due, hook: Hook, body: bytes, patience: Patience, _hide: Hide) -> Fared:
    """Post the note. Addresses of chat services carry their secret in the path: no message names it."""
    from app import egress
    from app.egress.addresses import check_parts, origin

    url = str(hook.url)
    token = bearer(found.settings, found.system, hook)

    def send() -> Fared:
        headers = {"Content-Type": "application/json"}
        try:
            check_parts(origin(url))
        except AddressRefused as error:
            return Fared("failed", str(error).rstrip("."))
        try:
            with egress.Session(hook.timeout, MAX_ANSWER, auth=token) as session:
                answer = session.fetch(url, method="POST", data=body, headers=headers)
        except DeadlineExceeded:
            return Fared("ended", "no complete answer")
        except EgressError as error:
            status = getattr(error, "status", None) or 0
            if 300 <= status < 400:
                return Fared(f"HTTP {status}", "a redirect, which is not followed")
            return Fared("failed", _why(error, origin(url)).rstrip("."))
        return Fared(f"HTTP {answer.status}", "" if answer.ok else _quoted(answer, url, token))

    fared = patience.wait(send, hook.timeout + URL_SLACK)
    if fared is None:
        return Fared("ended", STOPPED if patience.stopped else "")
    return fared


def _why(error: EgressError, where: str) -> str:
    """What went wrong at `where`, scheme and host alone: the error's own words quote the address as it was sent."""
    from app.egress.faults import map_error

    if isinstance(error, AnswerTooLarge):
        return f"{where} answered more than {MAX_ANSWER:,} bytes; the rest was not read"
    cause = error.__cause__
    # The same fault in the same words, at an address without path.
    text = str(error if cause is None else map_error(cause, where, 0.0))
    return text if text.count("://") == text.count(where) else f"{where}: the request failed ({type(error).__name__})"


def _quoted(answer: Answer, url: str, token: Credentials | None) -> str:
    """The beginning of what the receiver said, without token, path and query, in whichever way it writes them."""
    parts = urlsplit(url)
    texts = [parts.path, *re.split(r"[/?&=;]", f"{parts.path}?{parts.query}")]
    forms = {form for text in texts for form in (text, unquote(text), quote(unquote(text)), quote(text))}
    said = answer.body.decode("utf-8", "replace")
    said = token.redact(said) if token else said
    for form in sorted(forms, key=len, reverse=True):
        if len(form) >= HIDDEN_CHARS:
            said = said.replace(form, "/…" if form.startswith("/") else "…")
    return replace(answer, body=said.encode()).excerpt
