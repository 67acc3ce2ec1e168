"""The library: a run deleted whole or not at all, reports from elsewhere, and what a kill or a full disk leaves."""

import errno
import hashlib
import itertools
import json
import os
import random
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from app.config import Settings, load_systems
from app.drift import importing
from app.drift.result import Policy, Result
from app.errors import AlreadyImported, LedgerError, ReportError, ReportNotFound, StorageFull, VigieError
from app.gauges import Gauges
from app.routes import middleware, routes
from app.runs import active, database, html, keep, progress, reports, rescan
from app.runs.active import ActiveRun
from app.runs.html import SANDBOX
from app.runs.index import Ledger
from app.runs.locks import Request
from app.runs.run import Ending, Rescan, Run, State, new_run_id
from tests.test_drift_imported import HOSTILE, older, oldest, today
from tests.test_ledger import result

HTML = b"<!doctype html>\n<html><head></head><body><script>\nvar metric_1f = {};\n</script></body></html>"
PAIR = "drift_2024-01-31_vs_2024-02-29"


@pytest.fixture
def settings(tmp_path):
    return Settings.from_env({"VIGIE_HOME": str(tmp_path / "home"), "REPORT_DIR": str(tmp_path / "reports")})


@pytest.fixture
def in_order(monkeypatch):
    """Run ids in the order of their making, also within one second."""
    numbers = itertools.count()
    for module in (active, importing):
        monkeypatch.setattr(module, "new_run_id", lambda: f"20240229T140532Z-{next(numbers):06x}")


@pytest.fixture
def systems(settings):
    return load_systems(settings)


@pytest.fixture
def system(systems):
    return systems.by_id["streamflow"]


@pytest.fixture
def ledger(settings):
    with Ledger(settings.ledger_url) as made:
        yield made


def run_once(settings, system, text=b"", *, pair=PAIR):
    """A comparison as a job makes it: row, folder of the job, report, published files."""
    active = ActiveRun(settings, Request("drift", system.id, f"drift:{random.random()}", {}))
    active.running("comparing")
    files = {f"{pair}.html": HTML + text, f"{pair}.json": b"{}" + text, "result.json": result(active.id)}
    folder = reports.save(
        reports.report_dir(settings, system), active.id, "drift", files, [f"{pair}.html", f"{pair}.json"]
    )
    active.end(Ending(State.DONE, "NO_ACTION", "1 of 16", folder))
    return active.id


def flat(settings, system, ending="html", pair=PAIR):
    path = reports.report_dir(settings, system) / f"{pair}.{ending}"
    return path.read_bytes() if path.exists() else None


def everything(settings, system):
    """What there is on disk and in the index, to be compared."""
    places = (settings.home / "runs", reports.report_dir(settings, system))
    files = {str(path): path.read_bytes() for place in places for path in place.rglob("*") if path.is_file()}
    with Ledger(settings.ledger_url) as ledger:
        return files, ledger.runs(limit=1000)


def agree(settings, systems):
    """Index and directories tell of the same runs; nothing half-written shows."""
    with Ledger(settings.ledger_url) as ledger:
        before = ledger.runs(limit=1000)
        rescan.rescan(ledger, settings, systems)
        assert ledger.runs(limit=1000) == before


# --- deleting --------------------------------------------------------------------------------------------------------


def test_a_run_that_ends_has_its_figures_in_the_index(settings, system, ledger):
    row = ledger.get(run_once(settings, system))
    assert (row.ref, row.cur, row.share, row.drifted, row.counted) == ("2024-01-31", "2024-02-29", 0.0625, 1, 16)
    assert (row.rows_cur, row.threshold, row.target_drift, row.own) == (1, 0.3, None, None)
    assert row.bytes == sum(path.stat().st_size for path in Path(row.path).iterdir())


