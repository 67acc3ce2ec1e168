"""The index of runs: rows, notes, migrations, several processes, and what it is remade from."""

import itertools
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from app import cli
from app.base.processes import Owner, myself
from app.config import Settings, load_systems
from app.errors import LedgerError
from app.runs import database, progress, reports, rescan, tables
from app.runs import index as module
from app.runs.index import Ledger
from app.runs.kinds import DRIFT
from app.runs.opening import ledger_of
from app.runs.own_source import source_of
from app.runs.run import Filter, Rescan, Run, State, new_run_id
from app.runs.source import Source
from app.runs.tables import LATEST, SOURCE
from app.runs.words import why

ROOT = Path(__file__).parent.parent
# Texts that break what handles them carelessly; each is a note somebody could write.
NAUGHTY = [
    "'; DROP TABLE notes; --",
    "</script><script>alert(1)</script>",
    "\u202etxet\u2028 \ufeff\u200b",
    "𝕋𝕙𝕖 👩‍👩‍👧‍👦 Ṱ̺̺̕o͞ ̷i̲̬",
    "\x01\x1b[31m\x7f\r\n\t",
    "",
    "%s %n $(reboot) `id` ../../etc/passwd ${jndi:ldap://x}",
    "NULL",
    "é" * 4000,
]


@pytest.fixture
def settings(tmp_path):
    return Settings.from_env({"VIGIE_HOME": str(tmp_path / "home"), "REPORT_DIR": str(tmp_path / "reports")})


@pytest.fixture
def ledger(settings):
    with Ledger(settings.ledger_url) as made:
        yield made


def a_run(number=0, **values):
    base = Run(
        f"20240131T00{number // 60:02}{number % 60:02}Z-{number:06x}",
        "drift",
        "streamflow",
        "drift:a",
        created=1000.0 + number,
    )
    return replace(base, **values)


def test_a_run_comes_back_as_it_went_in(ledger):
    run = a_run(
        3, state=State.DONE, started=1.5, finished=2.25, outcome="NO_ACTION", reason="5 % \n « é »", path="/x/y"
    )
    ledger.add(run)
    assert ledger.get(run.id) == run
    assert ledger.get("20240131T000000Z-ffffff") is None


def test_one_id_is_one_run(ledger):
    ledger.add(a_run())
    with pytest.raises(LedgerError, match="already has this run"):
        ledger.add(a_run())


def test_update_changes_the_columns_named_and_only_those(ledger):
    ledger.add(a_run(outcome="x"))
    ledger.update(a_run().id, state=State.RUNNING, started=7.0)
    assert ledger.get(a_run().id) == a_run(outcome="x", state=State.RUNNING, started=7.0)


@pytest.mark.parametrize("values", [{"id": "x"}, {"colour": "red"}])
def test_update_refuses_columns_that_do_not_exist_or_do_not_change(ledger, values):
    ledger.add(a_run())
    with pytest.raises(LedgerError, match="no column"):
        ledger.update(a_run().id, **values)


def test_update_of_an_unknown_run_is_an_error(ledger):
    with pytest.raises(LedgerError, match="has no run"):
        ledger.update(a_run().id, reason="x")


def test_runs_are_newest_first_and_every_filter_narrows(ledger):
    for n in range(10):
        ledger.add(
            a_run(
                n,
                kind="load" if n % 2 else "drift",
                system="diabetes" if n < 2 else "streamflow",
                key=f"k{n % 3}",
                state=State.DONE if n < 8 else State.RUNNING,
            )
        )

    def numbers(**filters):
        return [int(run.created - 1000) for run in ledger.runs(**filters)]

    assert numbers() == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    assert numbers(kind="load") == [9, 7, 5, 3, 1]
    assert numbers(system="diabetes") == [1, 0]
    assert numbers(key="k0") == [9, 6, 3, 0]
    assert numbers(states=[State.RUNNING]) == [9, 8]
    assert numbers(states=["done"], since=1005.0) == [7, 6, 5]
    assert numbers(limit=3, offset=2) == [7, 6, 5]
    assert numbers(limit=0) == []
    assert ledger.count(kind="load", states=("done",)) == 4
    assert ledger.newest("drift", "streamflow").created == 1006.0
    assert ledger.newest("drift", "streamflow", state=None).created == 1008.0
    assert ledger.newest("drift", "f1pa") is None


def test_runs_of_the_same_moment_have_a_stable_order(ledger):
    for n in range(5):
        ledger.add(a_run(n, created=5.0))
    assert [run.id for run in ledger.runs()] == sorted((a_run(n).id for n in range(5)), reverse=True)


def test_notes_are_kept_in_order_and_the_latest_says_whether_a_run_is_acknowledged(ledger):
    ledger.add(a_run(1))
    ledger.add(a_run(2))
    ledger.note(a_run(1).id, "seen", acknowledged=True)
    ledger.note(a_run(2).id, "seen", acknowledged=True)
    ledger.note(a_run(2).id, "open again", acknowledged=False)
    assert [(note.text, note.acknowledged) for note in ledger.notes(a_run(2).id)] == [
        ("seen", True),
        ("open again", False),
    ]
    assert ledger.acknowledged() == {a_run(1).id}


