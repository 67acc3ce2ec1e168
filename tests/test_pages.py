"""Every page as a script, without a browser: what it says with nothing there, with a Prometheus that lies, with months.

Streamlit's AppTest runs `app/console.py`; charts and frames come back as unknown elements, so what they show is tested in
the browser files.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import shutil
import subprocess
import sys
import time
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies
from streamlit.testing.v1 import AppTest

from app.config import Settings, load_systems
from app.drift.result import Policy, Second, Target, Verdict
from app.periods import Period
from app.runs import rescan
from app.runs.index import Ledger
from app.runs.own_source import source_of
from app.runs.run import Run, State
from app.runs.source import Source, columns_of
from app.ui.banner import decision_of
from app.ui.comparison import period_label
from app.ui.what_if import policy_lines
from app.verdict import headline
from tests import drawn
from tests.conftest import ROOT, forget_pages
from tests.hostile_system import SYSTEM, write_system
from tests.http_fakes import answer, serve
from tests.kept_runs import POLICY, keep, result
from tests.metric_forms import FORMS
from tests.waiting import until

PAGES = {
    "Overview": "overview",
    "Targets": "targets",
    "Charts": "charts",
    "Generate traffic": "traffic",
    "Compare months": "drift",
    "Reports": "reports",
    "Lab": "lab",
}
SYSTEMS = ("streamflow", "diabetes", "f1pa")


def run(page: str, system: str = "streamflow") -> AppTest:
    """The page as it is drawn for one system."""
    return drawn.opened(PAGES[page], system=system)


def words(app: AppTest) -> str:
    """Everything the page says in words."""
    kinds = ("title", "subheader", "markdown", "caption", "error", "warning", "code")
    found = [element.value for kind in kinds for element in app.main.get(kind)]
    return "\n".join(str(value) for value in found).replace("\\", "")


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("page", PAGES)
def test_with_nothing_running_a_page_says_what_is_missing_and_what_to_do(home, page, system):
    app = run(page, system)
    assert not app.exception
    said = words(app)
    assert "Vigie itself failed" not in said
    title = {"streamflow": "StreamFlow churn", "diabetes": "Diabetes", "f1pa": "F1PA lap times"}[system]
    assert [element.value for element in app.title] == [title if page == "Overview" else page]
    assert app.sidebar.selectbox[0].value == system
    expected = {
        "Overview": ("stack has not been started", "Services"),
        "Targets": ("Prometheus does not answer", "the console looks for itself"),
        "Charts": ("Prometheus does not answer", "python -m stack up"),
        "Generate traffic": (f"No address for {title}", "python -m stack up"),
        "Compare months": {
            "streamflow": ("streamflow.db", "world"),
            "diabetes": ("has not been started", "python -m stack up"),
            "f1pa": ("laps.parquet", ""),
        }.get(system, ()),
        "Reports": (f"No report of {title} yet", "is kept here"),
        "Lab": ("There is no Prometheus to ask", "press “100 requests over 10 s”"),
    }[page]
    for part in expected:
        assert part in said, said


@pytest.mark.parametrize("system", ["diabetes", "f1pa"])
@pytest.mark.parametrize("page", ["Overview", "Targets", "Charts", "Compare months"])
def test_of_a_system_that_its_prometheus_does_not_scrape_a_page_says_so(
    home, monkeypatch, prometheus_url, page, system
):
    monkeypatch.setenv("VIGIE_PROMETHEUS_URL", prometheus_url)
    forget_pages()
    app = run(page, system)
    assert not app.exception
    said = words(app)
    title = {"diabetes": "Diabetes", "f1pa": "F1PA lap times"}[system]
    expected = {
        "Overview": f"Prometheus does not scrape {title}",
        "Targets": "NOT SCRAPED",
        "Charts": "Nothing to draw: ",
        "Compare months": {"diabetes": r"UNDECIDED[\s\S]*gauge has no value", "f1pa": r"laps\.parquet"}[system],
    }[page]
    assert re.search(expected, said), said


def test_a_gauge_short_of_predictions_says_how_many_and_offers_to_send_them(home, monkeypatch):
    """Nothing listens where they would go: that is said, and the page stands."""
    monkeypatch.setenv("VIGIE_DIABETES_URL", "http://127.0.0.1:9")

    def reply(client, request):
        series = b'{"metric":{},"value":[1,"100"]}' if b"data_drift_window_requests" in request else b""
        body = b'{"status":"success","data":{"resultType":"vector","result":[' + series + b"]}}"
        answer(body)(client, request)

    with serve(reply) as fake:
        monkeypatch.setenv("VIGIE_PROMETHEUS_URL", fake.url)
        app = run("Compare months", "diabetes")
        assert not app.exception
        assert "needs 200 predictions, has 100" in words(app)
        (button,) = [one for one in app.button if one.key == "send-missing"]
        assert button.label == "Send 100 requests"
        app = button.click().run()
        assert not app.exception
        assert "No traffic was started" in words(app)


@pytest.mark.parametrize(
    ("name", "tile", "sentence"),
    [
        ("bare", "unknown", "error rate unknown"),
        ("success", "0 %", "no errors"),
        ("words", "25 %", "25 % errors"),
    ],
)
def test_the_overview_says_of_errors_what_the_counter_tells(home, monkeypatch, prometheus_url, name, tile, sentence):
    form = FORMS[name]
    folder = home.parent / ".config" / "vigie" / "systems"
    folder.mkdir(parents=True)
    (folder / "mine.toml").write_text(
        f'title = "Mine"\n[prometheus]\nselector = \'job="form-{name}"\'\n'
        f"[metrics]\nrequests = \"{form.counter}\"\nerrors = '{form.errors}'\n"
    )
    monkeypatch.setenv("VIGIE_PROMETHEUS_URL", prometheus_url)
    app = run("Overview", "mine")
    # On a busy machine scrapes may pause for longer than the window: then no rate is to be had for a while.
    until(lambda: app.exception or any(one.proto.chart_data for one in app.run().metric), "a tile with a line")
    assert not app.exception
    assert sentence in words(app)
    assert "in the last 4 s" in words(app)  # scraped every second
    shown = next(one for one in app.metric if one.label == "Error rate, 4 s")
    assert shown.value.startswith(tile)
    assert form.words in shown.proto.help or form.share is not None
    # One value for each step of the range, so that the tiles share their time axis.
    assert {len(one.proto.chart_data) for one in app.metric if one.proto.chart_data} == {301}


@pytest.mark.parametrize(
    ("lie", "words_for_it"),
    [
        (answer(b"<html><title>Log in</title></html>", kind="text/html"), "answered"),
        (answer(b'{"status":"success","data":{"resu'), "answered"),
        (
            answer(
                b'{"status":"error","errorType":"internal","error":"<b>boom</b>"}', status="500 Internal Server Error"
            ),
            "boom|HTTP 500",
        ),
        (answer(b"", status="503 Service Unavailable"), "503"),
        (answer(b"", status="302 Found", extra="Location: http://127.0.0.1:1/\r\n"), "redirects"),
        (answer(b'{"status":"success","data":null}'), "answered"),
        (answer(b'{"status":"success","data":{"activeTargets":"none","result":7}}'), "answered"),
        (answer(b"[]"), "answered"),
    ],
)
def test_a_prometheus_that_answers_nonsense_is_said_on_every_page(home, monkeypatch, lie, words_for_it):
    with serve(lie) as prometheus:
        monkeypatch.setenv("VIGIE_PROMETHEUS_URL", prometheus.url)
        forget_pages()
        for page in ("Overview", "Targets", "Charts"):
            app = run(page)
            assert not app.exception
            assert "Vigie itself failed" not in words(app)
            assert re.search(words_for_it, words(app)), words(app)


def test_months_are_offered_without_any_service_and_the_first_two_are_picked(home, monkeypatch):
    write_system(home / "systems")
    monkeypatch.setenv("VIGIE_SYSTEMS", str(home / "systems"))
    forget_pages()
    app = run("Compare months", SYSTEM)
    assert not app.exception
    # Nobody is there to compare them: that is an error with its next step, beside the pickers.
    assert [box.value for box in app.main.selectbox] == ["2024-01-31", "2024-02-29"]
    assert "Months cannot be compared now. No job host answers" in words(app).replace("**", "")
    assert "Nothing compared yet." in words(app)
    next(button for button in app.main.button if button.label == "Compare months").click().run()
    assert not app.exception
    assert "Nothing was started. No job host answers" in words(app).replace("**", "")
    assert "Nothing compared yet." in words(app)


def kept(home: Path, monkeypatch, drifted: int, **changes: Any) -> AppTest:
    """The page of a finished run of the system with hostile data: 16 columns, so many of them drifted."""
    write_system(home / "systems")
    monkeypatch.setenv("VIGIE_SYSTEMS", str(home / "systems"))
    forget_pages()
    settings = Settings.from_env()
    system = load_systems(settings).by_id[SYSTEM]
    found = result("20240301T000000Z-000001", SYSTEM, drifted=drifted, months=("2024-01-31", "2024-02-29"), **changes)
    keep(settings, system, found, time.time() - 60)
    return run("Compare months", SYSTEM)


def test_the_banner_says_both_measures_of_target_drift_the_policy_and_what_it_cost(home, monkeypatch):
    app = kept(home, monkeypatch, 1, seconds=2.5, peak_bytes=400_000_000)
    assert not app.exception
    said = words(app)
    assert "NO_ACTION" in said and "1 of 16 columns drifted: 0.06 < 0.30" in said
    shown = {metric.label: (metric.value, metric.delta) for metric in app.main.metric}
    assert shown == {
        "Covariate drift": ("0.0625", "1 of 16 columns"),
        "Features alone": ("0.06667", "1 of 15, same decision"),
        "Target drift": ("0.024", r"churn\_label 26.5 → 24.1 %"),
        "Value drift of the label": ("0.02", "not drifted, threshold 0.10"),
    }
    assert "all columns count, share threshold 0.30, at least 30 rows, 80 % of the columns comparable" in said
    assert "took 2.5 s, peak memory 400 MB" in said
    assert "this run moves no gauge" in said
    assert "Copy decision line" in said


@pytest.mark.parametrize("line", ["Second opinion, another verdict: 9 of 16 columns moved.", ""])
def test_the_banner_says_where_the_second_opinion_differs_and_nothing_where_it_does_not(home, monkeypatch, line):
    opinion = Second(Verdict.RETRAINING_TRIGGERED, 9, 16, 0.0, 0.6, line)
    banner = words(kept(home, monkeypatch, 1, opinion=opinion))
    assert line in banner
    assert ("Second opinion" in banner) is bool(line)


def test_two_ways_of_counting_that_decide_differently_are_a_warning(home, monkeypatch):
    policy = Policy("all", 0.065, 30, 0.8, "churn_label", "user_id")
    said = words(kept(home, monkeypatch, 1, policy=policy))
    assert "The two ways of counting decide differently." in said
    assert "features alone 1 of 15 = 0.067 ≥ 0.065; with label and identifier 1 of 16 = 0.062 < 0.065" in said
    assert "The policy counts all columns." in said


@pytest.mark.parametrize(
    ("drifted", "threshold", "text"),
    [
        (1, 0.3, "1 of 16 columns drifted: 0.06 < 0.30"),
        (2, 0.125, "2 of 16 columns drifted: 0.125 ≥ 0.125"),
        (1, 0.0626, "1 of 16 columns drifted: 0.06 < 0.0626"),
        (1, 0.061, "1 of 16 columns drifted: 0.0625 ≥ 0.061"),
        (5, 0.31, "5 of 16 columns drifted: 0.31 ≥ 0.31"),
    ],
)
def test_the_headline_never_contradicts_itself_by_rounding(drifted, threshold, text):
    policy = Policy("all", threshold, 30, 0.8, "churn_label", "user_id")
    stored = result("r", "s", drifted=drifted, months=("a", "b"), policy=policy)
    assert headline(policy, decision_of(stored)) == text


def test_target_drift_alone_says_so(home, monkeypatch):
    policy = Policy("all", 0.3, 30, 0.8, "churn_label", "user_id", target_threshold=0.02)
    said = words(kept(home, monkeypatch, 1, policy=policy))
    assert "RETRAINING_TRIGGERED] (SIMULÉ) · target drift 0.024 ≥ 0.02; 1 of 16 columns drifted: 0.06 < 0.30" in said


def test_target_drift_that_is_not_measured_says_why(home, monkeypatch):
    app = kept(home, monkeypatch, 1, target=Target(reason="labels has no period_start."))
    assert "Target drift not measured: labels has no period_start." in words(app)
    assert "Target drift" not in {metric.label for metric in app.main.metric}


def test_a_run_whose_files_were_deleted_keeps_its_decision_on_the_page(home, monkeypatch):
    kept(home, monkeypatch, 1)
    with Ledger(Settings.from_env().ledger_url) as ledger:
        before = ledger.get("20240301T000000Z-000001")
        shutil.rmtree(before.path)
        rescan.rescan(ledger, Settings.from_env(), load_systems(Settings.from_env()))
    forget_pages()
    app = run("Compare months", SYSTEM)
    said = words(app)
    assert not app.exception
    assert "FILES DELETED" in said and "● NO_ACTION" in said
    assert "2024-01-31 → 2024-02-29, share 0.06 · 1 of 16, target drift 0.024." in said
    assert before.reason[1:] in said


def test_a_run_of_another_home_is_waited_for_and_not_asked_for_without_a_pause(home, monkeypatch):
    """As a Prefect flow on the same index: a row, and no progress file here."""
    kept(home, monkeypatch, 1)
    with Ledger(Settings.from_env().ledger_url) as ledger:
        key = f"drift:{SYSTEM}:2024-01-31:2024-02-29:0"
        going = Run("20260301T000000Z-000002", "drift", SYSTEM, key, State.RUNNING, time.time())
        own = source_of(Settings.from_env(), load_systems(Settings.from_env()).by_id[SYSTEM])
        ledger.add(replace(going, **columns_of(own)))
    forget_pages()
    app = run("Compare months", SYSTEM)
    assert not app.exception
    assert "This run goes on elsewhere." in words(app)
    with Ledger(Settings.from_env().ledger_url) as ledger:
        ledger.update("20260301T000000Z-000002", state=State.FAILED, reason="the database is gone")
        # A decision of these months stays what the page opens with; this run is still there by its address.
    app.query_params["run"] = "20260301T000000Z-000002"
    app.run()
    assert "the database is gone" in words(app)


NAMES = ("month_000 (2024-01-31)", "month_001 (2024-02-29)", "month_002 (2024-03-31)")


def test_the_banner_belongs_to_the_picked_pair_and_one_never_compared_says_so(home, monkeypatch):
    (home / "hostile-data").mkdir()
    (home / "hostile-data" / "month-2024-03-31.csv").write_text("plan,hours\nbasic,20\n")
    app = kept(home, monkeypatch, 1)
    assert "NO_ACTION] · 1 of 16" in words(app)
    app.main.selectbox[1].select("2024-03-31").run()
    said = words(app)
    assert f"**{NAMES[0]} with {NAMES[2]} has not been compared.**" in said
    assert "NO_ACTION" not in said and "Copy decision line" not in said
    last = next(button for button in app.main.button if button.key == "last-decision")
    label = last.label.replace("\\", "")
    assert re.fullmatch(r"last decision: 2024-01-31 → 2024-02-29, NO_ACTION, \d\d:\d\d:\d\d ▸", label), label
    next(button for button in app.main.button if button.key == "compare-now").click().run()
    assert "Nothing was started. No job host answers" in words(app).replace("**", "")
    next(button for button in app.main.button if button.key == "last-decision").click().run()
    assert [box.value for box in app.main.selectbox[:2]] == ["2024-01-31", "2024-02-29"]
    assert "NO_ACTION] · 1 of 16" in words(app)
    app.main.selectbox[0].select("2024-02-29").run()
    assert "A month is not compared with itself." in words(app)
    assert "run" not in app.query_params


def test_a_banner_says_for_which_threshold_it_was_decided_when_another_is_picked(home, monkeypatch):
    app = kept(home, monkeypatch, 1)
    assert "Decided for a threshold" not in words(app)
    settings = Settings.from_env()
    adhoc = replace(POLICY, threshold=0.05)
    months = ("2024-01-31", "2024-02-29")
    found = result("20240301T000000Z-000002", SYSTEM, drifted=1, months=months, policy=adhoc)
    keep(settings, load_systems(settings).by_id[SYSTEM], found, time.time())
    # The newest under the picked threshold first, whatever came later under another one.
    assert "NO_ACTION] · 1 of 16" in words(app.run())
    app.main.number_input[0].set_value(0.05).run()
    assert "RETRAINING_TRIGGERED] (SIMULÉ) · 1 of 16" in words(app)
    app.main.number_input[0].set_value(0.2).run()
    said = words(app)
    assert "RETRAINING_TRIGGERED] (SIMULÉ) · 1 of 16" in said
    assert "Decided for a threshold of 0.05; the one above is 0.20." in said


def test_a_comparison_of_other_data_is_listed_as_such_and_is_no_decision_of_this_system(home, monkeypatch):
    other = Source.of("feast", "database of another home")
    app = kept(home, monkeypatch, 7, source=other)
    said = words(app)
    assert f"**{NAMES[0]} with {NAMES[1]} has not been compared.**" in said and "Nothing compared yet." in said
    assert "RETRAINING_TRIGGERED" not in said
    overview = run("Overview", SYSTEM)
    assert "No months compared yet." in words(overview)
    assert {tile.label: tile.value for tile in overview.main.metric}["Drift share"] == "none yet"
    # By its address it is shown, with what it is.
    app.query_params["run"] = "20240301T000000Z-000001"
    said = words(app.run())
    assert "RETRAINING_TRIGGERED" in said
    assert "Its data came from another source than this system has now: database of another home." in said


def test_the_overview_names_the_pair_of_the_last_decision_and_when(home, monkeypatch):
    kept(home, monkeypatch, 1)
    said = words(run("Overview", SYSTEM))
    assert re.search(
        r"Last decision: 2024-01-31 → 2024-02-29, 1 of 16 columns drifted, no action, compared \d\d:\d\d:\d\d\.", said
    ), said


def test_what_the_hooks_answered_and_what_people_wrote_stands_on_the_banner(home, monkeypatch):
    app = kept(home, monkeypatch, 5)
    with Ledger(Settings.from_env().ledger_url) as ledger:
        ledger.hook("20240301T000000Z-000001", "mail *me*", "HTTP 503 from <b>hook</b>", 1.5)
        for number in range(5):
            ledger.note("20240301T000000Z-000001", f"note {number}", acknowledged=number > 2)
    said = words(app.run())
    assert re.search(r"Hook mail \*me\*: HTTP 503 from <b>hook</b> \(\d\d:\d\d:\d\d, 1.5 s\)", said), said
    assert re.search(r"\*\*Acknowledged\*\*\] \d\d:\d\d:\d\d · note 3", said)
    assert re.search(r"\*\*Note\*\*\] \d\d:\d\d:\d\d · note 4", said)
    assert [block.label for block in app.main.expander] == ["Compare two files instead", "2 earlier notes"]
    assert "Withdraw acknowledgement" in [button.label for button in app.main.button]


def test_an_undecided_run_keeps_the_frame_and_says_what_could_be_compared(home, monkeypatch):
    app = kept(home, monkeypatch, 1, refusal="2024-02-29 has 3 rows; at least 30 are needed to say anything.")
    said = words(app)
    assert "UNDECIDED" in said
    assert "2024-02-29 has 3 rows; at least 30 are needed to say anything." in said
    assert "Evidently report" not in said
    assert not app.exception


@pytest.mark.parametrize(
    ("period", "labels", "said"),
    [
        ((7043, 7043), True, "month_001 · 2024-02-29 · 7,043 rows · 7,043 labelled"),
        ((7043, 12), True, "month_001 · 2024-02-29 · 7,043 rows · 12 labelled"),
        ((7043, 0), True, "month_001 · 2024-02-29 · 7,043 rows · no labels"),
        ((7043, None), True, "month_001 · 2024-02-29 · 7,043 rows · labels not counted"),
        ((None, None), True, "month_001 · 2024-02-29 · rows not counted · labels not counted"),
        ((7043, None), False, "month_001 · 2024-02-29 · 7,043 rows"),
    ],
)
def test_a_month_on_the_picker_says_its_rows_and_its_label_coverage(period, labels, said):
    month = Period("2024-02-29", "month_001", dt.date(2024, 2, 29), *period)
    assert period_label(month, labels=labels) == said


def test_the_lines_of_a_tried_policy_make_it_the_systems_own(home):
    own = Policy.of(load_systems(Settings.from_env()).by_id["diabetes"].drift)
    tried = replace(
        own, threshold=0.125, left_out=('odd "name" \n[drift]',), thresholds={"a.b": 0.2}, target_threshold=0.05
    )
    assert policy_lines(own, own) == []
    raw = tomllib.loads("\n".join(policy_lines(tried, own)))
    assert raw == {
        "threshold": 0.125,
        "left_out": ['odd "name" \n[drift]'],
        "thresholds": {"a.b": 0.2},
        "target_threshold": 0.05,
    }
    assert policy_lines(own, replace(own, target_threshold=0.05)) == ["# without target_threshold"]


def test_another_system_begins_with_a_threshold_of_its_own(home, monkeypatch, tmp_path):
    folder = tmp_path / "systems"
    folder.mkdir()
    for name, threshold in (("first", 0.3), ("second", 0.2)):
        (tmp_path / name).mkdir()
        for month in ("2024-01-31", "2024-02-29"):
            (tmp_path / name / f"{month}.csv").write_text("a\n1\n2\n")
        (folder / f"{name}.toml").write_text(
            f'title = "{name}"\n[drift]\nsource = "files"\npath = "{tmp_path}/{name}/{{period}}.csv"\n'
            f"threshold = {threshold}\n"
        )
    monkeypatch.setenv("VIGIE_SYSTEMS", str(folder))
    forget_pages()
    app = run("Compare months", "first")
    assert app.main.number_input[0].value == 0.3
    app.main.number_input[0].set_value(0.4).run()
    app.sidebar.selectbox[0].select("second").run()
    assert app.main.number_input[0].value == 0.2


def test_without_any_readable_system_the_frame_says_why(home, monkeypatch, tmp_path):
    folder = tmp_path / "systems"
    folder.mkdir()
    (folder / "mine.toml").write_text("title = 1")
    monkeypatch.setenv("VIGIE_SYSTEMS", str(folder))
    forget_pages()
    app = run("Overview")
    assert not app.exception
    assert "mine.toml: key title is 1" in "".join(e.value for e in app.sidebar.error).replace("\\", "")
    assert len(app.sidebar.selectbox[0].options) == len(SYSTEMS)


def test_a_part_that_fails_is_said_in_its_place_and_the_rest_goes_on():
    def script() -> None:
        import streamlit as st

        from app.errors import DataError
        from app.ui import widgets

        @st.fragment(run_every=60)
        @widgets.guarded
        def known() -> None:
            raise DataError("No such *table*.", hint="Make it.")

        @st.fragment
        @widgets.guarded
        def unknown() -> None:
            st.write("before")
            raise KeyError("secret")

        @widgets.guarded
        def stops() -> None:
            st.stop()

        known()
        unknown()
        st.write("after")
        stops()
        st.write("never")

    app = AppTest.from_function(script).run()
    assert not app.exception
    first, second = (element.value for element in app.error)
    assert first == "No such \\*table\\*.\n\nMake it."
    assert "Vigie itself failed" in second
    assert "secret" not in second
    assert [element.value for element in app.markdown] == ["before", "after"]


def test_pages_and_routes_import_none_of_the_workers_libraries(home):
    script = f"""