def test_a_deleted_run_takes_its_files_its_notes_and_what_it_published(settings, systems, system, ledger):
    run = run_once(settings, system)
    ledger.note(run, "seen", acknowledged=True)
    ledger.hook(run, "mail", "answered 200", 0.1)
    keep.delete(settings, systems, run)
    assert (ledger.get(run), ledger.notes(run), ledger.hooks(run)) == (None, [], [])
    files, rows = everything(settings, system)
    assert (files, rows) == ({}, [])
    assert not list((settings.home / "runs").iterdir())
    assert not list((reports.report_dir(settings, system) / "runs").iterdir())
    agree(settings, systems)


@pytest.mark.usefixtures("in_order")
def test_what_was_published_becomes_that_of_the_newest_run_that_remains(settings, systems, system):
    runs = [run_once(settings, system, str(n).encode()) for n in range(3)]
    keep.delete(settings, systems, runs[0])
    assert flat(settings, system) == HTML + b"2"
    keep.delete(settings, systems, runs[2])
    assert flat(settings, system) == HTML + b"1"
    keep.delete(settings, systems, runs[1])
    assert flat(settings, system) is None
    assert flat(settings, system, "json") is None


@pytest.mark.usefixtures("in_order")
def test_a_run_whose_report_is_gzipped_is_published_unpacked(settings, systems, system, monkeypatch):
    monkeypatch.setattr(keep, "PLAIN_RUNS", 1)
    first = run_once(settings, system, b"first")
    second = run_once(settings, system, b"second")
    keep.prune([reports.report_dir(settings, system)], 10**9)
    assert (reports.find(settings, systems, first) / f"{PAIR}.html.gz").exists()
    keep.delete(settings, systems, second)
    assert flat(settings, system) == HTML + b"first"


def test_a_flat_file_of_somebody_else_stays(settings, systems, system):
    run = run_once(settings, system)
    mine = reports.report_dir(settings, system) / f"{PAIR}.html"
    mine.write_bytes(b"written by another program")
    keep.delete(settings, systems, run)
    assert mine.read_bytes() == b"written by another program"
    assert flat(settings, system, "json") is None


def test_other_months_keep_what_they_published(settings, systems, system):
    other = "drift_2024-01-31_vs_2024-03-31"
    run_once(settings, system, pair=other)
    keep.delete(settings, systems, run_once(settings, system))
    assert flat(settings, system, pair=other) == HTML
    assert flat(settings, system) is None


def test_a_run_that_is_going_is_not_deleted(settings, systems, system):
    active = ActiveRun(settings, Request("drift", "streamflow", "drift:x", {}))
    with pytest.raises(ReportError, match="still going") as raised:
        keep.delete(settings, systems, active.id)
    assert "Stop it first" in raised.value.hint
    active.end(Ending(State.CANCELLED))
    keep.delete(settings, systems, active.id)
    assert everything(settings, system) == ({}, [])


def test_a_row_whose_files_retention_has_taken_can_be_deleted(settings, systems, system, ledger):
    run = run_once(settings, system)
    path = Path(ledger.get(run).path)
    path.rename(path.with_name("elsewhere"))
    rescan.rescan(ledger, settings, systems)
    assert ledger.get(run).path == ""
    keep.delete(settings, systems, run)
    assert ledger.get(run) is None


def test_a_run_of_a_system_that_is_gone_can_be_deleted(settings, systems, system, ledger, tmp_path):
    run = new_run_id()
    folder = reports.save(tmp_path / "elsewhere", run, "drift", {"a.json": b"{}"}, ["a.json"])
    ledger.add(Run(run, "drift", "gone", "k", State.DONE, path=str(folder)))
    keep.delete(settings, systems, run)
    assert ledger.get(run) is None
    assert not list((tmp_path / "elsewhere").rglob("*.json"))


