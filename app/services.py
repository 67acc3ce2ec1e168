"""Where each service answers, what the embedded stack says of it, and how the stack is asked for one more.

An address is looked up in this order: `VIGIE_<SERVICE>_URL`, the system file, the stack's `state.json`;
`Address.origin` names the one that has it. The API of a system that the stack knows and does not run yet is asked for
by a small file, `<home>/stack/wanted/<system id>`, that holds who asks. The stack looks for it twice a second, accepts
only names of its table, and forgets it at its next start when the asker has ended.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app import egress
from app.base import variables
from app.base.files import private_folder, read, replace
from app.base.processes import Owner, myself
from app.config import Settings, System
from app.config.settings import url_of
from app.errors import StorageFull, VigieError
from app.words.message import clauses, kept, t

# A row of state.json has some 300 bytes.
MAX_STATE_BYTES = 1_000_000
# A request is 40 bytes.
REQUEST_BYTES = 1000
# A probe of the console itself: a person waits for it.
PROBE_SECONDS = 1.5
ENDED = t("the stack has ended; start it again with python -m stack up")


@dataclass(frozen=True, slots=True)
class Service:
    """One row of state.json: a service the embedded stack runs."""

    name: str
    url: str | None
    state: str
    reason: str
    pid: int | None
    started: str | None
    log: Path | None


@dataclass(frozen=True, slots=True)
class Task:
    """Something the stack makes or fetches at its start; `state` is waiting, running, done or failed."""

    about: str
    state: str
    reason: str


@dataclass(frozen=True, slots=True)
class StackState:
    """state.json as read: `services` by name; `reason` says why there are none.

    `offers` are the systems whose API the stack starts when it is asked (`want`).
    """

    services: Mapping[str, Service]
    owner: Owner | None
    reason: str
    offers: tuple[str, ...] = ()
    tasks: tuple[Task, ...] = ()


@dataclass(frozen=True, slots=True)
class Address:
    """Where a service answers. `url` None means unknown and `reason` says why; `origin` says where it was read."""

    url: str | None
    origin: str
    state: str = "unknown"
    reason: str = ""


def read_state(settings: Settings) -> StackState:
    """The embedded stack as its supervisor last wrote it. Never raises: a missing or torn file is a reason."""
    path = settings.home / "stack" / "state.json"
    try:
        raw = json.loads(read(path, MAX_STATE_BYTES))
        rows = {name: _service(name, row) for name, row in raw["services"].items()}
        supervisor = raw.get("owner")
        owner = Owner(int(supervisor["pid"]), str(supervisor["started"])) if supervisor else None
        if owner is not None and not owner.alive:
            # The supervisor ended without a final state (kill -9, power): what it wrote is no longer true.
            rows = {name: dataclasses.replace(row, state="down", reason=t(ENDED)) for name, row in rows.items()}
        tasks = tuple(
            Task(_text(task, "about"), str(task.get("state") or ""), _text(task, "reason"))
            for task in (raw.get("tasks") or {}).values()
        )
        return StackState(rows, owner, "", tuple(map(str, raw.get("offers") or ())), tasks)
    except FileNotFoundError:
        return StackState({}, None, t("the embedded stack has not been started"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        why = t("{file} cannot be read ({error})", file=path.name, error=type(error).__name__)
        return StackState({}, None, why)


def _service(name: str, row: Mapping[str, Any]) -> Service:
    log = row.get("log")
    return Service(
        name=name,
        url=row.get("url") or None,
        state=str(row.get("state") or "unknown"),
        reason=_text(row, "reason"),
        pid=row.get("pid"),
        started=row.get("started"),
        log=Path(log) if log else None,
    )


def _text(row: Mapping[str, Any], name: str) -> str:
    """A text of the stack, in the language of its reader where the stack has written down what it is made of."""
    return kept(str(row.get(name) or ""), (row.get("codes") or {}).get(name))


def _key(system: System | None, service: str) -> str:
    """The name of a service in state.json and in variables: the system's id for its own API."""
    return system.id if service == "api" and system is not None else service


