"""Draw the accounts and their twelve months; pure, seeded, about half a second.

Marginals are exact: a column's values are a fixed list of quantiles, and only *who* gets which value is drawn
(by the rank of a score made of lasting traits and this month's noise).
"""

from dataclasses import dataclass
from math import exp
from statistics import NormalDist
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stack.world import story
from stack.world.story import MONTHS, SEED, USERS, Month

Floats: TypeAlias = NDArray[np.float64]
# Booleans, whole numbers, floats or text.
Column: TypeAlias = NDArray[Any]
Columns: TypeAlias = dict[str, Column]

FIBER: Final = "Fiber optic"
# Cumulative shares of net_service in the course data; the rest has no internet.
FIBER_BELOW: Final = 0.44
DSL_BELOW: Final = 0.78
# Quantiles of months_active: many new accounts, many old ones, mean 32.
TENURE: Final = ((0.0, 0.02, 0.25, 0.5, 0.75, 0.95, 1.0), (0.0, 1.0, 9.0, 29.0, 55.0, 72.0, 72.0))
# Cumulative shares of 0, 1, 2, ... events; both reach more than five values, which keeps Evidently on Wasserstein.
FAILED: Final = (0.72, 0.89, 0.955, 0.982, 0.993, 0.998, 1.0)
TICKETS: Final = (0.46, 0.742, 0.89, 0.955, 0.983, 0.995, 1.0)
DEVICES: Final = (0.46, 0.83, 1.0)
CONTRACTS: Final = ((0.55, "Month-to-month"), (0.76, "One year"), (1.0, "Two year"))
# The range of the course data's fees, before the event.
FEE_RANGE: Final = (18.25, 118.75)
# Counts above this do not occur among 7,043 draws with the means used here.
POISSON_TOP: Final = 60


@dataclass(frozen=True, slots=True)
class Accounts:
    """What does not change with the month: one entry an account, in the order of ``user_id``."""

    user_id: list[str]
    people: Columns
    contract_type: list[str]
    profile: Columns
    bundle: NDArray[np.bool_]
    traits: dict[str, Floats]