def test_a_path_in_the_index_that_is_no_report_is_not_deleted(settings, systems, ledger, tmp_path):
    run = new_run_id()
    precious = tmp_path / run
    precious.mkdir()
    (precious / "thesis.txt").write_text("x")
    ledger.add(Run(run, "drift", "streamflow", "k", State.DONE, path=str(precious)))
    keep.delete(settings, systems, run)
    assert (precious / "thesis.txt").exists()
    assert ledger.get(run) is None


def test_a_link_in_place_of_a_run_is_not_followed(settings, systems, system, ledger, tmp_path):
    run = new_run_id()
    outside = reports.save(tmp_path / "elsewhere", run, "drift", {"a.json": b"{}"}, [])
    inside = reports.report_dir(settings, system) / "runs" / run
    inside.parent.mkdir(parents=True)
    inside.symlink_to(outside)
    ledger.add(Run(run, "drift", "streamflow", "k", State.DONE, path=str(inside)))
    keep.delete(settings, systems, run)
    assert (outside / "a.json").exists()


@pytest.mark.parametrize(
    "run", ["", "..", "../../etc", "20240229T140532Z-1a2b3c/..", "20240229T140532Z-1A2B3C", "\x00", "x" * 9999, "*"]
)
def test_an_id_that_is_none_deletes_nothing(settings, systems, system, run):
    run_once(settings, system)
    before = everything(settings, system)
    with pytest.raises(ReportNotFound):
        keep.delete(settings, systems, run)
    with pytest.raises(ReportNotFound, match="There is no run"):
        keep.delete(settings, systems, "20240229T140532Z-1a2b3c")
    assert everything(settings, system) == before


def test_two_people_delete_the_same_runs_at_once(settings, systems, system):
    runs = [run_once(settings, system) for _ in range(8)]
    said = []

    def delete_all():
        for run in runs:
            try:
                keep.delete(settings, systems, run)
            except ReportNotFound:
                pass
            except Exception as error:
                said.append(error)

    threads = [threading.Thread(target=delete_all) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == []
    assert everything(settings, system) == ({}, [])
    agree(settings, systems)


def test_an_index_that_cannot_be_written_leaves_the_run_as_it_was(settings, systems, system, monkeypatch):
    import sqlite3

    run = run_once(settings, system)
    before = everything(settings, system)
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.1)
    blocker = sqlite3.connect(settings.home / "ledger.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(LedgerError, match="locked"):
        keep.delete(settings, systems, run)
    blocker.close()
    assert everything(settings, system) == before
    agree(settings, systems)
    keep.delete(settings, systems, run)


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM])
@pytest.mark.parametrize("where", ["reports", "home"])
def test_a_folder_that_cannot_be_written_leaves_the_run_as_it_was(
    settings, systems, system, monkeypatch, number, where
):
    run = run_once(settings, system)
    before = everything(settings, system)
    real = Path.rename

    def refuses(self, target):
        if self.is_relative_to(settings.home) is (where == "home") and not self.name.startswith(".tmp"):
            raise OSError(number, os.strerror(number))
        return real(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refuses)
        with pytest.raises(StorageFull, match="nothing was changed") as raised:
            keep.delete(settings, systems, run)
    assert "write permission" in raised.value.hint
    assert everything(settings, system) == before
    agree(settings, systems)


@pytest.mark.usefixtures("in_order")
def test_a_full_disk_does_not_keep_a_run_from_being_deleted(settings, systems, system, ledger, monkeypatch):
    first = run_once(settings, system, b"first")
    second = run_once(settings, system, b"second")

    def full(_handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageFull, match=f"{second} is deleted") as raised:
            keep.delete(settings, systems, second)
    assert "Free some disk space" in raised.value.hint
    assert [run.id for run in ledger.runs()] == [first]
    # The published file of a run that is gone would be a lie; that of the other could not be written.
    assert flat(settings, system) is None
    assert not [path for path in reports.report_dir(settings, system).rglob(".tmp*")]
    agree(settings, systems)