def public_url(settings: Settings, system: System | None, service: str) -> str | None:
    """Where a browser reaches a service that the console reaches under another name (a compose network)."""
    return url_of(settings.environ, variables.SERVICE_PUBLIC_URL.for_service(_key(system, service)))


def address(settings: Settings, system: System | None, service: str) -> Address:
    """Where `service` ("prometheus", "api" for the system's own API, "node_exporter", …) answers.

    Precedence: environment, system file, state.json. With an attached Prometheus the stack is not consulted.
    """
    key = _key(system, service)
    named = settings.prometheus_url
    if service != "prometheus":
        named = url_of(settings.environ, variables.SERVICE_URL.for_service(key))
    if named:
        return Address(named, "environment")
    if system is not None:
        own = {"api": system.api.url, "prometheus": system.prometheus.url}.get(service)
        if own:
            return Address(own, "system file")  # no catalogue: a key
    state = read_state(settings)
    row = state.services.get(key)
    if row is None:
        return Address(
            None, "none", "unknown", state.reason or t("the stack has no service called {service}", service=key)
        )
    # The port of a service that has ended may be taken by a stranger: its answers would be wrong numbers.
    gone = row.state in ("down", "absent") and row.pid is None
    return Address(None if gone else row.url, "stack", row.state, row.reason)


def reach(url: str) -> VigieError | None:
    """None when `url` answers with a good status, else why not; asked by the console itself."""
    try:
        egress.get(url, deadline=PROBE_SECONDS).check()
    except VigieError as error:
        return error
    return None


def activity(state: StackState) -> str:
    """What the embedded stack is busy with; "" when it is not."""
    busy = [
        t("{name}: {why}", name=row.name, why=row.reason)
        for row in state.services.values()
        if row.state == "starting" and row.reason
    ]
    return t("The stack is still starting ({services}).", services=clauses(busy)) if busy else ""


def service_state(state: str) -> str:
    """The state of a service as a page shows it."""
    texts = {
        "up": t("up"),
        "starting": t("starting"),
        "down": t("down"),
        "absent": t("absent"),
        "unknown": t("unknown"),
        "not configured": t("not configured"),
        "does not answer": t("does not answer"),
    }
    return texts.get(state, state)


def start_hint(settings: Settings, system: System) -> str:
    """The next step when the API of a system is not there."""
    stack = read_state(settings)
    row = stack.services.get(system.id)
    if row is not None:
        state = service_state(row.state)
        if row.reason:
            return t("The stack says: {state}, {why}.", state=state, why=row.reason)
        return t("The stack says: {state}.", state=state)
    if settings.attached:
        return t("Add a job for it to the Prometheus you attached.")
    if system.id in stack.offers and address(settings, system, "api").origin == "none":
        return t("The stack has been asked to start it: a moment.")
    if system.api.url:
        return t("Prometheus needs a job for it: Add a service shows the lines to paste.")
    return t(
        "Start it with python -m stack up --systems {system}, or give its address in the system file.", system=system.id
    )


def want(settings: Settings, system: System, asker: Owner | None = None) -> bool:
    """Ask the stack for a system's API unless it runs, is asked for already, or answers elsewhere; True when asked.

    Raises StorageFull when the request cannot be written.
    """
    if settings.attached or address(settings, system, "api").origin not in ("stack", "none"):
        return False
    state = read_state(settings)
    running = state.owner is not None and state.owner.alive and system.id in state.services
    if running or system.id not in state.offers:
        return False
    who = asker or myself()
    body = json.dumps({"pid": who.pid, "started": who.started})
    # The id of a system is lower case letters, digits, - and _ (checked when its file was read): no path.
    file = settings.home / "stack" / "wanted" / system.id
    if _read(file) == body:
        return False
    try:
        private_folder(file.parent)
        replace(file, body)
    except OSError as error:
        message = t(
            "The stack cannot be asked to start {system}: {folder} cannot be written ({why}).",
            system=t(system.title),
            folder=file.parent,
            why=error.strerror,
        )
        raise StorageFull(message, hint=t("Free some room, or look at the rights of that folder.")) from error
    return True


def _read(file: Path) -> str:
    """What is in a request; "" when there is none."""
    with suppress(OSError, ValueError):
        return read(file, REQUEST_BYTES).decode()
    return ""
