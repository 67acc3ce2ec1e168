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
from app.words.message import t


def rows(settings: Settings, system: System) -> Iterator[Row]:
    """A row for each hook: program found, address valid, token there."""
    if system.drift is None:
        return
    for hook in system.drift.hooks:
        if not system.compares:
            text = t("never called: a gauge decides without runs")
            hint = t("Prometheus tells of its decision: python -m app export rules.")
            yield Row("hook", hook.name, Outcome.EMPTY, text, hint)
        else:
            yield _url(settings, system, hook) if hook.url else _command(settings, hook)


def _command(settings: Settings, hook: Hook) -> Row:
    program = command.program(settings, hook)
    if program is None:
        text = t("there is no program {program!r} that can be run", program=hook.command[0])
        return Row("hook", hook.name, Outcome.ERROR, text, t("Give its path, or put it on PATH."))
    return Row("hook", hook.name, Outcome.OK, t("{program} is there; {called}", program=program, called=_called(hook)))


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
    hint = t("The token travels in the clear: use https.") if token and open_way else ""
    facts = {"address": f"{parts.scheme}://{parts.hostname}", "called": _called(hook)}
    text = t("{address}, with its token; {called}", **facts) if token else t("{address}; {called}", **facts)
    return Row("hook", hook.name, Outcome.OK, text, hint)


def _called(hook: Hook) -> str:
    return t("called for {events} (not now)", events=", ".join(hook.on))