# --- retention and moves ----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("in_order")
def test_retention_never_takes_the_run_that_the_gauges_show(settings, systems, system, ledger):
    own = Policy.of(system.drift)
    runs = [run_once(settings, system) for _ in range(5)]
    old, current, unreadable, capture, other = runs
    for run, policy, cur in ((old, own, "b"), (current, own, "b"), (capture, own, "capture-x"), (other, None, "b")):
        rewrite(ledger.get(run), policy or replace(own, threshold=0.9), cur)
    # What the index has of the policy is that of the day it ran: the file may have gone back to it since.
    ledger.update(current, own=False)
    (Path(ledger.get(unreadable).path) / "result.json").write_bytes(b"{")
    gauge = shown(settings)
    newest = import_report(settings, system)
    small = replace(settings, keep_bytes=0)
    # An import is kept when it has just been written, and displaces nobody.
    assert sorted(keep.retain(small, systems)) == sorted([old, unreadable, capture])
    assert all(Path(ledger.get(run).path).is_dir() for run in (current, other, newest))
    assert shown(settings) == gauge != []
    row = ledger.get(old)
    assert (row.path, row.reason, row.outcome) == ("", "1 of 16", "NO_ACTION")


@pytest.mark.usefixtures("in_order")
def test_retention_leaves_alone_what_the_index_does_not_know(settings, systems, system, ledger):
    runs = [run_once(settings, system) for _ in range(3)]
    for run in runs:
        ledger.remove(run)
    small = replace(settings, keep_bytes=0)
    assert keep.retain(small, systems) == []
    assert len(reports.scan(reports.report_dir(settings, system))) == 3
    rescan.rescan(ledger, settings, systems)
    assert keep.retain(small, systems) == runs[:2]


def rewrite(run, policy, cur):
    """The same run with another policy and another month."""
    folder = Path(run.path)
    found = Result.from_json((folder / "result.json").read_bytes())
    data = replace(found, policy=policy, cur=replace(found.cur, key=cur)).to_json()
    (folder / "result.json").write_bytes(data)
    meta = json.loads((folder / "meta.json").read_text())
    meta["files"]["result.json"] = hashlib.sha256(data).hexdigest()
    (folder / "meta.json").write_text(json.dumps(meta))


def shown(settings):
    """What the console's gauges say of drift, sample by sample."""
    text = Gauges(settings).exposition()[0].decode()
    return [line for line in text.splitlines() if line.startswith("vigie_drift")]


def import_report(settings, system):
    return importing.import_report(settings, system, html=HTML, json=None).id


def test_a_report_directory_that_is_moved_loses_no_reason(settings, system, systems, ledger, tmp_path):
    run = run_once(settings, system)
    before = ledger.get(run)
    moved = tmp_path / "moved"
    reports.report_dir(settings, system).rename(moved)
    rescan.rescan(ledger, settings, systems)
    assert ledger.get(run) == replace(before, path="", bytes=None)
    there = replace(settings, report_dir=str(moved))
    rescan.rescan(ledger, there, systems)
    assert ledger.get(run) == replace(before, path=str(moved / "runs" / run))
    # An index made anew tells the same.
    ledger.remove(run)
    rescan.rescan(ledger, there, systems)
    assert ledger.get(run).reason == "1 of 16"


def test_a_row_of_an_older_version_gets_its_reason_back(settings, system, systems, ledger):
    run = run_once(settings, system)
    for lost in ("", "the directory of this run is gone"):
        ledger.update(run, reason=lost)
        rescan.rescan(ledger, settings, systems)
        assert ledger.get(run).reason == "1 of 16"


# --- importing -------------------------------------------------------------------------------------------------------


def imported(settings, system, raw=None, **values):
    data = raw if raw is None or isinstance(raw, bytes) else json.dumps(raw).encode()
    return importing.import_report(settings, system, **{"html": None, "json": data, **values})