def drawn(entropy: tuple[int, ...], size: int) -> Floats:
    """Numbers in [0, 1) from the raw words of a seeded generator."""
    raw = np.random.PCG64(np.random.SeedSequence(entropy)).random_raw(size)
    return (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53


def uniforms(name: str, month: int = -1, size: int = USERS) -> Floats:
    """Numbers in [0, 1), seeded by name and month."""
    return drawn((SEED, month + 1, *name.encode()), size)


def bells(name: str, month: int = -1, size: int = USERS) -> Floats:
    """Bell-shaped scores, mean 0 and standard deviation 1: twelve uniforms added (no logarithm, no cosine)."""
    total: Floats = uniforms(name, month, size * 12).reshape(12, size).sum(axis=0) - 6.0
    return total


def ranks(scores: Floats) -> Floats:
    """Each score's place among all, in (0, 1); ties keep the order of the accounts."""
    places = np.empty(len(scores))
    places[np.argsort(scores, kind="stable")] = np.arange(len(scores))
    return (places + 0.5) / len(scores)


def counts(places: Floats, cumulative: tuple[float, ...]) -> NDArray[np.int64]:
    """Counts 0, 1, 2, ... whose cumulative shares are given."""
    return np.searchsorted(np.array(cumulative[:-1]), places, side="right").astype(np.int64)


def poisson(mean: float) -> tuple[float, ...]:
    """Cumulative shares of a Poisson count."""
    term, total, out = exp(-mean), 0.0, []
    for k in range(POISSON_TOP):
        total += term
        out.append(total)
        term *= mean / (k + 1)
    return tuple(out)


def top(scores: Floats, number: int) -> NDArray[np.bool_]:
    """True for the ``number`` highest scores."""
    chosen = np.zeros(len(scores), dtype=np.bool_)
    chosen[np.argsort(-scores, kind="stable")[:number]] = True
    return chosen


def one_more(values: NDArray[np.int64], scores: Floats, shift: float) -> NDArray[np.int64]:
    """Add one for so many accounts that the normed Wasserstein distance is ``shift``, as near as a row allows."""
    number = round(shift * float(np.std(values)) * USERS)
    return values + top(scores, number)


def mixed(trait: Floats, weight: float, name: str, month: int) -> Floats:
    """Ranks of a score that is ``weight`` lasting trait and otherwise this month's noise."""
    return ranks(weight * trait + (1.0 - weight * weight) ** 0.5 * bells(name, month))


def accounts() -> Accounts:
    """The 7,043 accounts as they are in the first month."""
    net = ranks(uniforms("net_service"))
    net_service = np.where(net < FIBER_BELOW, FIBER, np.where(net < DSL_BELOW, "DSL", "No")).astype(object)
    internet = net < DSL_BELOW
    taste = bells("taste")
    streams = internet & (ranks(np.where(internet, taste, -9.0)) > 0.5)
    tv = (streams & (uniforms("tv") < 0.62)) | (internet & (uniforms("tv2") < 0.12))
    movies = (streams & (uniforms("movies") < 0.64)) | (internet & (uniforms("movies2") < 0.12))
    base = np.where(net < FIBER_BELOW, 81.0, np.where(internet, 51.0, 20.0))
    noise = bells("fee") * np.where(internet, 6.0, 0.7)
    fee = np.clip(base + noise + 9.5 * tv + 9.5 * movies, *FEE_RANGE)
    tenure_rank = mixed(bells("tenure"), 0.9, "tenure_noise", -1)
    tenure = np.rint(np.interp(tenure_rank, *TENURE)).astype(np.int64)
    loyal = ranks(0.75 * (tenure_rank - 0.5) + 0.5 * (uniforms("contract") - 0.5))
    contract = [next(name for edge, name in CONTRACTS if place < edge) for place in loyal]
    profile: Columns = {
        "months_active": tenure,
        "monthly_fee": np.round(fee, 2),
        "paperless_billing": uniforms("paperless") < 0.592,
        "plan_stream_tv": tv,
        "plan_stream_movies": movies,
        "net_service": net_service,
    }
    people: Columns = {
        "user_gender": np.where(uniforms("gender") < 0.505, "Male", "Female").astype(object),
        "user_is_senior": uniforms("senior") < 0.162,
        "has_family": uniforms("family") < 0.483,
        "has_dependents": uniforms("dependents") < 0.3,
    }
    bundle = top(np.where(internet, uniforms("bundle"), -1.0), round(story.BUNDLE_SHARE * int(internet.sum())))
    names = ("watch", "skips", "rebuffer", "failed", "tickets", "devices", "leaving")
    traits = {name: bells(f"trait_{name}") for name in names}
    ids = [f"U{number:04d}" for number in range(1, USERS + 1)]
    return Accounts(ids, people, contract, profile, bundle, traits)


def months(people: Accounts) -> list[Columns]:
    """The 14 features of each month, and ``churn_label`` where it is known; the order of MONTHS."""
    first = _ordinary(people, 0, MONTHS[0])
    out = [first, _after_update(first)]
    out += [_ordinary(people, number, month) for number, month in enumerate(MONTHS) if number > 1]
    for number, (month, columns) in enumerate(zip(MONTHS, out, strict=True)):
        if month.churned is not None:
            columns["churn_label"] = top(_leaving(people, columns, number), month.churned)
    return out


def _ordinary(people: Accounts, number: int, month: Month) -> Columns:
    """A month whose usage is drawn anew around each account's habits."""
    traits = people.traits
    columns = _profile(people, month)
    watch = mixed(traits["watch"], 0.8, "watch", number)
    bell = NormalDist()
    grid = np.array([bell.inv_cdf((place + 0.5) / USERS) for place in range(USERS)])
    level = story.WATCH_MEAN + story.WATCH_SD * month.watch
    hours = level + story.WATCH_SD * grid[(watch * USERS).astype(np.int64)]
    failed = counts(mixed(traits["failed"], 0.8, "failed", number), FAILED)
    tickets = counts(mixed(traits["tickets"], 0.8, "tickets", number), TICKETS)
    # Only households that already had a case write again: the share without tickets, and with it the column of
    # resolution times, stays what it was.
    writes = (tickets > 0) & (uniforms("tickets_more", number) < month.tickets / float((tickets > 0).mean()))
    columns |= {
        "watch_hours_30d": np.round(np.maximum(hours, 0.0), 2),
        "avg_session_mins_7d": np.full(USERS, story.SESSION_MINUTES),
        "unique_devices_30d": 1 + counts(mixed(traits["devices"], 0.9, "devices", number), DEVICES),
        "skips_7d": counts(mixed(traits["skips"], 0.7, "skips", number), poisson(month.skips)),
        "rebuffer_events_7d": counts(mixed(traits["rebuffer"], 0.6, "rebuffer", number), poisson(month.rebuffer)),
        "failed_payments_90d": failed + (uniforms("failed_more", number) < month.failed),
        "support_tickets_90d": tickets + writes,
        "ticket_avg_resolution_hrs_90d": _resolution(number, tickets),
    }
    return columns


def _after_update(first: Columns) -> Columns:
    """month_001: month_000 with four columns moved by exact distances, the other ten left alone."""
    columns = {name: values for name, values in first.items() if name != "churn_label"}
    watch, rebuffer = first["watch_hours_30d"].astype(np.float64), first["rebuffer_events_7d"].astype(np.int64)
    failed, tickets = first["failed_payments_90d"].astype(np.int64), first["support_tickets_90d"].astype(np.int64)
    more = story.WATCH_SHIFT * float(np.std(watch))
    columns["watch_hours_30d"] = np.round(watch + more * (0.5 + uniforms("watch", 1)), 2)
    columns["rebuffer_events_7d"] = one_more(rebuffer, uniforms("rebuffer", 1), story.REBUFFER_SHIFT)
    columns["failed_payments_90d"] = one_more(failed, uniforms("failed", 1), story.FAILED_SHIFT)
    # Only where there were tickets: a first ticket would need a resolution time, and that column must not move.
    again = np.where(tickets > 0, uniforms("tickets", 1), -1.0)
    columns["support_tickets_90d"] = one_more(tickets, again, story.TICKETS_SHIFT)
    return columns


def _profile(people: Accounts, month: Month) -> Columns:
    """The profile of this month: the first month's until the event changes prices and plans."""
    columns = dict(people.profile)
    if not month.event:
        return columns
    internet = columns["net_service"] != "No"
    rise = story.PRICE_RISE * internet + story.BUNDLE_FEE * people.bundle
    columns["monthly_fee"] = np.round(columns["monthly_fee"].astype(np.float64) + rise, 2)
    columns["plan_stream_tv"] = columns["plan_stream_tv"].astype(np.bool_) | people.bundle
    columns["plan_stream_movies"] = columns["plan_stream_movies"].astype(np.bool_) | people.bundle
    return columns


def _resolution(number: int, tickets: NDArray[np.int64]) -> Floats:
    """Mean hours to close a ticket, 2 to 74 and skewed; 0 where there was none."""
    spread = uniforms("resolution", number)
    return np.where(tickets > 0, np.round(2.0 + 72.0 * spread * spread, 1), 0.0)


def _leaving(people: Accounts, columns: Columns, number: int) -> Floats:
    """How close each account is to leaving: its features, its nature and this month's chance."""
    fee, hours = columns["monthly_fee"].astype(np.float64), columns["watch_hours_30d"].astype(np.float64)
    score: Floats = (
        -0.045 * columns["months_active"].astype(np.float64)
        + 1.1 * (columns["net_service"] == FIBER)
        - 0.9 * (columns["net_service"] == "No")
        + 0.012 * (fee - 65.0)
        + 0.35 * columns["paperless_billing"].astype(np.float64)
        - 0.05 * (hours - story.WATCH_MEAN)
        + 0.22 * columns["rebuffer_events_7d"].astype(np.float64)
        + 0.06 * columns["skips_7d"].astype(np.float64)
        + 0.45 * columns["failed_payments_90d"].astype(np.float64)
        + 0.3 * columns["support_tickets_90d"].astype(np.float64)
        + 0.008 * columns["ticket_avg_resolution_hrs_90d"].astype(np.float64)
    )
    return score + 1.4 * people.traits["leaving"] + 1.4 * bells("leaving", number)
