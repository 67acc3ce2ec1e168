"""The plan of the sample world: names, months, levels and the planted event. Constants only."""

from dataclasses import dataclass
from typing import Final

# Raised by hand when the layout of the world's files changes; readers refuse a number they do not know.
VERSION: Final = 1
SEED: Final = 8613
# The size of the course data set this world replaces.
USERS: Final = 7043

PROFILE: Final = (
    "months_active",
    "monthly_fee",
    "paperless_billing",
    "plan_stream_tv",
    "plan_stream_movies",
    "net_service",
)
USAGE: Final = ("watch_hours_30d", "avg_session_mins_7d", "unique_devices_30d", "skips_7d", "rebuffer_events_7d")
PAYMENTS: Final = ("failed_payments_90d",)
SUPPORT: Final = ("support_tickets_90d", "ticket_avg_resolution_hrs_90d")
# Parquet file stem -> its feature columns.
TABLES: Final[dict[str, tuple[str, ...]]] = {
    "subs_profile": PROFILE,
    "usage_agg_30d": USAGE,
    "payments_agg_90d": PAYMENTS,
    "support_agg_90d": SUPPORT,
}
FEATURES: Final = (*PROFILE, *USAGE, *PAYMENTS, *SUPPORT)

# month_000 -> month_001, in units of the reference standard deviation (normed Wasserstein distance). Evidently
# calls a column drifted from 0.1 on: the first is well above, the second just misses.
REBUFFER_SHIFT: Final = 0.205
WATCH_SHIFT: Final = 0.0887
FAILED_SHIFT: Final = 0.0282
TICKETS_SHIFT: Final = 0.0319

WATCH_MEAN: Final = 29.0
WATCH_SD: Final = 6.7
# One value for everyone, as in the course data: a column that can never drift.
SESSION_MINUTES: Final = 45.0


@dataclass(frozen=True, slots=True)
class Month:
    """The levels of one month.

    ``watch`` is an offset in standard deviations; ``skips`` and ``rebuffer`` are means of counts; ``failed`` and
    ``tickets`` are shares of accounts with one more than usual; ``churned`` is a number of accounts, None while
    unknown; ``event`` says whether the price rise and the bundle are in force.
    """

    name: str
    as_of: str
    watch: float
    skips: float
    rebuffer: float
    failed: float
    tickets: float
    churned: int | None
    event: bool = False


MONTHS: Final = (
    Month("month_000", "2024-01-31", 0.0, 5.0, 2.3, 0.0, 0.0, 1869),
    # The four changes of month_001 are exact distances from month_000: see the *_SHIFT constants above.
    Month("month_001", "2024-02-29", 0.0, 5.0, 2.3, 0.0, 0.0, 1701),
    Month("month_002", "2024-03-31", 0.06, 5.05, 2.58, 0.02, 0.03, 1690),
    Month("month_003", "2024-04-30", 0.04, 4.95, 2.62, 0.01, 0.02, 1722),
    Month("month_004", "2024-05-31", 0.05, 5.0, 2.55, 0.03, 0.04, 1708),
    Month("month_005", "2024-06-30", 0.02, 5.1, 2.6, 0.02, 0.03, 1745),
    Month("month_006", "2024-07-31", 0.01, 5.05, 2.64, 0.02, 0.02, 1694),
    Month("month_007", "2024-08-31", 0.03, 5.0, 2.57, 0.03, 0.03, 1716),
    Month("month_008", "2024-09-30", -0.4, 6.4, 4.2, 0.05, 0.45, 2412, event=True),
    Month("month_009", "2024-10-31", -0.38, 6.3, 4.1, 0.06, 0.47, 2360, event=True),
    Month("month_010", "2024-11-30", -0.34, 5.1, 2.7, 0.04, 0.43, 2190, event=True),
    Month("month_011", "2024-12-31", -0.2, 5.0, 2.6, 0.04, 0.24, None, event=True),
)
PLANTED_REF: Final = "2024-08-31"
PLANTED_CUR: Final = "2024-09-30"
PLANTED_STORY: Final = "price rise, bundle Duo and a rebuffering incident"
PLANTED_COLUMNS: Final = (
    "monthly_fee",
    "plan_stream_tv",
    "plan_stream_movies",
    "watch_hours_30d",
    "skips_7d",
    "rebuffer_events_7d",
    "support_tickets_90d",
)
# Share of the internet households that the event moves to the bundle, and what each change costs a month.
BUNDLE_SHARE: Final = 0.475
BUNDLE_FEE: Final = 7.0
PRICE_RISE: Final = 4.0