def test_a_mere_note_leaves_an_acknowledgement_as_it_is(ledger):
    ledger.add(a_run())
    assert [ledger.note(a_run().id, "first").acknowledged, ledger.acknowledged()] == [False, frozenset()]
    ledger.note(a_run().id, "seen", acknowledged=True)
    assert ledger.note(a_run().id, "and mended").acknowledged
    assert ledger.acknowledged() == {a_run().id}


def test_a_note_needs_a_run_and_has_a_length(ledger):
    with pytest.raises(LedgerError, match="has no run"):
        ledger.note(a_run().id, "x")
    ledger.add(a_run())
    with pytest.raises(LedgerError, match="at most 4000"):
        ledger.note(a_run().id, "x" * 4001)


def test_a_note_is_kept_as_it_was_written_or_refused(ledger):
    ledger.add(a_run())
    for text in NAUGHTY:
        assert ledger.note(a_run().id, text).text == text
    found = ledger.notes(a_run().id)
    assert [note.text for note in found] == NAUGHTY
    assert all(later.at >= earlier.at > 1.7e9 for earlier, later in itertools.pairwise(found))
    for text in ("half \ud800", "nul \0"):
        with pytest.raises(LedgerError, match="no database keeps"):
            ledger.note(a_run().id, text)
    assert len(ledger.notes(a_run().id)) == len(NAUGHTY)


def test_characters_that_no_database_keeps_do_not_stop_a_run(ledger):
    ledger.add(a_run(reason="file \udcff\0"))
    ledger.update(a_run().id, reason="again \udcff\0")
    assert ledger.get(a_run().id).reason == "again ?\ufffd"
    told = ledger.hook(a_run().id, "mail", "said \ud800\0", 1.0)
    assert ledger.hooks(a_run().id) == [told]


def test_outcomes_of_hooks_need_a_run_and_keep_their_order(ledger):
    with pytest.raises(LedgerError, match="has no run"):
        ledger.hook(a_run().id, "mail", "answered 200", 0.1)
    ledger.add(a_run(1))
    ledger.add(a_run(2))
    told = [ledger.hook(a_run(1).id, name, "answered 200", 0.25) for name in ("mail", "chat")]
    assert ledger.hooks(a_run(1).id) == told
    assert ledger.hooks(a_run(2).id) == []


def test_a_run_that_is_removed_takes_notes_and_hooks_with_it(ledger):
    for n in range(2):
        ledger.add(a_run(n))
        ledger.note(a_run(n).id, "seen", acknowledged=True)
        ledger.hook(a_run(n).id, "mail", "answered 200", 0.1)
    assert ledger.remove(a_run(0).id) is True
    assert ledger.remove(a_run(0).id) is False
    assert ledger.get(a_run(0).id) is None
    assert (ledger.notes(a_run(0).id), ledger.hooks(a_run(0).id)) == ([], [])
    assert ledger.acknowledged() == {a_run(1).id}
    assert len(ledger.hooks(a_run(1).id)) == 1


# --- the library -----------------------------------------------------------------------------------------------------

SHELF = (
    a_run(0, state=State.DONE, ref="2024-01-31", cur="2024-02-29", share=0.0625, outcome="NO_ACTION", rows_cur=7043),
    a_run(1, state=State.DONE, ref="2024-01-31", cur="2024-12-31", share=0.4375, outcome="RETRAINING_TRIGGERED"),
    a_run(2, state=State.DONE, ref="2024-02-29", cur="2024-03-31", outcome="UNDECIDED", started=1.0, finished=4.0),
    a_run(3, kind="load", state=State.DONE, system="f1pa", bytes=900, started=1.0, finished=3.0),
    a_run(4, kind="imported", state=State.DONE, ref="month_000", cur="month_001", share=0.0, target_drift=0.02),
    a_run(5, state=State.FAILED, reason="Été 100% of_ 'x'"),
)


@pytest.fixture
def shelf(ledger):
    for run in SHELF:
        ledger.add(run)
    ledger.note(SHELF[1].id, "Seen by ÉLODIE", acknowledged=True)
    ledger.note(SHELF[2].id, "seen", acknowledged=True)
    ledger.note(SHELF[2].id, "opened again", acknowledged=False)
    return ledger


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Filter(), [5, 4, 3, 2, 1, 0]),
        (Filter(systems=("f1pa",)), [3]),
        (Filter(systems=("f1pa", "streamflow"), kinds=("load", "imported")), [4, 3]),
        (Filter(states=(State.FAILED,)), [5]),
        (Filter(decisions=("NO_ACTION", "UNDECIDED")), [2, 0]),
        (Filter(months="2024-02"), [2, 0]),
        (Filter(months="MONTH_0"), [4]),
        (Filter(months="2024-0_"), []),
        (Filter(months="%"), []),
        (Filter(since=1002.0, until=1004.0), [3, 2]),
        (Filter(acknowledged=True), [1]),
        (Filter(acknowledged=False), [5, 4, 3, 2, 0]),
        (Filter(text="élodie"), []),
        (Filter(text="by ÉLODIE"), [1]),
        (Filter(text="SEEN"), [2, 1]),
        (Filter(text="100% OF_ 'x"), [5]),
        (Filter(text="retraining"), [1]),
        (Filter(text=SHELF[3].id[-8:]), [3]),
        (Filter(text="half \ud800"), []),
        (Filter(kinds=("drift",), months="2024-01-31", decisions=("NO_ACTION",), acknowledged=False), [0]),
    ],
)
def test_every_filter_of_the_library_narrows(shelf, wanted, expected):
    if wanted.text == "élodie" and shelf.url.startswith("postgres"):
        expected = [1]  # it folds accented capitals too
    found = [int(run.created - 1000) for run in shelf.library(wanted)]
    assert found == expected
    assert shelf.library_count(wanted) == len(expected)


