"""The exercises of each course that a system file may name (`[lab] course`), in the order of its document."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from app.config import System
from app.report import proofs
from app.report import proofs_drift as drift
from app.report import proofs_seen as seen
from app.report.facts import Facts
from app.report.proof import Proof, answer
from app.words.explain import (
    DETECTS,
    HISTOGRAM_AGAINST_MEAN,
    RATE_ZERO,
    REFRESH_COST,
    WHY_SERVICE_NAME,
)
from app.words.message import t

# What is looked up for an exercise: one proof, or several of a kind.
Look = Callable[[Facts], Proof | Sequence[Proof]]
Order = Sequence[tuple[str, Sequence[Look]]]


@dataclass(frozen=True, slots=True)
class Course:
    """A lab: the name of its report's files, its title, and the exercises of a system in their order."""

    name: str
    title: str
    order: Callable[[System], Order]


# --- answers that several courses ask for ---


def service_name(_: Facts) -> Proof:
    """Why a container scrapes the name of a service."""
    return answer(t("Why Prometheus scrapes api:8000 and not localhost:8000"), "targets", WHY_SERVICE_NAME)


def histogram(_: Facts) -> Proof:
    """Why a histogram and not a mean."""
    return answer(t("Why a histogram says more than a mean"), "charts", HISTOGRAM_AGAINST_MEAN)


def detects(_: Facts) -> Proof:
    """What such metrics see and what they do not."""
    return answer(t("What these metrics detect, and what they cannot"), "charts", DETECTS)


def refresh(_: Facts) -> Proof:
    """What a short refresh costs."""
    return answer(t("A refresh of 5 s or 10 s, and its cost"), "charts", REFRESH_COST)


def rate_zero(_: Facts) -> Proof:
    """Why a rate is 0."""
    return answer(t("Why a rate is 0 although the counter is not"), "charts", RATE_ZERO)


def machine(facts: Facts) -> Proof:
    """The resources of the machine."""
    return seen.resources(facts, t("CPU, memory and disk of the machine"))


def database(facts: Facts) -> Proof:
    """The resources of the API, and what it asks of its database."""
    return seen.resources(facts, t("Database questions, memory and CPU of the API"))


# --- the courses ---

STACK: Final[Sequence[Look]] = (proofs.services, proofs.health, proofs.prometheus, proofs.grafana)
MONTHS: Final[Sequence[Look]] = (drift.drift_report, drift.both_drifts, drift.decision)
GAUGE: Final[Sequence[Look]] = (drift.gauge_value, drift.decision)


def _monitoring_lab(_: System) -> Order:
    shown = (seen.traffic, seen.peak, seen.panel_query, seen.dashboard, refresh, detects)
    return [
        (t("1. Start the stack"), (proofs.services, proofs.prometheus, proofs.grafana, service_name)),
        (t("2. Instrument the API"), (proofs.metrics, histogram)),
        (t("3. Read Prometheus"), (proofs.targets, proofs.queries, rate_zero)),
        (t("4. Show it on a dashboard"), shown),
        (t("5. Detect drift and decide"), MONTHS),
    ]


def _service_and_machine(_: System) -> Order:
    return [
        (t("1. Deploy the services"), (*STACK, service_name)),
        (t("2. Predict and count"), (seen.traffic, proofs.metrics)),
        (t("3. Watch the API"), (proofs.targets, proofs.queries, seen.peak)),
        (t("4. Measure drift in the service"), GAUGE),
        (t("5. Watch the machine"), (machine, seen.dashboard, detects)),
    ]


def _model_in_production(_: System) -> Order:
    return [
        (t("1. Start the stack"), (*STACK, proofs.targets)),
        (t("2. Measure requests and predictions"), (seen.traffic, proofs.metrics, proofs.queries, seen.refused)),
        (t("3. Watch states and alerts"), (seen.status, seen.alerts)),
        (t("4. Show it on a dashboard"), (seen.board, database, seen.panel_query, seen.dashboard, detects)),
        (t("5. Report drift"), MONTHS),
    ]


def _general(system: System) -> Order:
    """The order for anyone's own system: what its file does not describe is left out."""
    sent = system.request is not None
    states = (seen.status,) if system.status else ()
    alerts = (seen.alerts,) if system.alerts or system.drift else ()
    requests = (seen.traffic,) if sent else ()
    order: list[tuple[str, Sequence[Look]]] = [
        (t("1. The service answers"), (proofs.services, proofs.health, proofs.targets)),
        (t("2. It is measured"), (*requests, proofs.metrics, proofs.queries, histogram)),
        (t("3. It is watched"), (*((seen.peak,) if sent else ()), seen.dashboard, *states, *alerts, detects)),
    ]
    if system.drift is not None:
        order.append((t("4. Its data is compared"), MONTHS if system.compares else GAUGE))
    return order


COURSES: Final[Mapping[str, Course]] = {
    "general": Course("lab", t("Lab report"), _general),
    "monitoring-lab": Course("rapport_tp5", t("Monitoring and observability: lab report"), _monitoring_lab),
    "service-and-machine": Course(
        "lab", t("Monitoring of an API, its drift and its machine: lab report"), _service_and_machine
    ),
    "model-in-production": Course("lab", t("Monitoring of a model in production: lab report"), _model_in_production),
}
