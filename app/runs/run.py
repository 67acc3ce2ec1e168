"""What a run is: its row, its state and its id, and what people and hooks add to it. No database, no file."""

from __future__ import annotations

import calendar
import re
import secrets
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Final

from app.runs.source import Source
from app.words.message import t

# Whole numbers up to here are exact in JSON and in a double, and fit every database's 64 bits.
MAX_WHOLE: Final = 2**53

# The end of the key of traffic that goes on until someone stops it.
BACKGROUND: Final = ":background"
# So many parts has the key of a run that names two months.
MONTHS_IN_KEY: Final = 5


class State(StrEnum):
    """Where a run is. The last four are final."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"

    @property
    def final(self) -> bool:
        """True when nothing about the run will change any more."""
        return self not in LIVE


LIVE = (State.QUEUED, State.RUNNING)


@dataclass(frozen=True, slots=True)
class Started:
    """The run that does the work; `joined` when it was already there."""

    run: str
    joined: bool


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended: `outcome` is a word (NO_ACTION, …), `reason` a sentence, `path` the directory of its result."""

    state: State = State.DONE
    outcome: str = ""
    reason: str = ""
    path: Path | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """One row. `outcome` is a word (NO_ACTION, …), `reason` a sentence, `path` the absolute run directory.

    The rest is the summary of a comparison, so that lists open no files; None (or "") is unknown. `ref` and `cur` are
    period keys, `drifted` of `counted` columns drifted (`share` is the unrounded quotient, held against `threshold`),
    `bytes` is the size of the run's directory, and `own` says whether its policy was then the system's own. The last
    three are the run's `Source`.
    """

    id: str
    kind: str
    system: str
    key: str
    state: State = State.QUEUED
    created: float = 0.0
    started: float | None = None
    finished: float | None = None
    outcome: str = ""
    reason: str = ""
    path: str = ""
    ref: str = ""
    cur: str = ""
    rows_ref: int | None = None
    rows_cur: int | None = None
    share: float | None = None
    threshold: float | None = None
    drifted: int | None = None
    counted: int | None = None
    target_drift: float | None = None
    bytes: int | None = None
    own: bool | None = None
    source_kind: str = ""
    source_address: str = ""
    source_id: str = ""

    @property
    def source(self) -> Source:
        """Where its data came from; of kind "" before a scan has looked at a row of an older version."""
        return Source(self.source_kind, self.source_address, self.source_id)

    @property
    def live(self) -> bool:
        """Whether it is queued or running."""
        return not self.state.final

    @property
    def done(self) -> bool:
        """Whether it ended with a result."""
        return self.state is State.DONE

    @property
    def gone(self) -> bool:
        """Whether the index still knows it and its directory is gone: retention, or someone by hand."""
        return self.state.final and not self.path

    @property
    def background(self) -> bool:
        """Whether it is traffic that goes on until someone stops it."""
        return self.key.endswith(BACKGROUND)

    @property
    def months(self) -> tuple[str, str]:
        """The two period keys; empty where they are not known. Before it has a result only its key has them."""
        # kind, system, both months, policy; the key of two given files is longer and names their hashes.
        parts = self.key.split(":")
        ref, cur = parts[2:4] if len(parts) == MONTHS_IN_KEY else ("", "")
        return self.ref or ref, self.cur or cur

    @property
    def seconds(self) -> float | None:
        """How long it ran; None when start or end is unknown."""
        return None if self.started is None or self.finished is None else self.finished - self.started


@dataclass(frozen=True, slots=True)
class Meta:
    """meta.json of a run: its id, its kind, and the SHA-256 of every other file by name.

    `about` is what nothing else says: where an imported report comes from.
    """

    run: str
    kind: str
    files: Mapping[str, str]
    about: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Note:
    """What a person wrote on a run; `acknowledged` says that someone has seen to it."""

    run: str
    at: float
    text: str
    acknowledged: bool


@dataclass(frozen=True, slots=True)
class HookOutcome:
    """What came of telling the hook `hook` about a run: `outcome` as text, after `seconds`."""

    run: str
    at: float
    hook: str
    outcome: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Rescan:
    """What a scan of the run directories found: ids of rows added or corrected, and of rows whose directory is gone."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    gone: tuple[str, ...]
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Filter:
    """Which runs a list shows. Anything that is left empty filters nothing; every filter given must hold.

    `months` is a part of either period key, `text` a part of id, months, outcome, reason or a note (neither minds
    capitals). `since` <= created < `until`, epoch seconds. `acknowledged`: whether the latest note reports it; a run
    without notes is not acknowledged. `elsewhere`: whether the fingerprint of its source is none of `sources`.
    """

    systems: Collection[str] = ()
    kinds: Collection[str] = ()
    states: Collection[str] = ()
    decisions: Collection[str] = ()
    months: str = ""
    since: float | None = None
    until: float | None = None
    acknowledged: bool | None = None
    text: str = ""
    sources: Collection[str] = ()
    elsewhere: bool | None = None


# Of a run whose process ended silently.
ENDED: Final = t("the process that ran it ended")
RUN_ID: Final = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{6}")


def new_run_id(now: datetime | None = None) -> str:
    """A fresh run id: UTC time and six random hex digits, `20240229T140532Z-1a2b3c`."""
    moment = (now or datetime.now(UTC)).astimezone(UTC)
    return f"{moment:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def created_at(run: str) -> float:
    """The moment a run id was given, seconds since the epoch (`20240229T140532Z-1a2b3c`)."""
    try:
        return float(calendar.timegm(time.strptime(run[:16], "%Y%m%dT%H%M%SZ")))
    except ValueError:
        return 0.0