@pytest.mark.parametrize(
    ("sort", "known"),
    [
        ("created", [0, 1, 2, 3, 4, 5]),
        ("ref", [1, 0, 2, 4]),
        ("cur", [0, 2, 1, 4]),
        ("rows_cur", [0]),
        ("share", [4, 0, 1]),
        ("target_drift", [4]),
        ("outcome", [0, 1, 2]),
        ("seconds", [3, 2]),
        ("bytes", [3]),
    ],
)
def test_the_library_sorts_by_every_key_with_unknown_last_in_both_directions(shelf, sort, known):
    rest = [n for n in (5, 4, 3, 2, 1, 0) if n not in known]
    down = [int(run.created - 1000) for run in shelf.library(Filter(), sort=sort)]
    up = [int(run.created - 1000) for run in shelf.library(Filter(), sort=sort, descending=False)]
    assert up == [*known, *rest]
    # Equal values stand newest first either way: two comparisons of January.
    assert down == ([4, 2, 1, 0, *rest] if sort == "ref" else [*reversed(known), *rest])


def test_pages_of_the_library_cover_it_once(shelf):
    for sort in ("created", "share", "ref", "seconds"):
        pages = [shelf.library(Filter(), sort=sort, limit=2, offset=n) for n in (0, 2, 4, 6)]
        assert [len(page) for page in pages] == [2, 2, 2, 0]
        assert {run.id for page in pages for run in page} == {run.id for run in SHELF}


def test_a_sort_key_that_is_none_is_said(shelf):
    with pytest.raises(LedgerError, match="cannot be sorted by 'id; DROP'") as raised:
        shelf.library(Filter(), sort="id; DROP")
    assert "share" in raised.value.hint


def test_history_is_the_known_shares_oldest_first(shelf):
    assert [run.share for run in shelf.history("streamflow")] == [0.0625, 0.4375]
    assert [run.share for run in shelf.history("streamflow", limit=1)] == [0.4375]
    assert shelf.history("f1pa") == []


def test_values_are_values_and_never_sql(ledger):
    text = "'; DROP TABLE runs; --"
    ledger.add(a_run(key=text, reason=text))
    assert ledger.runs(key=text)[0].reason == text


# --- the file --------------------------------------------------------------------------------------------------------


def file_of(settings):
    return settings.home / "ledger.db"


def test_the_file_is_in_wal_mode_and_knows_its_version(settings, ledger):
    connection = sqlite3.connect(file_of(settings))
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("SELECT version FROM schema_version").fetchall() == [(LATEST,)]
    connection.close()


def test_lists_are_read_from_an_index(settings, ledger):
    connection = sqlite3.connect(file_of(settings))
    for where in ("", "WHERE system='a' AND kind='b'", "WHERE key='k'", "WHERE state='running'"):
        plan = connection.execute(
            f"EXPLAIN QUERY PLAN SELECT * FROM runs {where} ORDER BY created DESC LIMIT 9"
        ).fetchall()
        assert "USING INDEX" in plan[0][3], (where, plan)
        assert "TEMP B-TREE" not in str(plan), (where, plan)
    connection.close()


def test_an_older_file_is_brought_up_step_by_step(settings, monkeypatch):
    done = []
    with Ledger(settings.ledger_url) as ledger:
        ledger.add(a_run())
    steps = [
        *tables.MIGRATIONS,
        lambda _: done.append(1),
        lambda c: done.append(c.exec_driver_sql("SELECT 2").scalar()),
    ]
    monkeypatch.setattr(module, "MIGRATIONS", steps)
    monkeypatch.setattr(module, "LATEST", len(steps))
    for _ in range(2):
        with Ledger(settings.ledger_url) as ledger:
            assert ledger.get(a_run().id) == a_run()
    assert done == [1, 2]


# The tables as the first version made them.
FIRST_VERSION = """
CREATE TABLE runs (id VARCHAR(64) NOT NULL PRIMARY KEY, kind VARCHAR(32) NOT NULL, system VARCHAR(32) NOT NULL,
    key VARCHAR(512) NOT NULL, state VARCHAR(16) NOT NULL, created DOUBLE PRECISION NOT NULL, started DOUBLE PRECISION,
    finished DOUBLE PRECISION, outcome TEXT DEFAULT '' NOT NULL, reason TEXT DEFAULT '' NOT NULL,
    path TEXT DEFAULT '' NOT NULL);
CREATE TABLE notes (n INTEGER NOT NULL PRIMARY KEY, run VARCHAR(64) NOT NULL, at DOUBLE PRECISION NOT NULL,
    text TEXT NOT NULL, acknowledged BOOLEAN NOT NULL);
CREATE TABLE schema_version (version INTEGER NOT NULL PRIMARY KEY);
CREATE INDEX runs_by_time ON runs (created, id);
INSERT INTO schema_version VALUES (1)
"""


