"""The monitoring report: everything Vigie knows of one system over one range, to hand in."""

from __future__ import annotations

from collections.abc import Callable

from app.base.version import VERSION
from app.report import alerts, comparison, explained, panels, short, stack, traffic
from app.report.asking import Asking
from app.report.document import Document, Section
from app.report.origin import guarded, moment
from app.words.language import language
from app.words.message import t

NAME = "monitoring"


def document(asking: Asking) -> Document:
    """The report before it is written. Never raises for a source that is away: a gap stands in its place."""
    asking = asking.settled()
    return Document(
        name=NAME,
        title=t("Monitoring report: {system}", system=t(asking.system.title)),
        about=about(asking),
        sections=[guarded(asking, title, part) for title, part in parts()],
        language=language(),
    )


def parts() -> list[tuple[str, Callable[[Asking], Section]]]:
    """The parts in their order, each with the title that stands where it fails."""
    return [
        (t("In short"), short.summary),
        (t("Services and versions"), stack.services),
        (t("Targets"), stack.targets),
        (t("Charts"), panels.charts_of),
        (t("Load run"), traffic.traffic),
        (t("Drift decision"), comparison.decision),
        (t("Alerts"), alerts.alerts),
        (t("Explanations"), explained.explanations),
        (t("How to get each number again"), explained.again),
    ]


def about(asking: Asking) -> list[str]:
    """Of which system and range, in which time zone, and by which version."""
    return [
        t("System: {title} ({system}).", title=t(asking.system.title), system=asking.system.id),
        t(
            "Range: {start} to {end} ({length:duration}), {zone}.",
            start=moment(asking, asking.since),
            end=moment(asking, asking.until),
            length=asking.until - asking.since,
            zone=asking.clock.zone(asking.until),
        ),
        t("Written {when} by Vigie {version}.", when=moment(asking, asking.clock.moment), version=VERSION),
    ]
