"""The lab report: what each proof says while it is missing, and when it is there. Its numbers: test_report_monitoring."""

from __future__ import annotations

import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from app.config import Settings, System, load_systems
from app.config.system import Lab, parse_system
from app.errors import BadAnswer, LedgerError
from app.prometheus import Answer, Rule, State, Target
from app.prometheus.targets import Health
from app.report import courses, lab, proofs, proofs_drift, proofs_seen, write
from app.report.asking import Asking
from app.report.document import Gap, Section
from app.report.facts import Facts, Reply
from app.services import Service, StackState
from app.words.language import speaking
from tests.http_fakes import answer, serve

SHIPPED = ("streamflow", "diabetes", "f1pa")


def asking(system: str | System = "streamflow") -> Asking:
    settings, now = Settings.from_env(), time.time()
    one = load_systems(settings).by_id[system] if isinstance(system, str) else system
    return Asking(settings, one, now - 3600, now)


def facts(system: str | System = "streamflow", **known: object) -> Facts:
    """What was looked up, as far as `known` says; a Prometheus is there and scrapes the system."""
    one = Facts(asking(system))
    vars(one.asking)["targets"] = known.pop("targets", ([target(one.system)], None))
    vars(one).update(known)
    return one


def target(system: System, health: Health = Health.UP, **changes: object) -> Target:
    job = system.prometheus.selector.split('"')[1]
    one = Target(job, "api:8000", "http://api:8000/metrics", health, "", time.time(), 0.01, 10.0, 10.0, {"job": job})
    return replace(one, **changes)


def load(**changes: object) -> SimpleNamespace:
    """A load run as far as proofs look at it."""
    numbers = {
        "sent": 100,
        "ok": 100,
        "meant_to_fail": None,
        "refused": None,
        "started": time.time() - 60,
        "by_status": {},
    }
    return SimpleNamespace(result=SimpleNamespace(**numbers | {"finished": time.time() - 50} | changes))


# --- nothing there ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lang", ["en", "fr"])
@pytest.mark.parametrize("system", SHIPPED)
def test_with_nothing_there_each_proof_names_its_step_and_the_report_is_whole(home, system, lang):
    with speaking(lang):
        exercises, document = lab.exercises(asking(system)), lab.document(asking(system))
    for proof in (proof for exercise in exercises for proof in exercise.proofs):
        if proof.missing is None:
            assert proof.draw is not None, proof.what  # an answer, or a file made of the system file
            continue
        assert proof.missing.why and proof.missing.step, proof.what
        assert "{" not in (proof.missing.why + proof.missing.step).replace("{period}", "")
        assert (home / "..").resolve().as_posix() not in proof.missing.step
    assert document.language == lang
    assert len(document.gaps) >= sum(not proof.done for exercise in exercises for proof in exercise.proofs)
    assert document.all_numbers == []
    files = write.files(document)
    assert {f"{document.name}.{ending}" for ending in ("md", "html", "zip")} <= set(files)


def test_the_course_of_the_document_has_its_five_exercises_and_the_name_it_asks_for(home):
    document = lab.document(asking())
    assert document.name == "rapport_tp5"
    assert len(document.sections) == 6
    asked = [[proof.what for proof in exercise.proofs] for exercise in lab.exercises(asking())]
    assert [len(one) for one in asked] == [4, 2, 7, 6, 3]


@pytest.mark.parametrize(
    ("toml", "titles"),
    [
        ('title = "Bare"', ["1", "2", "3"]),
        ('title = "Own"\n[drift]\nsource = "gauge"\nexpr = "drift"\nthreshold = 0.2\n', ["1", "2", "3", "4"]),
    ],
)
def test_anyones_own_file_is_asked_for_what_it_describes(home, toml, titles):
    system = parse_system(toml, home / "own.toml", Settings.from_env())
    exercises = lab.exercises(asking(system))
    assert [exercise.title[0] for exercise in exercises] == titles
    assert any("[metrics]" in proof.missing.step for one in exercises for proof in one.proofs if proof.missing)


def test_every_course_that_a_file_may_name_is_there_and_says_its_own_texts(home):
    named = Lab.model_fields["course"].annotation.__args__
    assert set(named) == set(courses.COURSES)
    own = asking()
    for course in named:
        system = own.system.model_copy(update={"lab": Lab(course=course)})
        titles = [exercise.title for exercise in lab.exercises(replace(own, system=system))]
        assert len(set(titles)) == len(titles)
        with speaking("fr"):
            french = [exercise.title for exercise in lab.exercises(replace(own, system=system))]
        assert not set(french) & set(titles)