def test_an_index_of_the_first_version_is_brought_up_and_filled_from_the_directories(settings):
    systems = load_systems(settings)
    drift, load, lost = (new_run_id() for _ in range(3))
    folder = reports.save(
        reports.report_dir(settings, systems.by_id["streamflow"]), drift, "drift", {"result.json": result(drift)}, ()
    )
    sent = settings.home / "runs" / load
    sent.mkdir(parents=True)
    progress.write(sent, progress.Progress(load, "load", "streamflow", "k", "done", created=3.0, path=str(sent)))
    (sent / "result.json").write_text("{}")
    rows = (
        (drift, "drift", "drift:streamflow:exact", "done", 1.0, 2.0, 3.5, "NO_ACTION", "1 of 16", str(folder)),
        (load, "load", "k", "done", 3.0, None, None, "", "", str(sent)),
        (lost, "drift", "k", "failed", 2.0, None, None, "", "why", "/nowhere"),
    )
    engine = sa.create_engine(settings.ledger_url)
    settings.home.mkdir(exist_ok=True)
    with engine.begin() as connection:
        for statement in FIRST_VERSION.split(";"):
            connection.exec_driver_sql(statement)
        query = "INSERT INTO runs VALUES (:a, :b, 'streamflow', :c, :d, :e, :f, :g, :h, :i, :j)"
        for row in rows:
            connection.execute(sa.text(query), dict(zip("abcdefghij", row, strict=True)))
        connection.execute(
            sa.text("INSERT INTO notes VALUES (1, :run, 4.0, 'kept', :yes)"), {"run": drift, "yes": True}
        )
    engine.dispose()
    with Ledger(settings.ledger_url) as ledger:
        before = ledger.get(drift)
        assert (before.ref, before.share, before.bytes, before.own) == ("", None, None, None)
        assert before.source == Source()
        found = rescan.rescan(ledger, settings, systems)
        assert (sorted(found.changed), found.added) == (sorted([drift, load]), ())
        after = ledger.get(drift)
        summary = {"ref": "2024-01-31", "cur": "2024-02-29", "rows_ref": 1, "rows_cur": 1, "share": 0.0625}
        summary |= {"threshold": 0.3, "drifted": 1, "counted": 16, "bytes": size(folder)}
        # Nothing here says which home made that report; the traffic was sent by this one.
        summary |= {"source_kind": "unknown"}
        assert ledger.get(load).source.same(source_of(settings, systems.by_id["streamflow"], "load"))
        assert after == replace(before, **summary, own=after.own)
        assert ledger.get(load).bytes == size(sent)
        assert ledger.get(lost).path == ""
        assert why(ledger.get(lost)).startswith("files deleted")
        assert ledger.acknowledged() == {drift}
        assert rescan.rescan(ledger, settings, systems) == Rescan((), (), (), ())
        told = ledger.hook(drift, "mail", "answered 200", 0.5)
        assert ledger.hooks(drift) == [told]
    with Ledger(settings.ledger_url) as ledger:
        assert ledger.get(drift) == after


def test_an_upgrade_keeps_the_decisions_that_this_home_made_and_claims_no_others(settings):
    """Version 2 wrote no source down: the progress file of a run proves that this home made it."""
    systems = load_systems(settings)
    system = systems.by_id["streamflow"]
    made, left = "20240131T000001Z-000001", "20240131T000002Z-000002"
    for run in (made, left):
        reports.save(reports.report_dir(settings, system), run, "drift", {"result.json": result(run)}, ())
    folder = settings.home / "runs" / made
    folder.mkdir(parents=True)
    path = str(reports.report_dir(settings, system) / "runs" / made)
    told = progress.Progress(made, "drift", "streamflow", "k", "done", path=path)
    progress.write(folder, told)
    with Ledger(settings.ledger_url) as ledger:
        rescan.rescan(ledger, settings, systems)
        with ledger._write() as connection:
            for column in SOURCE:
                connection.exec_driver_sql(f"ALTER TABLE runs DROP COLUMN {column}")
            connection.exec_driver_sql("UPDATE schema_version SET version = 2")
    progress.write(folder, told)
    own = source_of(settings, system)
    with Ledger(settings.ledger_url) as ledger:
        assert {run.source_kind for run in ledger.runs()} == {""}
        assert ledger.newest("drift", "streamflow", source=own) is None
        assert sorted(rescan.rescan(ledger, settings, systems).changed) == [made, left]
        assert ledger.newest("drift", "streamflow", source=own).id == made
        assert [run.id for run in ledger.history("streamflow", source=own)] == [made]
        assert [run.id for run in ledger.finished(DRIFT, "streamflow", own)] == [made]
        assert ledger.get(left).source.word([own.fingerprint]) == "unknown"
        elsewhere = Filter(sources=[own.fingerprint], elsewhere=True)
        assert [run.id for run in ledger.library(elsewhere)] == [left]
        assert ledger.library_count(replace(elsewhere, elsewhere=False)) == 1
        assert rescan.rescan(ledger, settings, systems) == Rescan((), (), (), ())
    # Written down once: an index that is lost later, when the source has moved on, says the same.
    file_of(settings).unlink()
    moved = replace(settings, postgres_url="postgresql://db/elsewhere")
    with Ledger(settings.ledger_url) as ledger:
        rescan.rescan(ledger, moved, systems)
        assert ledger.get(made).source == own


