"""The exercises of each course that a system file may name (`[lab] course`), in the order of its document."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from app.report import proofs, proofs_drift, proofs_seen
from app.report.facts import Facts
from app.report.proof import Exercise, Proof, answer
from app.words.explain import (
    DETECTS,
    HISTOGRAM_AGAINST_MEAN,
    RATE_ZERO,
    REFRESH_COST,
    WHY_SERVICE_NAME,
)
from app.words.message import t


@dataclass(frozen=True, slots=True)
class Course:
    """A lab: the name of its report's files, its title, and what it asks for."""

    name: str
    title: str
    exercises: Callable[[Facts], Iterable[Exercise]]


# --- answers that several courses ask for ---


def service_name() -> Proof:
    """Why a container scrapes the name of a service."""
    return answer(t("Why Prometheus scrapes api:8000 and not localhost:8000"), "targets", WHY_SERVICE_NAME)


def histogram() -> Proof:
    """Why a histogram and not a mean."""
    return answer(t("Why a histogram says more than a mean"), "charts", HISTOGRAM_AGAINST_MEAN)


def detects() -> Proof:
    """What such metrics see and what they do not."""
    return answer(t("What these metrics detect, and what they cannot"), "charts", DETECTS)


def refresh() -> Proof:
    """What a short refresh costs."""
    return answer(t("A refresh of 5 s or 10 s, and its cost"), "charts", REFRESH_COST)


def rate_zero() -> Proof:
    """Why a rate is 0."""
    return answer(t("Why a rate is 0 although the counter is not"), "charts", RATE_ZERO)


# --- the courses ---


def _monitoring_lab(facts: Facts) -> Iterable[Exercise]:
    stack = [proofs.services(facts), proofs.prometheus(facts), proofs.grafana(facts), service_name()]
    yield Exercise(t("1. Start the stack"), stack)
    yield Exercise(t("2. Instrument the API"), [proofs.metrics(facts), histogram()])
    yield Exercise(t("3. Read Prometheus"), [proofs.targets(facts), *proofs.queries(facts), rate_zero()])
    seen = [proofs_seen.traffic(facts), proofs_seen.peak(facts), proofs_seen.panel_query(facts)]
    yield Exercise(t("4. Show it on a dashboard"), [*seen, proofs_seen.dashboard(facts), refresh(), detects()])
    drift = [proofs_drift.drift_report(facts), proofs_drift.both_drifts(facts), proofs_drift.decision(facts)]
    yield Exercise(t("5. Detect drift and decide"), drift)


def _service_and_machine(facts: Facts) -> Iterable[Exercise]:
    stack = [proofs.services(facts), proofs.health(facts), proofs.prometheus(facts), proofs.grafana(facts)]
    yield Exercise(t("1. Deploy the services"), [*stack, service_name()])
    yield Exercise(t("2. Predict and count"), [proofs_seen.traffic(facts), proofs.metrics(facts)])
    yield Exercise(t("3. Watch the API"), [proofs.targets(facts), *proofs.queries(facts), proofs_seen.peak(facts)])
    drift = [proofs_drift.gauge_value(facts), proofs_drift.decision(facts)]
    yield Exercise(t("4. Measure drift in the service"), drift)
    machine = proofs_seen.resources(facts, t("CPU, memory and disk of the machine"))
    yield Exercise(t("5. Watch the machine"), [machine, proofs_seen.dashboard(facts), detects()])


def _model_in_production(facts: Facts) -> Iterable[Exercise]:
    stack = [proofs.services(facts), proofs.health(facts), proofs.prometheus(facts), proofs.grafana(facts)]
    yield Exercise(t("1. Start the stack"), [*stack, proofs.targets(facts)])
    http = [proofs_seen.traffic(facts), proofs.metrics(facts), *proofs.queries(facts)]
    yield Exercise(t("2. Measure requests and predictions"), [*http, proofs_seen.refused(facts)])
    yield Exercise(t("3. Watch states and alerts"), [proofs_seen.status(facts), proofs_seen.alerts(facts)])
    database = proofs_seen.resources(facts, t("Database questions, memory and CPU of the API"))
    board = [proofs_seen.board(facts), database, proofs_seen.panel_query(facts), proofs_seen.dashboard(facts)]
    yield Exercise(t("4. Show it on a dashboard"), [*board, detects()])
    drift = [proofs_drift.drift_report(facts), proofs_drift.both_drifts(facts), proofs_drift.decision(facts)]
    yield Exercise(t("5. Report drift"), drift)


def _general(facts: Facts) -> Iterable[Exercise]:
    """The order for anyone's own system: what its file does not describe is left out."""
    system = facts.system
    yield Exercise(t("1. The service answers"), [proofs.services(facts), proofs.health(facts), proofs.targets(facts)])
    requests = [proofs_seen.traffic(facts)] if system.request is not None else []
    yield Exercise(t("2. It is measured"), [*requests, proofs.metrics(facts), *proofs.queries(facts), histogram()])
    shown = [proofs_seen.peak(facts), proofs_seen.dashboard(facts)] if requests else [proofs_seen.dashboard(facts)]
    states = [proofs_seen.status(facts)] if system.status else []
    alerts = [proofs_seen.alerts(facts)] if system.alerts or system.drift else []
    yield Exercise(t("3. It is watched"), [*shown, *states, *alerts, detects()])
    if system.compares:
        drift = [proofs_drift.drift_report(facts), proofs_drift.both_drifts(facts), proofs_drift.decision(facts)]
        yield Exercise(t("4. Its data is compared"), drift)
    elif system.drift is not None:
        yield Exercise(t("4. Its data is compared"), [proofs_drift.gauge_value(facts), proofs_drift.decision(facts)])


COURSES: Final[Mapping[str, Course]] = {
    "general": Course("lab", t("Lab report"), _general),
    "monitoring-lab": Course("rapport_tp5", t("Monitoring and observability: lab report"), _monitoring_lab),
    "service-and-machine": Course(
        "lab", t("Monitoring of an API, its drift and its machine: lab report"), _service_and_machine
    ),
    "model-in-production": Course("lab", t("Monitoring of a model in production: lab report"), _model_in_production),
}