def test_a_prometheus_that_does_not_answer_is_asked_for_its_targets_alone(home, monkeypatch):
    with serve(answer(b"", status="503 Service Unavailable")) as away:
        monkeypatch.setenv("VIGIE_PROMETHEUS_URL", away.url)
        exercises = lab.exercises(asking())
        assert {request.split()[1].partition(b"?")[0] for request in away.requests} == {b"/api/v1/targets"}
    missing = [proof.missing.why for one in exercises for proof in one.proofs if proof.missing]
    assert sum("503" in why for why in missing) >= 7


# --- each proof, there and not ----------------------------------------------------------------------------------------


def service(name: str, state: str = "up", reason: str = "") -> Service:
    return Service(name, "http://127.0.0.1:9", state, reason, 4, "12", None)


def test_services_are_up_or_the_first_that_is_not_says_why(home, monkeypatch):
    up = StackState({name: service(name) for name in ("prometheus", "streamflow")}, None, "")
    proof = proofs.services(facts(stack=up))
    assert proof.done
    assert proof.state == "2 of 2 up"
    monkeypatch.setattr(proofs.stack, "services", lambda _: Section("", []))
    text = proof.draw().blocks[0].text
    assert text.split("\n")[0].split() == ["SERVICE", "STATE", "PID", "SINCE", "URL"]
    down = StackState({**up.services, "streamflow": service("streamflow", "down", "port taken")}, None, "")
    gap = proofs.services(facts(stack=down)).missing
    assert gap.why == "Streamflow is down: port taken."


def test_grafana_answers_with_its_version_or_says_where_to_get_one(home):
    assert proofs.grafana(facts(grafana=Reply("http://g:3000", '{"version": "11.2.0"}'))).state == "11.2.0"
    assert proofs.grafana(facts(grafana=Reply("http://g:3000", "[1"))).done
    gap = proofs.grafana(facts(grafana=Reply(""))).missing
    assert "docker compose" in gap.step
    assert "VIGIE_GRAFANA_URL" in gap.step


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, None),
        ({"health": Health.DOWN, "last_error": "connection refused"}, "Connection refused."),
        ({"last_scrape": 1000.0}, "Its last scrape was 1970-01-01 00:16:40."),
        ({"labels": {"job": "other"}}, 'Prometheus scrapes nothing that fits `job="api"`.'),
    ],
)
def test_the_target_is_up_and_its_scrape_recent(home, changes, why):
    known = facts()
    vars(known.asking)["targets"] = [target(known.system, **changes)], None
    missing = proofs.targets(known).missing
    assert (missing and missing.why) == why


def test_calls_count_from_fifty_on(home):
    assert proofs_seen.traffic(facts(load=load())).done
    gap = proofs_seen.traffic(facts(load=load(ok=49))).missing
    assert gap == Gap(
        "The newest run had 49 good answers to 100 requests.",
        "Generate traffic: press “100 requests over 10 s”, or run "
        "`python -m app load --system streamflow --count 100 --duration 10`.",
    )


def test_the_newest_run_that_sent_enough_is_the_one_that_is_shown(home):
    small, large = load(ok=3), load(ok=80)
    assert facts(loads=[small, large]).load is large
    assert facts(loads=[small]).load is small
    assert facts(loads=[]).load is None


def test_metrics_need_both_texts_and_both_names(home):
    texts = b"api_requests_total 1\n", b'api_requests_total 3\napi_request_latency_seconds_bucket{le="+Inf"} 2\n'
    assert proofs.metrics(facts(scraped=(load(), *texts), load=load())).done
    assert "left no copy" in proofs.metrics(facts(scraped=None, load=load())).missing.why
    assert "No traffic" in proofs.metrics(facts(scraped=None, load=None)).missing.why
    gap = proofs.metrics(facts(scraped=(load(), texts[0], texts[0]), load=load())).missing
    assert gap.why == "/metrics holds no api_request_latency_seconds."


def test_refused_requests_are_those_that_were_meant_to_fail(home):
    assert "--errors" in proofs_seen.refused(facts("f1pa", refused=None)).missing.step
    proof = proofs_seen.refused(facts("f1pa", refused=load(meant_to_fail=20, refused=20)))
    assert proof.done
    assert proof.state == "20 of 20 refused"
    assert not proofs_seen.refused(facts("f1pa", refused=load(meant_to_fail=20, refused=0))).done