@pytest.mark.parametrize("kind", ["drift", "load"])
def test_while_a_system_file_cannot_be_read_no_source_of_its_older_runs_is_decided(settings, kind):
    """Whatever is written down stays: the marks of an old run would be missing from the charts of a mended system."""
    made = new_run_id()
    folder = progress.directory(settings, made)
    folder.mkdir(parents=True)
    told = progress.Progress(made, kind, "streamflow", "k", "done", path=str(folder))
    progress.write(folder, told)
    systems = load_systems(settings)
    with Ledger(settings.ledger_url) as ledger:
        rescan.rescan(ledger, settings, replace(systems, by_id={}))
        assert ledger.get(made).source_kind == ""
        rescan.rescan(ledger, settings, systems)
        assert ledger.get(made).source == source_of(settings, systems.by_id["streamflow"], kind)


def test_a_new_home_lists_the_reports_of_another_one_as_those_of_another_source(settings, tmp_path):
    systems = load_systems(settings)
    system = systems.by_id["streamflow"]
    run = new_run_id()
    other = Settings.from_env(settings.environ | {"VIGIE_HOME": str(tmp_path / "new home")})
    raw = json.loads(result(run)) | {"source": source_of(settings, system).as_dict()}
    reports.save(reports.report_dir(settings, system), run, "drift", {"result.json": json.dumps(raw).encode()}, ())
    mine, theirs = source_of(settings, system), source_of(other, load_systems(other).by_id["streamflow"])
    for place, source, word in ((settings, mine, "own"), (other, theirs, "another")):
        with Ledger(place.ledger_url) as ledger:
            assert rescan.rescan(ledger, place, load_systems(place)).added == (run,)
            assert ledger.get(run).source.word([source.fingerprint]) == word
            assert (ledger.newest("drift", "streamflow", source=source) is not None) is (word == "own")


def test_an_unknown_source_is_nobodys_own(ledger):
    ledger.add(a_run(1, state=State.DONE))
    ledger.add(a_run(2, state=State.DONE, source_kind="unknown"))
    assert ledger.runs(source=Source("unknown")) == []
    assert ledger.history("streamflow", source=Source("unknown")) == []


def test_runs_of_a_pair_are_told_by_their_months_or_by_what_was_asked_for(ledger):
    done = a_run(1, state=State.DONE, ref="2024-01-31", cur="2024-02-29")
    going = a_run(2, state=State.RUNNING, key="drift:streamflow:2024-01-31:2024-02-29:abc")
    others = (
        a_run(3, state=State.DONE, ref="2024-02-29", cur="2024-01-31"),
        a_run(4, key="drift:streamflow:2024-01-31:2024-02-2:abc"),
        a_run(5, key="drift:streamflow:2024-01-31x2024-02-29:abc"),
    )
    for run in (done, going, *others):
        ledger.add(run)
    found = ledger.runs(kind="drift", system="streamflow", months=("2024-01-31", "2024-02-29"))
    assert [run.id for run in found] == [going.id, done.id]


def size(folder):
    return sum(path.stat().st_size for path in folder.iterdir())


def test_a_second_scan_opens_no_result(settings, ledger, monkeypatch):
    systems = load_systems(settings)
    for _ in range(3):
        run = new_run_id()
        folder = reports.report_dir(settings, systems.by_id["streamflow"])
        reports.save(folder, run, "drift", {"result.json": result(run)}, ())
    assert len(rescan.rescan(ledger, settings, systems).added) == 3
    monkeypatch.setattr(reports, "read_file", lambda *_: pytest.fail("read again"))
    assert rescan.rescan(ledger, settings, systems) == Rescan((), (), (), ())


def test_a_result_that_cannot_be_read_leaves_the_summary_unknown_and_the_run_done(settings, ledger):
    systems = load_systems(settings)
    run = new_run_id()
    folder = reports.report_dir(settings, systems.by_id["streamflow"])
    reports.save(folder, run, "drift", {"result.json": b'{"version": 1}'}, ())
    rescan.rescan(ledger, settings, systems)
    row = ledger.get(run)
    assert (row.state, row.share, row.counted, row.ref) == (State.DONE, None, None, "")
    assert row.bytes == size(folder / "runs" / run)
    assert "cannot be read" in row.reason
    assert rescan.rescan(ledger, settings, systems) == Rescan((), (), (), ())


def test_a_run_deleted_during_a_scan_does_not_come_back(settings, ledger, monkeypatch):
    systems = load_systems(settings)
    run = new_run_id()
    folder = reports.report_dir(settings, systems.by_id["streamflow"])
    path = reports.save(folder, run, "drift", {"result.json": result(run)}, ())
    real = rescan.found_runs

    def slow(*arguments):
        found = real(*arguments)
        shutil.rmtree(path)
        return found

    monkeypatch.setattr(rescan, "found_runs", slow)
    assert rescan.rescan(ledger, settings, systems).added == ()
    assert ledger.count() == 0


