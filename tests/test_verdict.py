"""What is said of a system now: one wording for one state, on every page."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from app import verdict
from app.charts import Context
from app.config import Settings, load_systems
from app.errors import Unreachable
from app.prometheus import Answer, Series, State, TimeRange
from app.prometheus.targets import Health, Target
from app.runs.run import Run
from app.runs.run import State as RunState
from app.services import Service, StackState, start_hint
from app.verdict import Now
from app.words.units import Clock
from tests.kept_runs import result

SPAN = TimeRange(1000.0, 1300.0, 5.0)
CLOCK = Clock(UTC, now=datetime(2024, 3, 1, 15, tzinfo=UTC).timestamp())


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    return load_systems(Settings.from_env({"VIGIE_HOME": str(tmp_path_factory.mktemp("home"))})).by_id["streamflow"]


def target(system, health="up", scraped=1299.0, error=""):
    labels = dict(part.split("=") for part in system.prometheus.selector.strip("{}").replace('"', "").split(","))
    return Target(
        job=labels.get("job", "api"),
        instance="127.0.0.1:8000",
        url="http://127.0.0.1:8000/metrics",
        health=Health(health),
        last_error=error,
        last_scrape=scraped,
        duration=0.01,
        interval=2.0,
        timeout=2.0,
        labels=labels,
    )


def answer(value, at=1300.0):
    return Answer(State.OK, (Series({}, np.array([at]), np.array([value])),))


def now(system, targets, **more):
    stack = more.pop("stack", StackState({}, None, ""))
    return Now(
        system=system,
        context=Context.of(system, None, SPAN, targets),
        targets=targets,
        targets_error=more.pop("error", None),
        answers=more.pop("answers", {}),
        stack=stack,
        start_hint="Start it.",
        load=None,
        drift=more.pop("drift", None),
        compared=more.pop("compared", None),
        shares=(),
    )


def service(state, reason=""):
    return Service("streamflow", "http://127.0.0.1:8000", state, reason, 1, "1", None)


def test_the_number_of_targets_has_one_wording(system):
    up, down = target(system), target(system, "down", error="refused")
    waiting = target(system, "unknown", None)
    assert verdict.targets_badge([]) == ("no targets", "unknown")
    assert verdict.targets_badge([waiting]) == ("waiting for the first scrape", "unknown")
    assert verdict.targets_badge([up]) == ("1 of 1 targets up", "good")
    assert verdict.targets_badge([up, waiting]) == ("1 of 2 targets up, 1 waiting for the first scrape", "unknown")
    assert verdict.targets_badge([up, down, waiting])[1] == "bad"


def test_a_system_that_starts_is_not_called_down(system):
    stack = StackState({"streamflow": service("starting", "importing")}, None, "")
    starts = now(system, [target(system, "down", error="connection refused")], stack=stack)
    assert verdict.behaviour(starts) == f"{system.title} is starting: importing."
    assert verdict.badges(starts) == [("0 of 1 targets up", "unknown"), (f"{system.title} is starting", "warning")]
    fails = replace(starts, stack=StackState({"streamflow": service("up")}, None, ""))
    assert verdict.behaviour(fails).startswith(f"{system.title} is down: ")
    assert verdict.badges(fails) == [("0 of 1 targets up", "bad")]


def test_what_prometheus_does_not_say_is_said(system):
    error = Unreachable("Prometheus at 127.0.0.1:9 does not answer.")
    stack = StackState({"prometheus": replace(service("starting", "reading its log"), name="prometheus")}, None, "")
    silent = now(system, [], error=error, stack=stack)
    assert verdict.behaviour(silent) == f"{error.text} The stack is still starting (prometheus: reading its log)."
    assert verdict.badges(silent) == [("Prometheus is starting", "warning")]
    assert verdict.badges(replace(silent, stack=StackState({}, None, ""))) == [("Prometheus does not answer", "bad")]
    stranger = now(system, [replace(target(system), labels={"job": "other"}, job="other")])
    assert verdict.behaviour(stranger) == f"Prometheus does not scrape {system.title}. Start it."
    assert verdict.badges(stranger)[1] == (f"{system.title} is not scraped", "unknown")


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({}, "The rate of requests is not known yet."),
        (
            {"kpi-rps": Answer(State.EMPTY, reason="no such metric", hint="Look at the file.")},
            "The rate of requests is not known yet: no such metric. Look at the file.",
        ),
        (
            {"kpi-rps": answer(12.4), "kpi-p95": answer(0.041), "kpi-errors": answer(0.0)},
            "12.4 requests a second, p95 41 ms, no errors in the last 30 s.",
        ),
        (
            {"kpi-rps": answer(1.0), "kpi-errors": answer(0.25)},
            "1 request a second, 25 % errors in the last 30 s.",
        ),
        (
            {"kpi-rps": answer(1.0), "kpi-errors": answer(np.nan)},
            "1 request a second in the last 30 s; error rate unknown.",
        ),
        ({"kpi-rps": answer(7.0, at=1200.0)}, "The rate of requests is not known yet."),
    ],
)
def test_behaviour_is_one_sentence_and_an_old_value_is_no_value(system, answers, said):
    seen = now(system, [target(system)], answers=answers)
    seen = replace(seen, context=replace(seen.context, window=30.0))
    assert verdict.behaviour(seen) == said


def test_a_tile_tells_no_traffic_from_unknown(system):
    seen = now(system, [target(system)], answers={"kpi-rps": answer(0.0), "kpi-errors": answer(np.nan)})
    assert seen.shown("kpi-rps", "1/s") == "0/s"
    assert seen.shown("kpi-errors", "ratio") == "no traffic"
    busy = replace(seen, answers={"kpi-rps": answer(2.0), "kpi-errors": answer(np.nan)})
    assert busy.shown("kpi-errors", "ratio") == "unknown"
    assert replace(seen, answers={}).why_unknown("kpi-p95") == "not asked"
    # What the answer knows decides, in every language, not how its reason is worded.
    for empty, text in (
        (Answer(State.EMPTY, reason="personne n'a rien demandé", idle=True), "no traffic"),
        (replace(answer(np.nan), state=State.EMPTY, hint="sans trafic, pas de moyenne"), "no traffic"),
        (Answer(State.EMPTY, reason="no request in sight"), "unknown"),
    ):
        assert replace(seen, answers={"kpi-p95": empty}).shown("kpi-p95", "s") == text


def test_the_last_decision_is_a_sentence_and_a_result_that_is_lost_is_said(system):
    made = datetime(2024, 3, 1, 14, 5, 32, tzinfo=UTC).timestamp()
    run = Run("20240301T140532Z-1a2b3c", "drift", "streamflow", "k", RunState.DONE, made, made, made)
    assert verdict.last_decision(now(system, []), CLOCK) == "No months compared yet."
    assert "cannot be read" in verdict.last_decision(now(system, [], drift=run), CLOCK)
    kept = result(run.id, "streamflow", drifted=5, months=("2024-01-31", "2024-02-29"))
    said = verdict.last_decision(now(system, [], drift=run, compared=kept), CLOCK)
    assert said.startswith(f"Last decision: {kept.ref.key} → {kept.cur.key}, ")
    assert said.endswith("compared 14:05:32.")


def test_a_gauge_of_status_says_since_when(system):
    def held(*values, start=1000.0):
        times = start + 5.0 * np.arange(len(values))
        return Answer(State.OK, (Series({}, times, np.array(values, dtype=float)),))

    steady = held(*[1] * 61)
    assert verdict.status(steady, SPAN, CLOCK) == ("good", "yes, all through the last hour")
    turned = verdict.status(held(*[1] * 30, *[0] * 31), SPAN, CLOCK)
    assert turned[0] == "bad"
    assert turned[1].startswith("no, since ")
    assert "since it was first seen at" in verdict.status(held(*[1] * 20, start=1200.0), SPAN, CLOCK)[1]
    assert verdict.status(Answer(State.EMPTY, reason="no such gauge"), SPAN, CLOCK) == (
        "unknown",
        "unknown: no such gauge",
    )


def test_the_next_step_of_a_system_that_is_not_there(tmp_path, system):
    lone = Settings.from_env({"VIGIE_HOME": str(tmp_path)})
    bare = system.model_copy(update={"api": system.api.model_copy(update={"url": None})})
    assert start_hint(lone, bare).startswith("Start it with python -m stack up --systems streamflow")
    attached = Settings.from_env({"VIGIE_HOME": str(tmp_path), "VIGIE_PROMETHEUS_URL": "http://127.0.0.1:9"})
    assert start_hint(attached, bare) == "Add a job for it to the Prometheus you attached."
