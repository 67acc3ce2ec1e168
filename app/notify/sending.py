"""Calling one hook through its channel; what it says is bounded and repeats no secret."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import replace
from typing import Final

from app.base.redaction import named_secrets, secret_files, without
from app.base.text import plain
from app.config.drift import Hook
from app.errors import VigieError
from app.notify import command, webhook
from app.notify.channel import STOPPED, Cancellable, Hide, HookResult
from app.notify.event import Event
from app.notify.webhook import Bearer

NOT_CALLED: Final = HookResult("not called", STOPPED, timed=False)  # no catalogue: kept in English


def call_one(event: Event, hook: Hook, wait: Cancellable) -> tuple[str, float]:
    """Call one hook: its outcome on one line, and the seconds it took."""
    if wait.stopped:
        return NOT_CALLED.line(0.0), 0.0
    started = time.monotonic()
    body = json.dumps(plain(event.note), allow_nan=False).encode()
    hide = _hiding(event, hook)
    try:
        result = (webhook if hook.url else command).send(event, hook, body, wait, hide)
    except VigieError as error:
        result = HookResult("not called", str(error), timed=False)  # no catalogue: kept in English
    seconds = time.monotonic() - started
    return replace(result, detail=hide(result.detail)).line(seconds), seconds


def _hiding(event: Event, hook: Hook) -> Hide:
    """What takes every password and token of this console out of a text: what a hook prints may repeat any of them."""
    from app.egress.signin import credentials, secret_in, stored_secrets

    settings, system = event.settings, event.system
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