def test_a_step_that_fails_changes_nothing(settings, monkeypatch):
    with Ledger(settings.ledger_url) as ledger:
        ledger.add(a_run())

    def half(connection):
        connection.exec_driver_sql("DELETE FROM runs")
        connection.exec_driver_sql("nonsense")

    with monkeypatch.context() as patch:
        patch.setattr(module, "MIGRATIONS", [*tables.MIGRATIONS, half])
        patch.setattr(module, "LATEST", LATEST + 1)
        with pytest.raises(LedgerError):
            Ledger(settings.ledger_url)
    with Ledger(settings.ledger_url) as ledger:
        assert ledger.get(a_run().id) == a_run()


def test_a_newer_file_is_refused_in_words_and_left_alone(settings):
    with Ledger(settings.ledger_url) as ledger, ledger._write() as connection:
        connection.exec_driver_sql("UPDATE schema_version SET version = 7")
    before = file_of(settings).read_bytes()
    with pytest.raises(LedgerError, match=f"version 7; this Vigie knows {LATEST}") as raised:
        Ledger(settings.ledger_url)
    assert "newer Vigie" in raised.value.hint
    assert file_of(settings).read_bytes() == before


@pytest.mark.parametrize("content", [b"no database at all" * 500, b"SQLite format 3\x00" + b"\xff" * 9000])
def test_a_damaged_file_is_kept_aside_and_the_next_try_begins_anew(settings, content):
    settings.home.mkdir()
    file_of(settings).write_bytes(content)
    with pytest.raises(LedgerError, match="is damaged; it was kept as") as raised:
        Ledger(settings.ledger_url)
    assert "new index" in raised.value.hint
    kept = list(settings.home.glob("ledger.db.damaged-*"))
    assert [path.read_bytes() for path in kept] == [content]
    with Ledger(settings.ledger_url) as ledger:
        assert ledger.runs() == []


