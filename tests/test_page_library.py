"""The Reports page as a script: an index that is sick, rows in words, ticks that follow the address and not positions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from app.config import Settings, load_systems
from app.errors import StorageFull
from app.runs.index import Ledger
from app.runs.run import Note, Run, State
from app.ui import reports as page
from tests import drawn
from tests.conftest import forget_pages
from tests.kept_runs import keep, result

RUN = Run(
    "20240501T000001Z-0000c1", "drift", "streamflow", "k", State.DONE, 1e9, path="/somewhere", outcome="NO_ACTION"
)


def opened(**query: str | list[str]) -> AppTest:
    app = drawn.opened("reports", **{"system": "streamflow", **query})
    assert not app.exception
    return app


def words(app: AppTest) -> str:
    kinds = ("title", "markdown", "caption", "error", "code")
    return "\n".join(str(one.value) for kind in kinds for one in app.main.get(kind)).replace("\\", "")


def kept(home: Path, run: str, **changes: object) -> Run:
    settings = Settings.from_env()
    system = load_systems(settings).by_id["streamflow"]
    months = ("2024-01-31", "2024-02-29")
    return keep(settings, system, replace(result(run, "streamflow", drifted=1, months=months), **changes), 1.7e9)


# --- rows in words ---------------------------------------------------------------------------------------------------


def test_whatever_is_not_known_of_a_run_is_a_word():
    empty = page.cells(replace(RUN, outcome=""), (), ())
    assert {empty[name] for name in ("months", "drifted", "target drift", "rows", "took", "size")} == {"unknown"}
    assert empty["decision"] == "○ no decision"
    assert empty["noted"] == "none"
    assert empty["source"] == "unknown"
    assert empty["in words"] == "No reason was written down."
    assert all(empty.values())


def test_a_run_that_failed_names_the_months_it_was_to_compare():
    failed = replace(RUN, state=State.FAILED, key="drift:s:2024-01-31:2024-02-29:0f", outcome="", reason="no database")
    assert page.cells(failed, (), ())["months"] == "2024-01-31 → 2024-02-29"
    assert page.cells(replace(failed, kind="imported", key="imported:s:1:2"), (), ())["months"] == "unknown"


def test_a_written_report_is_named_where_a_comparison_has_its_months():
    row = page.cells(replace(RUN, kind="report", key="report:streamflow:monitoring:1:2:en", outcome="GAPS"), (), ())
    assert [row[name] for name in ("months", "decision", "drifted", "rows")] == [
        "monitoring report",
        "○ GAPS",
        "–",
        "–",
    ]
    assert page.cells(replace(RUN, kind="report", key="k"), (), ())["months"] == "report"


def test_an_unrounded_share_of_zero_is_a_number_and_no_unknown():
    row = page.cells(replace(RUN, share=0.0, drifted=0, counted=14, target_drift=0.0, ref="a", rows_ref=0), (), ())
    assert row["drifted"] == "0.00 · 0 of 14"
    assert row["target drift"] == "0"
    assert row["months"] == "a → unknown"
    assert row["rows"] == "0 → unknown"


@pytest.mark.parametrize("run", [replace(RUN, path=""), replace(RUN, reason="", path="")])
def test_a_run_whose_files_were_deleted_says_so_beside_its_decision(run):
    row = page.cells(run, (), ())
    assert row["decision"] == "● NO_ACTION (deleted)"
    assert "files deleted" in row["in words"]


@pytest.mark.parametrize("state", list(State))
def test_every_state_has_a_word_and_a_shape(state):
    shape, word = page.decision_word(replace(RUN, state=state)).split()
    assert len(shape) == 1
    assert word == ("NO_ACTION" if state is State.DONE else str(state))


def test_the_latest_note_says_whether_a_run_is_acknowledged():
    first, second = Note("r", 1.0, "", True), Note("r", 2.0, "no", False)
    assert page.noted([first]) == "✓ acknowledged"
    assert page.noted([first, second]) == "1 note"
    assert page.noted([second, second, first]) == "✓ acknowledged · 2 notes"


# --- the page --------------------------------------------------------------------------------------------------------


def test_an_index_that_cannot_be_read_is_said_with_what_is_not_lost(home, monkeypatch):
    monkeypatch.setenv("VIGIE_LEDGER_URL", f"sqlite:///{home}")
    forget_pages()
    app = opened()
    assert "The list of runs cannot be read." in words(app)
    assert "No report is lost." in words(app)
    assert [button.label for button in app.main.button].count("Try again") == 1
    assert "Vigie itself failed" not in words(app)


def test_an_index_that_was_damaged_is_put_aside_and_the_next_try_reads_a_new_one(home):
    (home / "ledger.db").write_bytes(b"this is no database" * 100)
    app = opened()
    if "cannot be read" in words(app):
        assert "damaged" in words(app)
        app = opened()
    assert "No report of StreamFlow churn yet" in words(app)
    assert list(home.glob("ledger.db.damaged-*"))


def test_one_run_in_the_address_is_opened_two_are_compared_three_are_too_many(home):
    runs = [kept(home, f"20240501T00000{place}Z-00000{place}").id for place in range(3)]
    assert "NO_ACTION" in words(opened(run=runs[0]))
    assert "Both NO_ACTION" in words(opened(run=runs[:2]))
    assert "3 runs are ticked, two can be compared" in words(opened(run=runs))


def test_a_run_of_a_system_whose_file_is_gone_is_still_readable(home):
    run = kept(home, "20240501T000000Z-000009").id
    with Ledger(Settings.from_env().ledger_url) as ledger:
        ledger.update(run, system="was")
    app = opened(run=run)
    assert "NO_ACTION" in words(app)
    assert "was · drift" in words(app)


def test_a_result_that_was_changed_after_it_was_saved_is_not_believed(home):
    run = kept(home, "20240501T000000Z-00000a")
    path = Path(run.path) / "result.json"
    path.write_bytes(path.read_bytes().replace(b"NO_ACTION", b"UNDECIDED"))
    app = opened(run=run.id)
    assert "was changed after it was saved" in words(app)
    assert "Vigie itself failed" not in words(app)


def test_a_load_run_has_no_report_and_says_so(home, tmp_path):
    sent = tmp_path / "sent"
    sent.mkdir()
    with Ledger(Settings.from_env().ledger_url) as ledger:
        ledger.add(replace(RUN, kind="load", path=str(sent), outcome="", reason="40 of 40 answered"))
    app = opened(run=RUN.id)
    assert not app.exception
    assert not app.main.get("error")
    assert "This run has no report." in words(app)
    assert "40 of 40 answered" in words(app)


def test_a_press_that_is_handed_in_twice_writes_one_note(home):
    run = kept(home, "20240501T000000Z-00000c").id

    def script(run: str) -> None:
        import streamlit as st

        from app.ui.notes import _save

        st.session_state["line"] = "seen"
        for written in (0, 0, 1):
            _save(run, "line", written, True)
            st.session_state["line"] = "seen"

    assert not AppTest.from_function(script, args=(run,), default_timeout=drawn.RUN_SECONDS).run().exception
    with Ledger(Settings.from_env().ledger_url) as ledger:
        # Drawn anew in between, the same words are another note.
        assert [(note.text, note.acknowledged) for note in ledger.notes(run)] == [("seen", True)] * 2


def test_deleting_says_what_is_left_and_not_that_nothing_was_deleted(home, monkeypatch):
    run = kept(home, "20240501T000000Z-00000b")

    def full(directory: Path, files: object) -> None:
        raise StorageFull("There is no room on the disk.", hint="Make some.")

    monkeypatch.setattr("app.runs.keep.republish", full)

    def script(run: str) -> None:
        from app.ui import cache, kept_run

        kept_run._remove(cache.ledger().get(run))

    # AppTest closes a dialog at the press of a button in it: this is what the button does.
    said = words(AppTest.from_function(script, args=(run.id,), default_timeout=drawn.RUN_SECONDS).run())
    assert "The run is deleted, and something is left." in said
    assert "what it had published was not replaced: There is no room on the disk." in said
    assert "Nothing was deleted." not in said
    assert not Path(run.path).exists()
