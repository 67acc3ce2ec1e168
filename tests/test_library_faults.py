"""The library under a kill, a crowd of readers, fifty megabytes, and whole corpora of hostile text."""

# ruff: noqa: F811 - fixtures are imported, and arguments bear their names

import gzip
import json
import os
import random
import signal
import socket
import threading
import time
import tracemalloc
import urllib.request
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
import uvicorn

from app.errors import AlreadyImported, LedgerError, ReportError, ReportNotFound
from app.runs import keep, reports, rescan, tidy
from app.runs.html import safe_html
from app.runs.index import Ledger
from app.runs.run import Filter, State
from app.runs.tables import storable
from tests.hostile_text import DOCUMENTS, TEXTS
from tests.test_drift_imported import today
from tests.test_library import (  # noqa: F401 - fixtures
    HTML,
    PAIR,
    application,
    everything,
    imported,
    ledger,
    run_once,
    settings,
    system,
    systems,
)


def test_readers_see_a_run_whole_or_not_at_all_while_it_is_deleted(settings, systems, system):
    runs = [run_once(settings, system) for _ in range(20)]
    wrong, ended = [], threading.Event()

    def look():
        while not ended.is_set():
            for run in runs:
                try:
                    folder = reports.find(settings, systems, run)
                    if reports.read_file(folder, f"{PAIR}.html") != HTML:
                        wrong.append("torn")
                except ReportNotFound:
                    pass
                except ReportError as error:
                    # Between two looks at the same file it may go; that is said, and never half a report.
                    if "No such file" not in str(error):
                        wrong.append(error)
                except Exception as error:
                    wrong.append(error)
            [reports.size_of(run) for run in reports.scan(reports.report_dir(settings, system))]

    readers = [threading.Thread(target=look) for _ in range(2)]
    for reader in readers:
        reader.start()
    for run in runs:
        keep.delete(settings, systems, run)
    ended.set()
    for reader in readers:
        reader.join()
    assert wrong == []


def test_killed_at_fifty_moments_a_deletion_leaves_whole_runs_or_none(settings, systems, system, monkeypatch):
    chance = random.Random(4)
    run_once(settings, system)
    for _ in range(50):
        run_once(settings, system)
        child = os.fork()
        if not child:
            try:
                for folder in reports.scan(reports.report_dir(settings, system)):
                    keep.delete(settings, systems, folder.name)
            finally:
                os._exit(0)
        time.sleep(chance.random() * 0.05)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        for folder in reports.scan(reports.report_dir(settings, system)):
            assert reports.read_file(folder, f"{PAIR}.html") == HTML
    tidy.interrupt(settings)
    with Ledger(settings.ledger_url) as ledger:
        rescan.rescan(ledger, settings, systems)
        listed = {folder.name for folder in reports.scan(reports.report_dir(settings, system))}
        assert listed == {run.id for run in ledger.runs(limit=1000) if run.path and Path(run.path).is_dir()}
        for run in ledger.runs(limit=1000):
            keep.delete(settings, systems, run.id)
        assert ledger.count() == 0
    # What a deletion set aside may still be put back for a minute; then it goes.
    tidy.sweep(settings, systems)
    monkeypatch.setattr(reports, "STALE_SECONDS", -1.0)
    tidy.sweep(settings, systems)
    assert not list((settings.home / "runs").iterdir())
    assert not list(reports.report_dir(settings, system).glob("**/.tmp-*"))


def test_killed_at_fifty_moments_no_half_report_is_listed_and_none_is_lost(settings, systems, system):
    chance = random.Random(7)
    saved: set[str] = set()
    for _ in range(50):
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            try:
                while True:
                    os.write(writing, run_once(settings, system).encode() + b"\n")
            finally:
                os._exit(1)
        os.close(writing)
        with os.fdopen(reading, "rb") as said:
            for _ in range(chance.randrange(3)):
                saved.add(said.readline().decode().strip())
            time.sleep(chance.random() * 0.04)
            os.kill(child, signal.SIGKILL)
            assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
            saved |= set(said.read().decode().split())
        tidy.interrupt(settings)
    with Ledger(settings.ledger_url) as ledger:
        before = {run.id for run in ledger.library(Filter(states=(State.DONE,)), limit=1000)}
        rescan.rescan(ledger, settings, systems)
        rows = {run.id: run for run in ledger.runs(limit=1000)}
        whole = {folder.name for folder in reports.scan(reports.report_dir(settings, system))}
        assert saved
        assert saved <= before <= whole
        assert whole == {run.id for run in rows.values() if run.state is State.DONE}
        for run in whole:
            assert (rows[run].share, rows[run].path) == (0.0625, str(reports.find(settings, systems, run)))
            assert reports.read_file(Path(rows[run].path), f"{PAIR}.html") == HTML
        assert {run.state for run in rows.values()} <= {State.DONE, State.INTERRUPTED}
        again = rescan.rescan(ledger, settings, systems)
        # A folder whose owner was killed before its first word stays unreadable: there is nothing to read.
        assert (again.added, again.changed, again.gone) == ((), (), ())


