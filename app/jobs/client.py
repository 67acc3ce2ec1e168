"""What pages and command lines call. Standard library only on the way to the socket; no Streamlit, no heavy import."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app import errors
from app.base.processes import Owner
from app.errors import HostUnavailable, JobError
from app.jobs import place
from app.runs.run import Started
from app.words.message import kept, t

if TYPE_CHECKING:
    from app.config import Settings

# The host answers in milliseconds; writing the ledger may wait five seconds for another writer.
ANSWER_SECONDS = 8.0
# One request and one answer are a line each, and no line is longer than this.
MAX_LINE = 65_536
HINT = t("It is started with the console: wait a few seconds and try again, or start it with `python -m app.jobs`.")


@dataclass(frozen=True, slots=True)
class HostStatus:
    """What the host says of itself: run ids by state, and the kinds that have a warm worker."""

    owner: Owner
    version: str
    running: tuple[str, ...]
    waiting: tuple[str, ...]
    warm: tuple[str, ...]


def start(settings: Settings, kind: str, system: str, key: str, args: Mapping[str, Any]) -> Started:
    """Start a run, or join the one with an equal key. HostUnavailable without a host, JobError when it refuses."""
    request = {"op": "start", "kind": kind, "system": system, "key": key, "args": dict(args)}
    answer = _ask(settings, request)
    return Started(str(answer["run"]), bool(answer["joined"]))


def cancel(settings: Settings, run: str) -> None:
    """Ask for the end of a run; its progress says when it has ended (within a second for a comparison)."""
    _ask(settings, {"op": "cancel", "run": run})


def warm(settings: Settings, kind: str) -> None:
    """Have the host load the libraries of a kind in the background; returns at once."""
    _ask(settings, {"op": "warm", "kind": kind})


def ping(settings: Settings) -> HostStatus:
    """Ask the host how it is; HostUnavailable when none answers."""
    answer = _ask(settings, {"op": "ping"})
    return HostStatus(
        owner=Owner(int(answer["pid"]), str(answer["started"])),
        version=str(answer["version"]),
        running=tuple(answer["running"]),
        waiting=tuple(answer["waiting"]),
        warm=tuple(answer["warm"]),
    )


def _ask(settings: Settings, request: Mapping[str, Any]) -> dict[str, Any]:
    """One line there, one line back."""
    try:
        line = json.dumps(request, allow_nan=False).encode() + b"\n"
    except (TypeError, ValueError) as error:
        raise JobError(t("The job cannot be written as JSON: {error}.", error=error)) from error
    if len(line) > MAX_LINE:
        raise JobError(
            t("The job is described in {size} bytes; at most {most} are accepted.", size=len(line), most=MAX_LINE)
        )
    path = place.socket_path(settings)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(ANSWER_SECONDS)
            connection.connect(str(path))
            connection.sendall(line)
            with connection.makefile("rb") as answers:
                raw = answers.readline(MAX_LINE + 1)
    except TimeoutError as error:
        silent = t("The job host of {home} does not answer within {wait:g} s.", home=settings.home, wait=ANSWER_SECONDS)
        hint = t("Look at logs/jobs.log; end the host and it is started again.")
        raise HostUnavailable(silent, hint=hint) from error
    except OSError as error:
        raise HostUnavailable(t("No job host answers for {home}.", home=settings.home), hint=t(HINT)) from error
    if not raw.endswith(b"\n"):
        ended = t("The job host of {home} ended in the middle of an answer.", home=settings.home)
        raise HostUnavailable(ended, hint=t(HINT))
    return _opened(raw)


def _opened(raw: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(raw)
    except ValueError as error:
        raise JobError(t("The job host answered with something that is not JSON.")) from error
    if not isinstance(answer, dict):
        raise JobError(t("The job host answered with something that is no object."))
    if "error" in answer:
        name = str(answer["error"])
        refused = getattr(errors, name) if name in errors.__all__ else JobError
        message, hint = (kept(str(answer.get(part) or ""), answer.get(f"{part}_code")) for part in ("message", "hint"))
        raise refused(message, hint=hint)
    return answer
