"""Every error a caller of `app` can meet.

    VigieError                    something a person can act on; always carries a hint
    ├── ConfigError               a setting or a system file is wrong: file, key, value, what is accepted
    ├── AccessRefused             a reader may not do what was asked: the session has ended
    ├── EgressError               an HTTP request did not bring a usable answer
    │   ├── AddressRefused        the address is not one that configuration allows
    │   ├── Unreachable           nothing listens, no such host, connection reset
    │   ├── DeadlineExceeded      no complete answer within the time allowed
    │   ├── AnswerTooLarge        more bytes than the cap
    │   └── BadAnswer             an answer, but not the one asked for: HTML, truncated, redirect, HTTP status
    ├── QueryError                Prometheus refused an expression; `position` is (line, column) where it named one
    ├── DataError                 the data source of a system cannot give what was asked
    │   ├── UnknownPeriod         no such month; names the ones that exist
    │   └── SourceUnavailable     database, feature store or file cannot be read
    ├── PlanError                 a load plan is outside its bounds
    ├── JobError                  a job could not be started, found or finished
    │   ├── HostUnavailable       no job host answers for this VIGIE_HOME
    │   └── JobFailed             the job ended without a result; the message is its reason
    ├── ReportError               a report directory cannot be written or read
    │   ├── ReportNotFound        no run of that id
    │   ├── AlreadyImported       a report of the same bytes is there; `run` is its id
    │   └── StorageFull           no room, or no right to write
    └── LedgerError               the index of runs cannot be opened or is from a newer version

Library exceptions are mapped at the module that calls the library; none of them leaves `app` as it is.
"""

from __future__ import annotations

from app.base.redaction import redacted

__all__ = [
    "AccessRefused",
    "AddressRefused",
    "AlreadyImported",
    "AnswerTooLarge",
    "BadAnswer",
    "ConfigError",
    "DataError",
    "DeadlineExceeded",
    "EgressError",
    "HostUnavailable",
    "JobError",
    "JobFailed",
    "LedgerError",
    "PlanError",
    "QueryError",
    "ReportError",
    "ReportNotFound",
    "SourceUnavailable",
    "StorageFull",
    "UnknownPeriod",
    "Unreachable",
    "VigieError",
]


def _safe(text: str) -> str:
    """`redacted`; a message stays one where only values of it are hidden, for its readers in other languages."""
    safe = redacted(text)
    if safe == text:
        return text
    with_values = getattr(text, "with_values", None)  # of app.words, which this room may not know
    again = with_values(redacted) if with_values else safe
    return again if redacted(again) == again else safe


class VigieError(Exception):
    """What happened and where, in one sentence; `hint` is the next step, in one sentence (may be empty)."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        # An address of a setting may be quoted whole: no error shows its password, wherever it is shown.
        super().__init__(_safe(message))
        self.hint = _safe(hint)

    @property
    def message(self) -> str:
        """What happened: a message of `app.words` where it was given as one, to read in any language."""
        text: str = self.args[0]
        return text

    @property
    def text(self) -> str:
        """Message and hint as one line for a terminal."""
        return f"{self} {self.hint}".strip()


class ConfigError(VigieError):
    """A setting or system file is wrong. The message names file, key, value and what is accepted."""


class AccessRefused(VigieError):
    """The reader may not do what was asked."""


class EgressError(VigieError):
    """An HTTP request did not bring a usable answer. The message names the address without secrets."""


class AddressRefused(EgressError):
    """The address is not one that configuration allows."""


class Unreachable(EgressError):
    """No connection: nothing listens, no such host, connection reset."""


class DeadlineExceeded(EgressError):
    """No complete answer within the total time allowed."""


class AnswerTooLarge(EgressError):
    """The answer grew past the byte cap and was dropped."""


class BadAnswer(EgressError):
    """An answer came, but not the one asked for. `status` is the HTTP status, None when there was none."""

    def __init__(self, message: str, *, hint: str = "", status: int | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status


class QueryError(VigieError):
    """Prometheus refused an expression. `position` is (line, column), both from 1, or None."""

    def __init__(self, message: str, *, hint: str = "", position: tuple[int, int] | None = None) -> None:
        super().__init__(message, hint=hint)
        self.position = position


class DataError(VigieError):
    """The data source of a system cannot give what was asked."""


class UnknownPeriod(DataError):
    """No such period; the hint names some that exist."""


class SourceUnavailable(DataError):
    """Database, feature store or file cannot be reached or read."""


class PlanError(VigieError):
    """A load plan is outside its bounds; the message names the bound."""


class JobError(VigieError):
    """A job could not be started, found or finished."""


class HostUnavailable(JobError):
    """No job host answers for this VIGIE_HOME."""


class JobFailed(JobError):
    """The job ended without a result; the message is its reason."""


class ReportError(VigieError):
    """A report directory cannot be written or read."""


class ReportNotFound(ReportError):
    """No run of that id."""


class AlreadyImported(ReportError):
    """A report of the same bytes is there already; `run` is the id of its run."""

    def __init__(self, message: str, *, hint: str = "", run: str) -> None:
        super().__init__(message, hint=hint)
        self.run = run


class StorageFull(ReportError):
    """No room left, or no right to write, where the report should go."""


class LedgerError(VigieError):
    """The index of runs cannot be opened, is damaged, or comes from a newer version."""
