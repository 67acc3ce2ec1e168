"""The hooks of a system: could they be called? Nothing is started and nothing is sent."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from app.check.rows import Outcome, Row, failed
from app.config import Settings, System
from app.config.drift import Hook
from app.egress.addresses import check_parts, is_loopback_name, origin
from app.errors import VigieError
from app.notify import command, webhook


def rows(settings: Settings, system: System) -> Iterator[Row]:
    """A row for each hook: program found, address valid, token there."""
    if system.drift is None:
        return
    for hook in system.drift.hooks:
        if system.drift.source == "gauge":
            text = "never called: a gauge decides without runs"
            hint = "Prometheus tells of its decision: python -m app export rules."
            yield Row("hook", hook.name, Outcome.EMPTY, text, hint)
        else:
            yield _url(settings, system, hook) if hook.url else _command(settings, hook)


def _command(settings: Settings, hook: Hook) -> Row:
    program = command.program(settings, hook)
    if program is None:
        text = f"there is no program {hook.command[0]!r} that can be run"
        return Row("hook", hook.name, Outcome.ERROR, text, "Give its path, or put it on PATH.")
    return Row("hook", hook.name, Outcome.OK, f"{program} is there; {_called(hook)}")


def _url(settings: Settings, system: System, hook: Hook) -> Row:
    url = str(hook.url)
    try:
        # The path of a chat service's address is its secret: no message may quote it.
        check_parts(origin(url))
        token = webhook.bearer(settings, system, hook)
    except VigieError as error:
        return failed("hook", hook.name, error)
    parts = urlsplit(url)
    open_way = parts.scheme == "http" and not is_loopback_name(parts.hostname or "")
    hint = "The token travels in the clear: use https." if token and open_way else ""
    with_token = ", with its token" if token else ""
    return Row("hook", hook.name, Outcome.OK, f"{parts.scheme}://{parts.hostname}{with_token}; {_called(hook)}", hint)


def _called(hook: Hook) -> str:
    return f"called for {', '.join(hook.on)} (not now)"