def test_the_peak_needs_traffic_and_what_prometheus_saw_of_it(home, monkeypatch):
    assert "No traffic" in proofs_seen.peak(facts(load=None)).missing.why
    for highest, done in ((9.9, True), (0.0, False), (None, False)):
        monkeypatch.setattr(Facts, "highest", lambda *_, value=highest: value)
        assert proofs_seen.peak(facts(load=load())).done is done


def test_what_cannot_be_read_is_never_said_to_be_missing(home, monkeypatch):
    def damaged(*_: object) -> None:
        raise LedgerError("the index is damaged", hint="look at it")

    monkeypatch.setattr(Asking, "runs", damaged)
    one = facts()
    for look in (proofs_seen.traffic, proofs.metrics, proofs_drift.drift_report, proofs_drift.decision):
        assert "index is damaged" in look(one).missing.why

    def silent(*_: object) -> Answer:
        return Answer.failed(BadAnswer("the query failed", hint="ask again"))

    def no_rules(*_: object) -> None:
        raise BadAnswer("no rules are there to read", hint="ask again")

    vars(one.asking)["prometheus"] = SimpleNamespace(rules=no_rules, query_range=silent)
    rules = proofs_seen.alerts(one)
    assert (rules.missing.why, rules.state, rules.draw) == ("No rules are there to read.", "", None)
    sent = facts(load=load())
    vars(sent.asking)["prometheus"] = one.asking.prometheus
    with pytest.raises(BadAnswer, match="the query failed"):
        proofs_seen.peak(sent)


def test_the_rules_are_those_that_prometheus_runs(home):
    own = proofs_seen.rules_of(facts("f1pa").system)
    rules = [
        Rule("f1pa", one.alert, "alerting", "", "inactive", 60, "ok", "", {"system": "f1pa"}, {}, None, None, ())
        for one in own
    ]
    assert proofs_seen.alerts(facts("f1pa", rules=rules)).done
    gap = proofs_seen.alerts(facts("f1pa", rules=rules[1:])).missing
    assert gap.why == "Prometheus does not run HighPredictionLatency."
    assert "rule_files" in gap.step
    # Another system's rule of the same name is not its own.
    assert not proofs_seen.alerts(facts("f1pa", rules=[replace(one, labels={}) for one in rules])).done


def test_panels_and_states_need_a_value_each(home, monkeypatch):
    value = Answer(State.OK, series=(SimpleNamespace(labels={}, newest=(1.0, 1.0), last=(1.0, 1.0)),))
    nothing = Answer(State.EMPTY, reason="no series", hint="Wait.")
    for name, proof in (
        ("f1pa", proofs_seen.board),
        ("f1pa", proofs_seen.status),
        ("diabetes", lambda one: proofs_seen.resources(one, "r")),
    ):
        monkeypatch.setattr(Facts, "answer", lambda *_: value)
        assert proof(facts(name, load=load())).done
        monkeypatch.setattr(Facts, "answer", lambda *_: nothing)
        gap = proof(facts(name, load=load())).missing
        assert "has no value: no series" in gap.why
        assert gap.step == "Wait."


def test_the_decision_of_a_gauge_waits_for_its_value(home):
    seen = SimpleNamespace(
        value=None, decision="UNDECIDED", reason="needs 200 predictions, has 100.", line="", missing=100
    )
    gap = proofs_drift.decision(facts("diabetes", gauge=seen)).missing
    assert gap.why == "Needs 200 predictions, has 100."
    there = SimpleNamespace(value=0.07, decision="NO_ACTION", reason="it is below.", line="[Evidently] …", missing=None)
    assert proofs_drift.gauge_value(facts("diabetes", gauge=there)).state == "0.07"
    assert proofs_drift.decision(facts("diabetes", gauge=there)).draw().blocks[0].text == "[Evidently] …"


def test_a_proof_that_fails_does_not_cost_the_others(home, monkeypatch):
    monkeypatch.setattr(proofs_seen, "dashboard_json", lambda _: 1 / 0)
    proofs_of = {proof.what: proof for exercise in lab.exercises(asking()) for proof in exercise.proofs}
    assert "ZeroDivisionError" in proofs_of["4. Show it on a dashboard"].missing.why
    assert len(proofs_of) == 22
    monkeypatch.setattr(proofs.stack, "services", lambda _: 1 / 0)
    document = lab.document(asking())
    assert [gap.why for gap in document.gaps if "ZeroDivisionError" in gap.why]
    assert len(document.sections) == 6
