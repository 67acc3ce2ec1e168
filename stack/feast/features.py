"""Entity and feature views of StreamFlow. This file is the source of names; a home's repository gets a copy of it.

The feature_store.yaml next to the copy says where the values are: in tables, with the offline store of
PostgreSQL, else in Parquet files next to the repository. The files' paths are absolute, because Feast's duckdb engine
takes a relative path from the working directory.
"""

from datetime import timedelta
from pathlib import Path
from typing import Any

# Feast loads this file by its own command too, so it is importable alone and imports Feast at the top.
from feast import Entity, FeatureView, Field, FileSource, ValueType  # noqa: TID253
from feast.types import Bool, Float64, Int64, String  # noqa: TID253

HERE = Path(__file__).resolve().parent
STORE = HERE / "feature_store.yaml"
IN_TABLES = STORE.is_file() and "offline_store:\n  type: postgres\n" in STORE.read_text("utf-8")
FEATURES = HERE.parent / "world" / "streamflow" / "features"
# No time to live: production reads the newest value however old the sample is. A month that has no row is found
# by the entity query before, never filled from an older month silently.
FOREVER = timedelta(0)

user = Entity(
    name="user", join_keys=["user_id"], value_type=ValueType.STRING, description="one account, U0001 to U7043"
)


def _source(stem: str, table: str) -> Any:
    """Where a view's values come from: rows of user_id, a moment and its features."""
    if not IN_TABLES:
        return FileSource(
            name=stem,
            path=str(FEATURES / f"{stem}.parquet"),
            timestamp_field="event_timestamp",
            created_timestamp_column="created",
        )
    from feast.infra.offline_stores.contrib.postgres_offline_store.postgres_source import PostgreSQLSource

    # A date compared with a moment would become midnight in the server's zone.
    query = f"SELECT *, (as_of::timestamp AT TIME ZONE 'UTC') AS event_timestamp FROM {table}"  # noqa: S608 - a name below
    return PostgreSQLSource(name=stem, query=query, timestamp_field="event_timestamp")


def _view(stem: str, table: str, **features: Any) -> FeatureView:
    """A view of one table's features."""
    schema = [Field(name=name, dtype=dtype) for name, dtype in features.items()]
    return FeatureView(
        name=f"{stem}_fv", entities=[user], ttl=FOREVER, schema=schema, source=_source(stem, table), online=True
    )


subs_profile_fv = _view(
    "subs_profile",
    "subscriptions_profile_snapshots",
    months_active=Int64,
    monthly_fee=Float64,
    paperless_billing=Bool,
    plan_stream_tv=Bool,
    plan_stream_movies=Bool,
    net_service=String,
)
usage_agg_30d_fv = _view(
    "usage_agg_30d",
    "usage_agg_30d_snapshots",
    watch_hours_30d=Float64,
    avg_session_mins_7d=Float64,
    unique_devices_30d=Int64,
    skips_7d=Int64,
    rebuffer_events_7d=Int64,
)
payments_agg_90d_fv = _view("payments_agg_90d", "payments_agg_90d_snapshots", failed_payments_90d=Int64)
support_agg_90d_fv = _view(
    "support_agg_90d",
    "support_agg_90d_snapshots",
    support_tickets_90d=Int64,
    ticket_avg_resolution_hrs_90d=Float64,
)
