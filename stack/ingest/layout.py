"""The tables of StreamFlow: files, columns, kinds and ranges. Everything that reads or writes a month follows this."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from stack.data import WorldError


class IngestError(WorldError):
    """A month cannot be ingested; one sentence says what is wrong and where, the next what to do."""


class Kind(StrEnum):
    """How a cell is read."""

    TEXT = "text"
    DATE = "date"
    FLAG = "flag"
    WHOLE = "whole"
    NUMBER = "number"


@dataclass(frozen=True, slots=True)
class Column:
    """One column; `low` and `high` are inclusive. `optional`: a cell may be empty."""

    name: str
    kind: Kind
    low: float = 0.0
    high: float = 0.0
    optional: bool = False

    @property
    def wanted(self) -> str:
        """What a cell may hold, as a sentence."""
        words = {
            Kind.TEXT: "1 to 128 printable characters",
            Kind.DATE: "a date like 2024-01-31",
            Kind.FLAG: "True or False",
            Kind.WHOLE: f"a whole number from {self.low:g} to {self.high:,.0f}",
            Kind.NUMBER: f"a number from {self.low:g} to {self.high:,.0f}",
        }
        return words[self.kind] + (" or nothing" if self.optional else "")


@dataclass(frozen=True, slots=True)
class Layout:
    """One CSV file and the database table it becomes; `dated` names the column that keeps its month, "" for none."""

    file: str
    table: str
    dated: str
    columns: tuple[Column, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The columns of the file."""
        return tuple(column.name for column in self.columns)


ID: Final = "user_id"
AS_OF: Final = "as_of"
PERIOD_START: Final = "period_start"
_USER: Final = Column(ID, Kind.TEXT)


# The course's tables allow NULL in every column but the account's name, and its months use it.
def _text(name: str) -> Column:
    return Column(name, Kind.TEXT, optional=True)


def _flag(name: str) -> Column:
    return Column(name, Kind.FLAG, optional=True)


def _whole(name: str, high: float) -> Column:
    return Column(name, Kind.WHOLE, 0, high, optional=True)


def _number(name: str, high: float) -> Column:
    return Column(name, Kind.NUMBER, 0, high, optional=True)


# Upper ends are what cannot be true, not what is unusual: a strange month is for the drift report to show.
_LAYOUTS: Final = (
    Layout(
        "users.csv",
        "users",
        "",
        (
            _USER,
            Column("signup_date", Kind.DATE, optional=True),
            _text("user_gender"),
            _flag("user_is_senior"),
            _flag("has_family"),
            _flag("has_dependents"),
        ),
    ),
    Layout(
        "subscriptions.csv",
        "subscriptions_profile_snapshots",
        AS_OF,
        (
            _USER,
            # A hundred years.
            _whole("months_active", 1200),
            _flag("plan_stream_tv"),
            _flag("plan_stream_movies"),
            _text("contract_type"),
            _flag("paperless_billing"),
            _number("monthly_fee", 100_000),
            # The public data set this course builds on has none for accounts in their first month.
            _number("total_paid", 1e9),
            _text("net_service"),
        ),
    ),
    Layout(
        "usage_agg_30d.csv",
        "usage_agg_30d_snapshots",
        AS_OF,
        (
            _USER,
            # 30 days on 10 devices at once.
            _number("watch_hours_30d", 7200),
            # All minutes of 7 days.
            _number("avg_session_mins_7d", 10_080),
            _whole("unique_devices_30d", 10_000),
            _whole("skips_7d", 1_000_000),
            _whole("rebuffer_events_7d", 1_000_000),
        ),
    ),
    Layout("payments_agg_90d.csv", "payments_agg_90d_snapshots", AS_OF, (_USER, _whole("failed_payments_90d", 10_000))),
    Layout(
        "support_agg_90d.csv",
        "support_agg_90d_snapshots",
        AS_OF,
        # A ticket may have been open for years before it was closed within these 90 days.
        (_USER, _whole("support_tickets_90d", 10_000), _number("ticket_avg_resolution_hrs_90d", 87_600)),
    ),
    Layout("labels.csv", "labels", PERIOD_START, (_USER, _flag("churn_label"))),
)
LAYOUTS: Final[Mapping[str, Layout]] = MappingProxyType({layout.table: layout for layout in _LAYOUTS})
USERS: Final = "users"
SUBSCRIPTIONS: Final = "subscriptions_profile_snapshots"
LABELS: Final = "labels"
# The tables behind feature views, and the Parquet file of each in the embedded world.
FEATURE_FILES: Final[Mapping[str, str]] = MappingProxyType(
    {
        SUBSCRIPTIONS: "subs_profile",
        "usage_agg_30d_snapshots": "usage_agg_30d",
        "payments_agg_90d_snapshots": "payments_agg_90d",
        "support_agg_90d_snapshots": "support_agg_90d",
    }
)
