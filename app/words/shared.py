"""Sentences and phrases that several places say, each written once."""

from __future__ import annotations

from typing import Final

# Of a run that ended badly and left no word.
NO_REASON: Final = "No reason was written down."
FIRST_SCRAPE: Final = "waiting for the first scrape"
PROMETHEUS_SILENT: Final = "Prometheus does not answer"
# What, and why.
RUN_UNKNOWN: Final = ("That run is not known for this system.", "It was deleted, or belongs to another system.")
RUN_ELSEWHERE: Final = "It was deleted, or it belongs to another home."
TWO_MONTHS: Final = "Pick two different months."
SHARE_THRESHOLD: Final = "Share of drifted columns from which retraining is triggered."


def capital(text: str) -> str:
    """`text` with a capital letter in front."""
    return f"{text[:1].upper()}{text[1:]}"


def counting(columns: str) -> str:
    """Which columns a policy counts."""
    return "all columns count" if columns == "all" else "features alone count"


def text_value(text: str) -> str:
    """What a query that answers with a text shows."""
    return f"The value is the text “{text}”."