@pytest.mark.parametrize("make", [today, older, oldest], ids=["today", "0.7.15", "0.4"])
def test_a_json_of_each_form_becomes_a_run_with_table_and_share(settings, systems, system, ledger, make):
    run = imported(settings, system, make(), html=HTML, name="drift_2024-01-31_vs_2024-02-29.html")
    assert ledger.get(run.id) == run
    assert (run.kind, run.state, run.ref, run.cur) == ("imported", State.DONE, "2024-01-31", "2024-02-29")
    assert (run.share, run.drifted, run.counted, run.own, run.seconds) == (2 / 3, 2, 3, None, None)
    folder = reports.find(settings, systems, run.id)
    stored = Result.from_json(reports.read_file(folder, "result.json"))
    assert (stored.share, stored.decision, len(stored.columns)) == (run.share, run.outcome, 3)
    assert reports.read_file(folder, f"{PAIR}.json") == json.dumps(make()).encode()
    assert reports.read_file(folder, f"{PAIR}.html") == html.safe_html(HTML)
    assert run.reason.startswith("imported from ")


def test_an_html_alone_becomes_a_run_whose_figures_are_unknown(settings, system):
    run = imported(settings, system, html=HTML, name="winter")
    assert (run.share, run.counted, run.outcome, run.ref, run.cur) == (None, None, "", "reference", "current")
    assert "HTML without JSON" in run.reason
    assert "winter" in run.reason


@pytest.mark.parametrize(
    ("name", "months"),
    [
        ("drift_2024-01-31_vs_2024-02-29.html", ("2024-01-31", "2024-02-29")),
        ("2024-01-31_vs_2024-02-29", ("2024-01-31", "2024-02-29")),
        ("month_000 vs month_001", ("month_000", "month_001")),
        ("January → February", ("January", "February")),
        ("drift_../../etc_vs_passwd", ("reference", "current")),
        ("a b vs c", ("reference", "current")),
        ("", ("reference", "current")),
        ("x" * 70 + "_vs_b", ("reference", "current")),
    ],
)
def test_a_name_may_tell_the_months(settings, system, name, months):
    run = imported(settings, system, html=HTML, name=name)
    assert (run.ref, run.cur) == months


def test_control_characters_in_a_name_do_not_reach_the_index(settings, system, ledger):
    run = imported(settings, system, html=HTML, name="a\x00b\x1b[31m\n\ud800" + "x" * 500)
    assert run.reason.isprintable()
    assert len(run.reason) < 300
    assert ledger.get(run.id) == run


def test_nothing_of_an_import_is_published_and_deleting_it_touches_nobody_elses(settings, systems, system):
    own = run_once(settings, system)
    before = everything(settings, system)
    run = imported(settings, system, today(), html=HTML + b"<p>other", name=PAIR)
    assert flat(settings, system) == HTML
    keep.delete(settings, systems, run.id)
    assert everything(settings, system) == before
    imported(settings, system, today(), html=HTML + b"<p>other", name=PAIR)
    keep.delete(settings, systems, own)
    assert flat(settings, system) is None


def test_the_gauges_do_not_move_for_an_import(settings, system):
    run_once(settings, system)
    gauges = Gauges(settings)
    before = gauges.exposition()[0]
    imported(settings, system, today(), html=HTML)
    after = gauges.exposition()[0]

    def ours(text):
        return [line for line in text.decode().splitlines() if line.startswith("vigie_")]

    assert ours(after) == ours(before)


def test_the_same_bytes_are_one_run(settings, systems, system, ledger):
    run = imported(settings, system, today(), html=HTML)
    with pytest.raises(AlreadyImported, match=run.id) as raised:
        imported(settings, system, today(), html=HTML, name="another name")
    assert raised.value.run == run.id
    imported(settings, systems.by_id["f1pa"], today(), html=HTML)
    imported(settings, system, today())
    keep.delete(settings, systems, run.id)
    assert imported(settings, system, today(), html=HTML).id != run.id
    assert ledger.count(kind="imported") == 3


