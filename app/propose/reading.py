"""Reads two fixed paths of a typed address, `/openapi.json` and `/metrics`: loopback only unless allowed by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from app import egress
from app.config import Settings, load_systems
from app.errors import AddressRefused, BadAnswer, ConfigError, EgressError, Unreachable, VigieError
from app.exposition import described, parse
from app.prometheus import Target, connect
from app.prometheus.promql import matcher
from app.propose.drafting import Proposal, Seen, draft, system_id
from app.propose.measures import find, metrics
from app.words.message import sentences, t

OPENAPI = "/openapi.json"
METRICS = "/metrics"
# A document of a thousand routes has about 2 MB; more is not read.
MAX_DOCUMENT_BYTES = 8_000_000
# A person waits for both answers together: a service that needs longer for its own description is asked by hand.
DEADLINE = 6.0
# No address of a service is longer; a name may have 253 characters.
MAX_URL = 2000
# How much of a wrong address is repeated in the message about it.
SHOWN = 120
# Where people copy an address from.
_PAGES = re.compile(r"/(?:docs|redoc|openapi\.json|metrics|health)?/*$")


def tidy_url(text: str) -> str:
    """The address meant by `127.0.0.1:8000/docs`: `http://127.0.0.1:8000`. Raises ConfigError for what is none."""
    words = text.strip()
    if words and "://" not in words:
        words = f"http://{words}"
    try:
        parts = urlsplit(words)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and words.isprintable()
        good = good and len(words) <= MAX_URL
    except ValueError:
        good = False
    if not good or re.search(r"[\s\"'<>\\]", words):
        message = t("{text!r} is not an address; accepted: http://HOST:PORT.", text=text.strip()[:SHOWN])
        raise ConfigError(message, hint=t("For example http://127.0.0.1:8000."))
    if "@" in parts.netloc:
        message = t("{address} carries a user or password in the address.", address=egress.shown(words))
        raise ConfigError(message, hint=t("Give credentials through `auth`, `user` and `secret` in the system file."))
    return f"{parts.scheme}://{parts.netloc}{_PAGES.sub('', parts.path)}"


def look(settings: Settings, url: str, deadline: float = DEADLINE) -> Seen:
    """What the service at `url` says about itself, each within `deadline` seconds.

    Raises EgressError when neither address gives anything.
    """
    try:
        egress.check_address(url, settings.propose_hosts)
    except AddressRefused as error:
        hint = t(
            "Name the host in VIGIE_PROPOSE_HOSTS (for example VIGIE_PROPOSE_HOSTS={host}) and start again.",
            host=urlsplit(url).hostname,
        )
        raise AddressRefused(error.message, hint=hint) from error
    reasons: dict[str, str] = {}
    with egress.Session(deadline, hosts=settings.propose_hosts) as session:
        document = _document(session, url, reasons)
        measures = None
        try:
            answer = session.fetch(url + METRICS).check()
            measures = find(metrics(parse(answer.body), described(answer.body)))
        except EgressError as error:
            reasons[METRICS] = error.message
    if document is None and measures is None:
        message = t("nothing could be read: {reasons}", reasons=sentences([reasons[OPENAPI], reasons[METRICS]]))
        raise BadAnswer(message, hint=t("Is this the address of the prediction service itself?"))
    return Seen(url, document, measures, reasons)


def _document(session: egress.Session, url: str, reasons: dict[str, str]) -> Mapping[str, Any] | None:
    try:
        document = session.fetch(url + OPENAPI, max_bytes=MAX_DOCUMENT_BYTES).check().json()
    except Unreachable:
        raise  # nothing listens: there is nothing more to ask
    except EgressError as error:
        reasons[OPENAPI] = error.message
        return None
    if isinstance(document, Mapping) and isinstance(document.get("paths"), Mapping):
        return document
    reasons[OPENAPI] = t("{address} is JSON, but no OpenAPI document", address=egress.shown(url + OPENAPI))
    return None


def propose(settings: Settings, url: str, name: str | None = None) -> Proposal:
    """A system file for the service at `url`, under an id that is free. Raises ConfigError and EgressError."""
    seen = look(settings, tidy_url(url))
    ids = taken(settings)
    if name is not None:
        check_free(name, ids)
    selector, why = scraped_as(settings, seen.url)
    if why:
        seen = Seen(seen.url, seen.document, seen.measures, {**seen.reasons, "prometheus": why})
    return draft(seen, tuple(ids), selector, name)


def taken(settings: Settings) -> dict[str, Path | None]:
    """Ids in use, with the file where it is known: of readable systems and of broken files."""
    ids: dict[str, Path | None] = dict.fromkeys(load_systems(settings).by_id)
    for folder in settings.systems_dirs:
        ids |= {path.stem: path for path in (folder.glob("*.toml") if folder.is_dir() else ())}
    return ids


def check_free(name: str, ids: Mapping[str, Path | None]) -> None:
    """ConfigError when a system of that id exists, with one that is free."""
    if name in ids:
        if ids[name]:
            message = t(
                "a system called {name!r} exists already ({file}); nothing is overwritten.", name=name, file=ids[name]
            )
        else:
            message = t("a system called {name!r} exists already; nothing is overwritten.", name=name)
        free = system_id(name, "", tuple(ids))
        raise ConfigError(message, hint=t("Choose another id, for example {id}.", id=free))


def scraped_as(settings: Settings, url: str) -> tuple[str | None, str]:
    """(selector, "") when the console's Prometheus scrapes this address; (None, why it could not be asked) else."""
    try:
        targets = connect(settings, None).targets()
    except VigieError as error:
        return None, sentences([error.message, error.hint])
    mine = next((one for one in targets if _place(one.url) == _place(url + METRICS)), None)
    if mine is None:
        return None, ""
    return _selector(mine, targets), ""


def _selector(mine: Target, targets: list[Target]) -> str:
    others = [one for one in targets if one.job == mine.job and one is not mine]
    parts = [matcher("job", mine.job)] + ([matcher("instance", mine.instance)] if others else [])
    return ", ".join(parts)


def _place(url: str) -> tuple[str, int, str]:
    """Host, port and path of an address; every spelling of this machine is one."""
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return ("", 0, url)
    host = parts.hostname or ""
    return ("loopback" if egress.is_loopback_name(host) else host.lower(), port, parts.path)
