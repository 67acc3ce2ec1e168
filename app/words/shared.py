"""Sentences and phrases that several places show, each written once. Draw the constants with `t(NAME)`."""

from __future__ import annotations

from typing import Final

from app.words.message import Message, t, tn

# Of a run that ended badly without a reason.
NO_REASON: Final = t("No reason was written down.")
FIRST_SCRAPE: Final = t("waiting for the first scrape")
PROMETHEUS_SILENT: Final = t("Prometheus does not answer")
# What, and why.
RUN_UNKNOWN: Final = (t("That run is not known for this system."), t("It was deleted, or belongs to another system."))
RUN_ELSEWHERE: Final = t("It was deleted, or it belongs to another home.")
TWO_MONTHS: Final = t("Pick two different months.")
SHARE_THRESHOLD: Final = t("Share of drifted columns from which retraining is triggered.")


def capital(text: str) -> str:
    """A clause as the beginning of a sentence."""
    return Message("{text:capital}", {"text": text})


def counting(columns: str) -> Message:
    """Which columns a policy counts."""
    return t("all columns count") if columns == "all" else t("features alone count")


def rows(n: float | None) -> Message:
    """`1 row`, `7,043 rows`."""
    return tn("{n:count} row", "{n:count} rows", n)


def text_value(text: str) -> Message:
    """What a query that answers with a text shows."""
    return t("The value is the text “{text}”.", text=text)
