"""A home that version 0.2.0 left: its index of version 2 and the files of its runs, as that version wrote them."""

import json
import sqlite3
from pathlib import Path

import pytest

from app.config import Settings, load_systems
from app.drift.result import Result, Verdict
from app.load.result import Result as Traffic
from app.runs import reports, rescan, tidy
from app.runs.opening import opened
from app.runs.result import read_result
from app.runs.run import Rescan, State

LEFT = json.loads((Path(__file__).parent / "home_of_0_2_0.json").read_text(encoding="utf-8"))
DRIFT, TRAFFIC = "20261130T192031Z-8f7a25", "20261130T192032Z-387263"
BACKGROUND, IMPORTED, FAILED = "20261130T192032Z-65fee3", "20261130T192033Z-51e9ff", "20261130T192033Z-dac8b2"


@pytest.fixture
def home(tmp_path):
    folders = {"HOME": str(tmp_path / "home"), "REPORTS": str(tmp_path / "reports")}

    def placed(text):
        for name, folder in folders.items():
            text = text.replace(name, folder)
        return text

    for name, text in LEFT["files"].items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(placed(text), encoding="utf-8")
    with sqlite3.connect(tmp_path / "home" / "ledger.db") as connection:
        connection.executescript(placed("\n".join(LEFT["index"])))
    connection.close()
    return Settings.from_env({"VIGIE_HOME": folders["HOME"], "REPORT_DIR": folders["REPORTS"]})


def test_a_home_of_0_2_0_opens_with_all_runs_notes_and_links(home):
    systems = load_systems(home)
    tidy.tidy(home)
    with opened(home) as ledger:
        runs = {run.id: run for run in ledger.runs()}
        assert {run.id: (run.kind, run.state) for run in runs.values()} == {
            DRIFT: ("drift", State.DONE),
            TRAFFIC: ("load", State.DONE),
            BACKGROUND: ("load", State.CANCELLED),
            IMPORTED: ("imported", State.DONE),
            FAILED: ("drift", State.FAILED),
        }
        assert [(note.text, note.acknowledged) for note in ledger.notes(DRIFT)] == [("seen by me", True)]
        assert [(hook.hook, hook.outcome) for hook in ledger.hooks(DRIFT)] == [("mail", "exit 0 after 0.1 s")]
        assert ledger.acknowledged() == {DRIFT}
        assert rescan.rescan(ledger, home, systems) == Rescan((), (), (), ())
    drift = runs[DRIFT]
    assert (drift.months, drift.share, drift.own) == (("2024-01-31", "2024-02-29"), 0.0625, True)
    assert runs[FAILED].months == ("2024-01-31", "2024-03-31")
    assert runs[IMPORTED].months == ("2023-01-31", "2023-02-28")
    assert (runs[BACKGROUND].background, runs[TRAFFIC].background) == (True, False)
    # What links lead to is where the row says: the stored results and the pages of reports.
    assert read_result(drift, Result).decision is Verdict.NO_ACTION
    assert read_result(runs[TRAFFIC], Traffic).sentence == runs[TRAFFIC].reason
    for run, name in (
        (DRIFT, "drift_2024-01-31_vs_2024-02-29.html"),
        (IMPORTED, "drift_2023-01-31_vs_2023-02-28.html"),
    ):
        assert reports.read_file(reports.find(home, systems, run), name).startswith(b"<html>")