def test_two_people_import_the_same_report_at_once(settings, system, ledger):
    said = []

    def once():
        try:
            said.append(imported(settings, system, today(), html=HTML))
        except VigieError as error:
            said.append(error)

    threads = [threading.Thread(target=once) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(one, Run) for one in said) == 1
    assert all(isinstance(one, Run | ReportError) for one in said)
    assert ledger.count() == 1
    assert not list((settings.home / "jobs").glob("*.lock"))


def test_an_import_that_a_scan_lists_first_is_kept(settings, systems, system, ledger, monkeypatch):
    """A job host that starts reads the directories between the report and its row."""
    save = reports.save

    def seen(*arguments, **named):
        folder = save(*arguments, **named)
        assert rescan.rescan(ledger, settings, systems).added == (folder.name,)
        return folder

    monkeypatch.setattr(reports, "save", seen)
    run = importing.import_report(settings, system, html=HTML, json=None)
    assert ledger.runs() == [run]
    assert Path(run.path).is_dir()
    agree(settings, systems)


def test_a_lost_index_finds_imports_again_as_they_were(settings, systems, system):
    old = time.time() - 30 * 86_400
    runs = [
        imported(settings, system, today(), html=HTML, name="a vs b", at=old),
        imported(settings, system, older()),
        imported(settings, system, html=HTML, name="only html"),
    ]
    assert runs[0].created == old
    (settings.home / "ledger.db").unlink()
    with Ledger(settings.ledger_url) as ledger:
        rescan.rescan(ledger, settings, systems)
        assert [ledger.get(run.id) for run in runs] == runs
        assert rescan.rescan(ledger, settings, systems) == Rescan((), (), (), ())
    with pytest.raises(AlreadyImported):
        imported(settings, system, older())


@pytest.mark.usefixtures("in_order")
def test_an_old_import_is_not_the_first_to_go(tmp_path, system):
    environ = {"VIGIE_HOME": str(tmp_path / "home"), "REPORT_DIR": str(tmp_path / "reports")}
    small = Settings.from_env(environ | {"VIGIE_KEEP_BYTES": "100000"})
    html = HTML + random.Random(1).randbytes(40_000).hex().encode()
    runs = [imported(small, system, html=html + str(n).encode(), at=1000.0 + n) for n in range(3)]
    with Ledger(small.ledger_url) as ledger:
        # The newest stays; those before it went to keep the disk bounded, and their rows say so.
        assert ledger.get(runs[2].id) == runs[2]
        assert ledger.get(runs[0].id).path == ""
        assert ledger.get(runs[0].id).bytes is None


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "nothing to import"),
        ({"html": b""}, "nothing to import"),
        ({"html": b"", "json": b""}, "nothing to import"),
        ({"html": b"  \n "}, "empty"),
        ({"html": b"\xff\xfe<\0h\0t\0m\0l\0>\0"}, "not UTF-8"),
        ({"html": b"<html>\xe9"}, "not UTF-8"),
        ({"html": b"%PDF-1.7 no report"}, "not HTML"),
        ({"html": b'{"metrics": []}'}, "not HTML"),
        ({"html": b"<html>\0"}, "not HTML"),
        ({"html": b"<htmlx><p>"}, "not HTML"),
        ({"html": b" " * 70_000 + b"<html>"}, "not HTML"),
        ({"json": b"[" * 100_000}, "not JSON"),
        ({"json": b" " * 8_000_001}, "at most 8,000,000"),
        ({"html": HTML, "json": b"{}"}, "no list of metrics"),
        ({"html": b"nothing", "json": json.dumps(today()).encode()}, "not HTML"),
        ({"json": json.dumps(today()).encode(), "at": float("nan")}, "between 1970 and today"),
        ({"json": json.dumps(today()).encode(), "at": -1.0}, "between 1970 and today"),
        ({"json": json.dumps(today()).encode(), "at": 1e12}, "between 1970 and today"),
    ],
)
def test_what_cannot_be_imported_is_said_and_nothing_is_kept(settings, system, values, said):
    with pytest.raises(ReportError, match=said) as raised:
        importing.import_report(settings, system, **{"html": None, "json": None, **values})
    assert raised.value.hint
    assert everything(settings, system) == ({}, [])