def test_every_hostile_document_is_refused_and_every_hostile_note_is_kept(settings, system, ledger):
    for data in DOCUMENTS.values():
        with pytest.raises(ReportError):
            imported(settings, system, data)
        with pytest.raises(ReportError):
            imported(settings, system, html=data)
    assert everything(settings, system) == ({}, [])
    run = imported(settings, system, today())
    # NUL and halves of surrogate pairs: no database keeps them, so no such note is taken.
    kept = [text for text in TEXTS if storable(text) == text]
    for text in TEXTS:
        with nullcontext() if text in kept else pytest.raises(LedgerError, match="no database keeps"):
            ledger.note(run.id, text)
    found = ledger.notes(run.id)
    assert 0 < len(kept) < len(TEXTS)
    assert [note.text for note in found] == kept
    assert all(abs(note.at - time.time()) < 600 for note in found)
    # Each import looks through all there are: a tenth of them is enough here.
    for text in TEXTS[::10]:
        title = imported(settings, system, html=HTML + repr(text).encode(), name=text).reason
        assert title.isprintable()


def in_a_child(work):
    """What `work` said, or raised, in a process of its own: limits and deaths must not be the test's."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            said = work()
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
        finally:
            os.write(writing, str(said).encode())
            os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading, "rb") as told:
        return told.read().decode()


def test_a_limit_of_the_kernel_on_file_size_keeps_nothing_of_an_import(settings, system, ledger):
    import resource

    def work():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
        return imported(settings, system, html=HTML + b" " * 2_000_000)

    assert "StorageFull: No room left" in in_a_child(work)
    assert everything(settings, system) == ({}, [])
    assert imported(settings, system, html=HTML + b" " * 2_000_000).kind == "imported"


def test_killed_between_report_and_row_an_import_is_found_again(settings, systems, system, ledger):
    def work():
        Ledger.list_kept = lambda _self, _run: os.kill(os.getpid(), signal.SIGKILL)
        return imported(settings, system, today(), html=HTML, name="a vs b")

    assert in_a_child(work) == ""
    assert ledger.count() == 0
    (found,) = rescan.rescan(ledger, settings, systems).added
    run = ledger.get(found)
    assert (run.kind, run.ref, run.cur, run.share, run.counted) == ("imported", "a", "b", 2 / 3, 3)
    with pytest.raises(AlreadyImported, match=found):
        imported(settings, system, today(), html=HTML, name="a vs b")


@contextmanager
def serving(settings):
    """The routes on a real server of this process; its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(application(settings), log_level="error", lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_a_report_of_fifty_megabytes_holds_nobody_up_and_is_held_a_few_times_at_most(settings, system, encoding):
    size = 50_000_000
    block = random.Random(2).randbytes(500_000).hex().encode() + b"\n"
    html = HTML + block * (size // len(block))
    run = imported(settings, system, html=html)
    kept = safe_html(html)
    with serving(settings) as url:
        urllib.request.urlopen(f"{url}/healthz").read()
        tracemalloc.start()
        try:
            asked = urllib.request.Request(f"{url}/reports/file/{run.id}/html", headers={"Accept-Encoding": encoding})
            # Its headers are here and its body waits in the server: nobody else notices.
            with urllib.request.urlopen(asked) as answer:
                for _ in range(3):
                    assert json.load(urllib.request.urlopen(f"{url}/healthz"))["service"] == "vigie"
                small = urllib.request.urlopen(f"{url}/metrics").read()
                assert b"vigie_ledger_up 1.0" in small
                peak = tracemalloc.get_traced_memory()[1]
                body = answer.read()
        finally:
            tracemalloc.stop()
    assert (gzip.decompress(body) if encoding == "gzip" else body) == kept
    assert peak < 3.5 * size


def test_importing_fifty_megabytes_takes_a_few_copies(settings, system):
    size = 50_000_000
    html = HTML + b"<p>row</p>\n" * (size // 11)
    tracemalloc.start()
    try:
        imported(settings, system, html=html, name="big")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3.5 * size
