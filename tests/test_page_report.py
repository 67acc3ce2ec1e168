"""Reports to hand in on the page Reports: asked for in a dialog, followed, opened with their files."""

from __future__ import annotations

import time
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from app import jobs
from app.config import Settings
from app.errors import HostUnavailable
from app.jobs.client import Started
from app.report import monitoring
from app.report.document import Document, Gap, Section
from app.report.request import Asked
from app.runs.kinds import REPORT
from tests.drawn import RUN_SECONDS
from tests.test_page_library import opened, words
from tests.test_report_run import written

HOSTILE = "<b>x</b> **bold** [link](javascript:alert(1))"


def document(_asking: object) -> Document:
    return Document("monitoring", HOSTILE, [], [Section("Part", [Gap(f"{HOSTILE} is away.", "Start it.")])], "en")


def asked_for(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str, dict[str, Any]]]:
    """What is started from now on, in place of starting it."""
    started: list[tuple[str, str, str, dict[str, Any]]] = []

    def start(_: Settings, kind: str, system: str, key: str, args: dict[str, Any]) -> Started:
        started.append((kind, system, key, args))
        return Started("20260229T140532Z-1a2b3c", joined=False)

    monkeypatch.setattr(jobs, "start", start)
    return started


def pressed() -> None:
    """AppTest closes a dialog at the press of a button in it: this is what the button does."""
    import time

    from app.ui import cache, write_reports

    now = time.time()
    write_reports._start(cache.systems().by_id["streamflow"], ("lab",), now - 86_400, now, "fr")


@pytest.mark.usefixtures("home")
def test_the_dialog_offers_both_reports_their_range_and_language():
    app = opened()
    app.button(key="write-report").click().run()
    assert not app.exception
    assert [app.button(key=f"write-{name}").label for name in ("monitoring", "lab")] == [
        "Write monitoring report",
        "Write the lab report",
    ]
    assert app.selectbox(key="report-range").options[0] == "last hour"
    assert app.selectbox(key="report-language").options == ["English", "Français"]


@pytest.mark.usefixtures("home")
def test_the_press_starts_the_report_over_its_range(monkeypatch):
    started = asked_for(monkeypatch)
    assert not AppTest.from_function(pressed, default_timeout=RUN_SECONDS).run().exception
    kind, system, key, args = started[0]
    assert (kind, system, args["report"], args["lang"]) == (REPORT, "streamflow", "lab", "fr")
    assert args["until"] - args["since"] == pytest.approx(86_400, abs=2)
    assert key == Asked.of(args, time.time()).key("streamflow")


@pytest.mark.usefixtures("home")
def test_a_report_that_cannot_be_started_says_why(monkeypatch):
    def refuse(*_: object) -> Started:
        raise HostUnavailable("No job host answers.", hint="Start it.")

    monkeypatch.setattr(jobs, "start", refuse)
    shown = words(AppTest.from_function(pressed, default_timeout=RUN_SECONDS).run())
    assert "The lab report was not started." in shown
    assert "Start it." in shown


@pytest.mark.usefixtures("home")
def test_a_written_report_is_opened_with_its_files_and_what_it_lacks(monkeypatch):
    monkeypatch.setattr(monitoring, "document", document)
    run = written(Settings.from_env())
    app = opened(run=run.id)
    shown = words(app)
    assert HOSTILE in shown
    assert "1 part has no data. English · 0 numbers" in shown
    assert f"{HOSTILE} is away." in shown
    labels = [str(one.proto.label) for one in app.main.get("download_button")]
    assert labels == ["Download HTML", "Download Markdown", "Download ZIP"]
    app.button(key="delete-run").click().run()
    assert not app.exception
    assert "The files published under its names" in "\n".join(one.value for one in app.markdown)