def test_damage_found_later_is_said_and_the_same_handle_goes_on_with_the_new_file(settings):
    with Ledger(settings.ledger_url) as ledger:
        for n in range(300):
            ledger.add(a_run(n, reason="x" * 500))
    with sqlite3.connect(file_of(settings)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with Ledger(settings.ledger_url) as ledger:
        size = file_of(settings).stat().st_size
        with file_of(settings).open("r+b") as file:
            file.seek(4096)
            file.write(b"\xff" * (size - 4096))
        ledger._engine.dispose()  # what it had in its page cache hides the damage
        with pytest.raises(LedgerError, match="is damaged"):
            ledger.runs(limit=1000)
        assert ledger.runs() == []
        ledger.add(a_run())
        assert ledger.count() == 1


def test_a_handle_follows_its_file_when_another_process_has_replaced_it(settings):
    with Ledger(settings.ledger_url) as old:
        old.add(a_run(1))
        file_of(settings).rename(settings.home / "aside.db")
        with Ledger(settings.ledger_url) as new:
            new.add(a_run(2))
        assert [run.id for run in old.runs()] == [a_run(2).id]


def kept_reports(settings):
    """Four reports with their rows; a note that acknowledges the first of them, and what became of its hook."""
    system = load_systems(settings).by_id["streamflow"]
    ids = [f"20240131T00000{number}Z-00000{number}" for number in range(4)]
    for run in ids:
        reports.save(reports.report_dir(settings, system), run, "drift", {"result.json": result(run)}, ())
    with ledger_of(settings) as ledger:
        ledger.note(ids[0], "looked at", acknowledged=True)
        ledger.hook(ids[0], "mail", "answered 200", 0.5)
    with sqlite3.connect(file_of(settings)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return ids


def cut(file):
    with file.open("r+b") as handle:
        handle.truncate(file.stat().st_size // 2 + 100)


def spoil(file, table):
    """Write rubbish over the first page of a table."""
    with sqlite3.connect(file) as connection:
        size = connection.execute("PRAGMA page_size").fetchone()[0]
        page = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()[0]
    with file.open("r+b") as handle:
        handle.seek((page - 1) * size)
        handle.write(b"\xff" * size)


def drop(file):
    with sqlite3.connect(file) as connection:
        connection.execute("DROP TABLE runs")


DAMAGES = {
    "deleted": Path.unlink,
    "emptied": lambda file: file.write_bytes(b""),
    "no database": lambda file: file.write_bytes(b"no database at all" * 500),
    "cut in half": cut,
    "a table in rubbish": lambda file: spoil(file, "runs"),
    "a table dropped": drop,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_whatever_became_of_the_index_the_next_reader_gets_the_whole_list_and_is_told(settings, damage, capsys):
    ids = kept_reports(settings)
    DAMAGES[damage](file_of(settings))
    spoiled = file_of(settings).read_bytes() if file_of(settings).exists() else b""
    code = cli.main(["runs", "--json", "--sort", "ref"], settings.environ)
    out, _ = capsys.readouterr()
    assert code == 0
    assert sorted(run["id"] for run in json.loads(out)["runs"]) == ids
    kept = [path.read_bytes() for path in settings.home.glob("ledger.db.damaged-*Z")]
    assert kept in ([], [spoiled])
    assert bool(kept) is (damage in ("no database", "cut in half", "a table in rubbish"))
    with ledger_of(settings) as ledger:
        words = ledger.made_anew(0)
        assert words.startswith("A new index of runs was made from ")
        if damage == "a table in rubbish":
            assert "0 runs, 1 note and 1 hook outcome; the rest of it cannot be read" in words
        if damage in ("a table in rubbish", "a table dropped"):
            assert (ledger.acknowledged(), [one.outcome for one in ledger.hooks(ids[0])]) == (
                {ids[0]},
                ["answered 200"],
            )
        elif damage != "cut in half":
            assert ledger.acknowledged() == set()
            assert "not in it" in words or "are lost" in words


def test_a_page_of_notes_in_rubbish_costs_the_notes_on_it_alone(settings):
    with Ledger(settings.ledger_url) as ledger:
        ledger.add(a_run())
        for number in range(300):
            ledger.note(a_run().id, f"note {number:03d} {'x' * 200}", acknowledged=number == 299)
    with sqlite3.connect(file_of(settings)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        size = connection.execute("PRAGMA page_size").fetchone()[0]
    data = bytearray(file_of(settings).read_bytes())
    place = data.index(b"note 150 ") // size * size
    data[place : place + size] = b"\xff" * size
    file_of(settings).write_bytes(data)
    with pytest.raises(LedgerError, match=r"is damaged; it was kept as .*Taken over from it: 1 run, \d+ notes"):
        for _ in range(2):
            with ledger_of(settings) as ledger:
                ledger.notes(a_run().id)
    with ledger_of(settings) as ledger:
        texts = [note.text[:8] for note in ledger.notes(a_run().id)]
        assert 200 < len(texts) < 300
        assert (texts[0], texts[-1]) == ("note 000", "note 299")
        assert texts == sorted(set(texts)) and "note 150" not in texts
        assert ledger.acknowledged() == {a_run().id}
        assert ledger.get(a_run().id).state is State.QUEUED


def test_a_folder_in_the_place_of_the_index_is_said_with_the_next_step(settings, capsys):
    file_of(settings).mkdir(parents=True)
    assert cli.main(["runs"], settings.environ) == 1
    told = capsys.readouterr().err
    assert "is a folder; it has to be a file" in told and "Move that folder away" in told


def test_an_index_that_cannot_be_written_says_so_with_the_next_step(settings, ledger, monkeypatch):
    ledger.add(a_run(1))
    engine = database.engine_of(settings.ledger_url)
    sa.event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA query_only=1"))
    monkeypatch.setattr(module, "engine_of", lambda _url: engine)
    with Ledger(settings.ledger_url) as readonly:
        assert readonly.count() == 1
        with pytest.raises(LedgerError, match="readonly") as raised:
            readonly.add(a_run(2))
    assert "right to write the file" in raised.value.hint


def test_readers_that_come_at_once_to_a_lost_index_all_get_the_whole_list(settings):
    ids = kept_reports(settings)
    file_of(settings).unlink()
    counts, errors = [], []

    def look():
        try:
            with ledger_of(settings) as ledger:
                counts.append(ledger.count())
        except LedgerError as error:
            errors.append(error)

    threads = [threading.Thread(target=look) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (counts, errors) == ([len(ids)] * 6, [])


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match="cannot be made"):
        Ledger(f"sqlite:///{tmp_path / 'file' / 'ledger.db'}")


@pytest.mark.parametrize("url", ["nonsense", "", "mysql+nothing://h/d"])
def test_an_address_that_is_none_is_said_without_repeating_secrets(url):
    with pytest.raises(LedgerError, match="VIGIE_LEDGER_URL") as raised:
        Ledger(url)
    assert "postgresql+psycopg" in raised.value.hint


def test_a_driver_that_is_not_installed_is_named():
    with pytest.raises(LedgerError, match=r"driver is not installed \(MySQLdb\)"):
        Ledger("mysql://vigie:secret@127.0.0.1/ledger")


def test_a_database_that_does_not_answer_is_said_without_its_password():
    with pytest.raises(LedgerError) as raised:
        Ledger("postgresql+psycopg://vigie:secret@127.0.0.1:1/ledger")
    assert "secret" not in raised.value.text


# --- several at once -------------------------------------------------------------------------------------------------

WRITER = """
import sys
from app.runs.index import Ledger
from app.runs.run import Run
for n in range(25):
    with Ledger(sys.argv[1]) as ledger:
        ledger.add(Run(f"{sys.argv[2]}-{n}", "load", "streamflow", "k", created=float(n)))
        ledger.update(f"{sys.argv[2]}-{n}", reason="x")
"""


@pytest.mark.slow
def test_four_processes_open_a_new_ledger_at_once_and_lose_nothing(settings):
    command = [sys.executable, "-c", WRITER, settings.ledger_url]
    started = [subprocess.Popen([*command, str(n)], cwd=ROOT, stderr=subprocess.PIPE) for n in range(4)]
    assert [process.communicate()[1] for process in started] == [b""] * 4
    with Ledger(settings.ledger_url) as ledger:
        assert ledger.count() == 100


def test_threads_share_a_ledger(ledger):
    threads = [threading.Thread(target=lambda n=n: ledger.add(a_run(n))) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledger.count() == 20


def test_a_locked_file_is_said_after_the_busy_time(settings, ledger, monkeypatch):
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.1)
    blocker = sqlite3.connect(file_of(settings), isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with Ledger(settings.ledger_url) as other:
        assert other.runs() == []  # readers are not held up
        with pytest.raises(LedgerError, match="locked") as raised:
            other.add(a_run())
    assert "another process" in raised.value.hint
    blocker.close()


# --- after a restart -------------------------------------------------------------------------------------------------


def test_orphans_become_interrupted_and_living_or_ended_runs_stay(ledger):
    for n, state in enumerate((State.QUEUED, State.RUNNING, State.RUNNING, State.DONE)):
        ledger.add(a_run(n, state=state))
    found = ledger.interrupt_orphans([a_run(2).id], reason="the host ended")
    assert sorted(run.id for run in found) == [a_run(0).id, a_run(1).id]
    assert [ledger.get(a_run(n).id).state for n in range(4)] == ["interrupted", "interrupted", "running", "done"]
    assert ledger.get(a_run(0).id).reason == "the host ended"
    assert ledger.get(a_run(0).id).finished is not None


def result(run, decision="NO_ACTION"):
    side = {"key": "2024-01-31", "rows": 1, "labelled": 1}
    policy = {"columns": "all", "threshold": 0.3, "min_rows": 30, "comparable": 0.8, "label": "y", "identifier": "u"}
    target = {"value": None, "ref_rate": None, "cur_rate": None, "reason": "no labels"}
    raw = {
        "version": 1,
        "run": run,
        "system": "streamflow",
        "ref": side,
        "cur": side | {"key": "2024-02-29"},
        "policy": policy,
        "share": 0.0625,
        "k": 1,
        "n": 16,
        "share_features": 1 / 14,
        "columns": [],
        "target_drift": target,
        "decision": decision,
        "reason": "1 of 16",
        "line": "",
        "seconds": 2.5,
        "peak_bytes": None,
    }
    return json.dumps(raw).encode()


def test_an_index_is_remade_from_report_directories(settings, ledger):
    systems = load_systems(settings)
    run = new_run_id()
    folder = reports.save(
        reports.report_dir(settings, systems.by_id["streamflow"]), run, "drift", {"result.json": result(run)}, ()
    )
    found = rescan.rescan(ledger, settings, systems)
    assert found.added == (run,)
    row = ledger.get(run)
    assert (row.kind, row.system, row.state, row.outcome, row.path) == (
        "drift",
        "streamflow",
        "done",
        "NO_ACTION",
        str(folder),
    )
    assert row.key.startswith("drift:streamflow:2024-01-31:2024-02-29:")
    assert row.created <= row.finished
    assert rescan.rescan(ledger, settings, systems) == Rescan((), (), (), ())


def test_an_index_is_remade_from_run_folders_and_a_dead_owner_is_an_interrupted_run(settings, ledger):
    systems = load_systems(settings)
    ids = [new_run_id() for _ in range(3)]
    owners = (myself(), Owner(os.getpid(), "another boot"), None)
    for run, owner, state in zip(ids, owners, ("running", "running", "cancelled"), strict=True):
        folder = settings.home / "runs" / run
        folder.mkdir(parents=True)
        told = progress.Progress(
            run, "load", "streamflow", f"load:{run}", state, created=5.0, owner=owner, path=str(folder)
        )
        progress.write(folder, told)
    (settings.home / "runs" / new_run_id()).mkdir()
    (settings.home / "runs" / "something else").mkdir()
    found = rescan.rescan(ledger, settings, systems)
    assert sorted(found.added) == sorted(ids[1:])
    assert len(found.unreadable) == 1
    assert [ledger.get(run) and ledger.get(run).state for run in ids] == [None, "interrupted", "cancelled"]
    assert progress.read_progress(settings, ids[1]).state == "interrupted"


def test_a_row_whose_directory_has_vanished_says_so_and_keeps_its_notes(settings, ledger):
    run = a_run(state=State.DONE, outcome="NO_ACTION", reason="1 of 16", path=str(settings.home / "nowhere"))
    ledger.add(run)
    ledger.note(run.id, "kept")
    found = rescan.rescan(ledger, settings, load_systems(settings))
    assert found.gone == (run.id,)
    assert ledger.get(run.id) == replace(run, path="")
    assert why(ledger.get(run.id)) == "files deleted, the decision is kept: 1 of 16"
    assert [note.text for note in ledger.notes(run.id)] == ["kept"]
    assert rescan.rescan(ledger, settings, load_systems(settings)).gone == ()


def test_a_directory_finished_by_a_job_that_could_not_say_so_makes_its_row_done(settings, ledger):
    systems = load_systems(settings)
    run = new_run_id()
    ledger.add(
        a_run(id=run, key="drift:streamflow:exact", state=State.INTERRUPTED, path=str(settings.home / "runs" / run))
    )
    reports.save(
        reports.report_dir(settings, systems.by_id["streamflow"]), run, "drift", {"result.json": result(run)}, ()
    )
    assert rescan.rescan(ledger, settings, systems).changed == (run,)
    row = ledger.get(run)
    assert (row.state, row.key, row.created) == (State.DONE, "drift:streamflow:exact", a_run().created)


def test_the_command_line_knows_every_sort_key():
    from app.cli.arguments import SORTS
    from app.runs.tables import SORTS as KEYS

    assert tuple(KEYS) == SORTS