def test_an_html_too_large_to_keep_is_said(settings, system, monkeypatch):
    monkeypatch.setattr(reports, "MAX_FILE_BYTES", 1000)
    with pytest.raises(ReportError, match="a report may have 1,000"):
        imported(settings, system, html=HTML + b" " * 1000)
    assert everything(settings, system) == ({}, [])


@pytest.mark.parametrize("html", [b"<HTML><P>", b"\xef\xbb\xbf<!-- saved -->\n<!DOCTYPE html><p>", b"<head\n>", HTML])
def test_whatever_begins_as_html_is_taken(settings, system, html):
    assert imported(settings, system, html=html).kind == "imported"


def test_hostile_json_leaves_nothing(settings, system):
    for data in HOSTILE:
        with pytest.raises(ReportError):
            imported(settings, system, data)
    assert everything(settings, system) == ({}, [])


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_takes_nothing_keeps_nothing_of_an_import(settings, systems, system, monkeypatch, number):
    run_once(settings, system)
    before = everything(settings, system)
    real = os.fsync
    for step in range(7):
        calls = itertools.count(-step)

        def fails(handle, calls=calls):
            if next(calls) >= 0:
                raise OSError(number, os.strerror(number))
            real(handle)

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fails)
            try:
                run = imported(settings, system, today(), html=HTML)
            except StorageFull as error:
                assert error.hint
            else:
                keep.delete(settings, systems, run.id)
        agree_after = everything(settings, system)
        # Renamed into place before the folder could be synced, a report is there, whole; until then it is not at all.
        if step < 5:
            assert agree_after == before
        with Ledger(settings.ledger_url) as ledger:
            for run_id in rescan.rescan(ledger, settings, systems).added:
                keep.delete(settings, systems, run_id)
        assert everything(settings, system) == before


def test_an_index_that_cannot_be_written_keeps_nothing_of_an_import(settings, system, ledger, monkeypatch):
    def refuses(_self, _run):
        raise LedgerError("locked")

    monkeypatch.setattr(Ledger, "list_kept", refuses)
    with pytest.raises(LedgerError, match="locked"):
        imported(settings, system, today(), html=HTML)
    assert everything(settings, system) == ({}, [])


# --- served ----------------------------------------------------------------------------------------------------------


def application(settings):
    return Starlette(routes=routes(settings), middleware=middleware(settings))


def test_an_imported_report_is_served_in_the_sandbox_and_as_a_file(settings, system):
    evil = b'<html><head></head><body><script>\nvar metric_1 = {"a": "</script><script>alert(1)"};\n</script></body>'
    run = imported(settings, system, today(), html=evil, name="a vs b")
    with TestClient(application(settings), base_url="http://127.0.0.1:8501") as client:
        page = client.get(f"/reports/frame/{run.id}")
        assert (page.status_code, page.headers["content-security-policy"]) == (200, SANDBOX)
        assert b"</script><script>alert" not in page.content
        file = client.get(f"/reports/file/{run.id}/json")
        assert file.headers["content-disposition"] == 'attachment; filename="drift_a_vs_b.json"'
        assert file.content == json.dumps(today()).encode()
        alone = imported(settings, system, older())
        missing = client.get(f"/reports/view/{alone.id}")
        assert (missing.status_code, missing.headers["content-security-policy"]) == (404, SANDBOX)


def test_progress_of_a_job_that_was_deleted_is_unknown(settings, systems, system):
    run = run_once(settings, system)
    keep.delete(settings, systems, run)
    assert progress.read_progress(settings, run) is None