import json, sys
from streamlit.testing.v1 import AppTest
import streamlit_app
for system in {SYSTEMS!r}:
    app = AppTest.from_file({str(ROOT / "app" / "console.py")!r}, default_timeout={drawn.RUN_SECONDS})
    for page in {list(PAGES.values())!r}:
        if page != "overview":
            app.switch_page(f"../pages/{{page}}.py")
        app.query_params["system"] = system
        app.run()
        assert not app.exception and len(app.main.title) == 1
heavy = ("evidently", "feast", "duckdb", "sklearn", "scipy", "mlflow")
print(json.dumps(sorted(name for name in heavy if name in sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == []


# --- addresses ---------------------------------------------------------------------------------------------------------

PARAMETERS = (
    "window",
    "range",
    "refresh",
    "expr",
    "system",
    "run",
    "ref",
    "cur",
    "all",
    "page",
    "sort",
    "q",
    "month",
    "tab",
    "kind",
)
ODD = (
    "",
    "None",
    "bogus",
    "1 min ",
    "-1",
    "99999999999999999999",
    "NaN",
    "1e400",
    "[]",
    "../../etc/passwd",
    "%00",
    "a\x00b",
    "<script>",
    "𝒳" * 50,
)


def addressed(page: str, given: dict[str, list[str]]) -> AppTest:
    """The page as it is drawn for an address."""
    return drawn.opened(PAGES[page], **{"system": "streamflow", **given})


@pytest.mark.parametrize("name", ["window", "range", "refresh"])
@pytest.mark.parametrize("value", ["", "bogus"])
def test_a_control_in_the_address_that_names_nothing_stands_at_its_default(home, name, value):
    app = addressed("Charts", {name: [value]})
    assert not app.exception
    assert "Vigie itself failed" not in words(app)
    assert [one.label for one in app.main.get("button_group")]


@given(
    page=strategies.sampled_from(sorted(PAGES)),
    address=strategies.dictionaries(
        strategies.sampled_from(PARAMETERS),
        strategies.lists(strategies.sampled_from(ODD) | strategies.text(max_size=20), min_size=1, max_size=3),
        min_size=1,
        max_size=6,
    ),
)
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_address_says_a_page_is_drawn(home, page, address):
    app = addressed(page, address)
    assert not app.exception
    assert "Vigie itself failed" not in words(app)
