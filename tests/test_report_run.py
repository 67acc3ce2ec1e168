"""A report as a run: asked for, written, listed, found again, kept, served, deleted; two at once; a full disk."""

from __future__ import annotations

import errno
import io
import itertools
import json
import os
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from app.cli import Exit, main
from app.config import Settings, System, Systems, load_systems
from app.errors import ConfigError, JobError, StorageFull
from app.jobs import run_here
from app.report import monitoring, worker
from app.report.asking import Asking
from app.report.document import Document, Picture, Section, Text
from app.report.record import COMPLETE, GAPS, Kept
from app.report.request import LONGEST, Asked, sentence
from app.routes import middleware, routes
from app.runs import active, keep, reports, rescan
from app.runs.html import SANDBOX
from app.runs.index import Ledger
from app.runs.job import Job
from app.runs.kinds import REPORT
from app.runs.opening import opened
from app.runs.progress import read_progress
from app.runs.result import read_result
from app.runs.run import Run, State, created_at
from app.words.language import FRENCH, speaking
from app.words.message import Message

NOW = time.time()
ARGS = {"report": "monitoring", "since": int(NOW) - 3600, "until": int(NOW), "lang": "en"}
SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"></svg>'


def environ(tmp_path: Path) -> dict[str, str]:
    """A home of its own, and no stack: Prometheus is away."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return kept | {"VIGIE_HOME": str(tmp_path / "home"), "REPORT_DIR": str(tmp_path / "reports"), "HOME": str(tmp_path)}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_env(environ(tmp_path))


@pytest.fixture
def systems(settings: Settings) -> Systems:
    return load_systems(settings)


@pytest.fixture
def system(systems: Systems) -> System:
    return systems.by_id["streamflow"]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report of one sentence and one picture in place of the real one, which asks every source."""

    def document(asking: Asking) -> Document:
        asking.step("one part")
        blocks = [Text(f"until {asking.until}"), Picture("one", SVG, "t,v\r\n", "One.")]
        return Document("monitoring", "A report", [], [Section("Part", blocks)], "en")

    monkeypatch.setattr(monitoring, "document", document)


@pytest.fixture
def in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run ids in the order of their making, also within one second."""
    numbers = itertools.count()
    monkeypatch.setattr(active, "new_run_id", lambda: f"20260229T140532Z-{next(numbers):06x}")


def written(settings: Settings, system: str = "streamflow", **changes: Any) -> Run:
    """A report as a job writes it, without a process of its own."""
    asked = Asked.of(ARGS | changes, NOW)
    run = active.ActiveRun(settings, active.Request(REPORT, system, asked.key(system), asked.args))
    run.running("starting")
    try:
        ending = worker.run(Job(run.id, REPORT, system, asked.key(system), asked.args, settings))
    except BaseException as error:
        run.end(active.Ending(State.FAILED, reason=str(error)))
        raise
    run.end(ending)
    with opened(settings) as ledger:
        row = ledger.get(run.id)
    assert row is not None
    return row


def flat(settings: Settings, system: System) -> list[str]:
    return sorted(path.name for path in reports.report_dir(settings, system).iterdir() if path.is_file())


# --- what may be asked ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"report": "other"},
        {"lang": "xx"},
        {"since": ARGS["until"]},
        {"since": "yesterday"},
        {"until": NOW + 1e6},
        {"since": float("nan")},
        {"since": -5},
        {"since": ARGS["until"] - LONGEST - 1},
    ],
)
def test_what_is_no_report_is_refused_with_the_next_step(wrong):
    with pytest.raises(JobError) as caught:
        Asked.of(ARGS | wrong, NOW)
    assert caught.value.message


def test_equal_reports_have_one_key_and_it_names_no_months():
    one = Asked.of(ARGS, NOW)
    assert Asked.of(one.args, NOW) == one
    assert one.key("s") == f"report:s:monitoring:{ARGS['since']}:{ARGS['until']}:en"
    assert Run("r", REPORT, "s", one.key("s")).months == ("", "")
    assert Asked.of(ARGS | {"lang": "fr"}, NOW).key("s") != one.key("s")


def test_the_sentence_on_a_report_is_said_in_the_language_of_its_reader():
    text = sentence("monitoring", 1.79e9, 1.79e9 + 3600, 2)
    assert text == "monitoring report, 2026-09-21 14:13 to 15:13 UTC: 2 parts have no data"
    with speaking(FRENCH):
        assert text.anew() == "rapport de monitoring, de 2026-09-21 14:13 à 15:13 UTC\u202f: 2 parties sans données"
    assert sentence("lab", 0, 2e5, 0) == "lab report, 1970-01-01 00:00 to 1970-01-03 07:33 UTC: nothing is missing"


# --- the run ----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("small")
def test_a_report_is_saved_published_and_listed(settings, systems, system):
    run = written(settings)
    assert (run.kind, run.state, run.outcome) == (REPORT, State.DONE, COMPLETE)
    assert isinstance(run.reason, Message)
    assert (run.source_kind, run.bytes) == ("api", reports.size_of(Path(run.path)))
    names = ["monitoring-one.csv", "monitoring-one.svg", "monitoring.html", "monitoring.md", "monitoring.zip"]
    assert flat(settings, system) == names
    folder = reports.find(settings, systems, run.id)
    assert sorted(reports.read_meta(folder).files) == [*names, "result.json"]
    kept = read_result(run, Kept)
    assert (kept.asked, kept.system, kept.title, kept.gaps) == (Asked.of(ARGS, NOW), "streamflow", "A report", ())
    assert json.loads(reports.read_file(folder, "result.json"))["run"] == run.id
    progress = read_progress(settings, run.id)
    assert progress is not None
    assert progress.final


@pytest.mark.usefixtures("small")
def test_a_lost_index_is_filled_with_the_reports_again(settings, systems):
    run = written(settings)
    (settings.home / "runs").rename(settings.home / "elsewhere")  # without its progress, as in another home
    (settings.home / "ledger.db").unlink()
    with opened(settings) as ledger:
        rescan.rescan(ledger, settings, systems)
        again = ledger.get(run.id)
    assert again is not None
    same = ("kind", "system", "key", "state", "outcome", "reason", "path", "bytes", "source_kind", "source_id")
    assert [getattr(again, name) for name in same] == [getattr(run, name) for name in same]
    assert again.created == created_at(run.id)


@pytest.mark.usefixtures("small")
def test_a_report_that_was_whole_when_its_worker_died_is_done(settings):
    run = written(settings)
    request = active.Request(REPORT, "streamflow", "k", ARGS)
    dead = active.ActiveRun(settings, request)
    assert dead.left("the worker ended") is None
    dead.id, own = run.id, dead.id
    ending = dead.left("the worker ended")
    assert ending is not None
    assert (ending.state, ending.outcome, ending.path) == (State.DONE, COMPLETE, Path(run.path))
    dead.id = own
    dead.end(active.Ending(State.CANCELLED))


@pytest.mark.usefixtures("small", "in_order")
def test_deletion_leaves_what_the_newest_report_that_remains_had_published(settings, systems, system):
    first, second = written(settings), written(settings, since=ARGS["since"] - 60, until=ARGS["until"] - 60)
    page = reports.report_dir(settings, system) / "monitoring.md"
    assert f"until {ARGS['until'] - 60}" in page.read_text()
    keep.delete(settings, systems, second.id)
    assert f"until {ARGS['until']}" in page.read_text()
    keep.delete(settings, systems, first.id)
    assert flat(settings, system) == []
    with opened(settings) as ledger:
        assert ledger.runs() == []


@pytest.mark.usefixtures("small", "in_order")
def test_retention_takes_old_reports_and_spares_the_newest_of_each(settings, monkeypatch):
    lab = worker.MODULES | {"lab": worker.MODULES["monitoring"]}
    monkeypatch.setattr(worker, "MODULES", lab)
    old = written(settings)
    spared = [written(settings, report="lab"), written(settings, lang="fr")]
    last = written(settings, "diabetes")
    assert keep.retain(replace(settings, keep_bytes=1), load_systems(settings)) == [old.id]
    with opened(settings) as ledger:
        row = ledger.get(old.id)
        assert row is not None
        assert row.gone
        assert row.reason == old.reason
        assert all((kept := ledger.get(run.id)) and not kept.gone for run in [*spared, last])


@pytest.mark.usefixtures("small")
def test_a_report_of_a_system_that_is_gone_is_listed_and_deleted_and_no_further_one_is_written(
    tmp_path, settings, system
):
    (tmp_path / "mine").mkdir()
    file = tmp_path / "mine" / "mine.toml"
    file.write_text('title = "Mine"\n')
    with_it = Settings.from_env(environ(tmp_path) | {"VIGIE_SYSTEMS": str(tmp_path / "mine")})
    run = written(with_it, "mine")
    file.unlink()
    with opened(with_it) as ledger:
        rescan.rescan(ledger, with_it, load_systems(with_it))
        (listed,) = ledger.runs(kind=REPORT)
    assert (listed.id, listed.outcome) == (run.id, COMPLETE)
    assert read_result(listed, Kept).title == "A report"
    with pytest.raises(ConfigError, match="no system called 'mine'"):
        written(with_it, "mine")
    keep.delete(with_it, load_systems(with_it), run.id)
    assert not Path(run.path).exists()


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("step", [0, 5, 8, 12])
def test_a_full_disk_leaves_nothing_half(settings, system, monkeypatch, step):
    written(settings)
    job = Job("20260229T140532Z-1a2b3c", REPORT, "streamflow", "k", ARGS, settings)
    job.directory.mkdir()
    directory = reports.report_dir(settings, system)
    before = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    calls, real = iter(range(100)), os.fsync

    def full(handle: int) -> None:
        if next(calls) == step:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    monkeypatch.setattr(worker.reports.os, "fsync", full)
    with pytest.raises(StorageFull, match="No room left"):
        worker.run(job)
    monkeypatch.undo()
    assert {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()} == before


def test_two_at_once_of_one_key_are_one_run_and_of_two_keys_are_two(settings, system):
    """Real processes, with Prometheus away: each is whole, and what is published is one of them entirely."""
    asked = [Asked.of(ARGS, NOW), Asked.of(ARGS, NOW), Asked.of(ARGS | {"lang": "fr"}, NOW)]
    runs: list[Run] = []

    def write(one: Asked) -> None:
        runs.append(run_here(settings, REPORT, "streamflow", one.key("streamflow"), one.args))

    threads = [threading.Thread(target=write, args=(one,)) for one in asked]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {run.state for run in runs} == {State.DONE}
    assert {run.outcome for run in runs} == {GAPS}
    assert len({run.id for run in runs}) == len({run.key for run in runs}) == 2
    directory = reports.report_dir(settings, system)
    for name in ("monitoring.md", "monitoring.html", "monitoring.zip"):
        assert (directory / name).read_bytes() in [reports.read_file(Path(run.path), name) for run in runs]
    assert not list(directory.rglob(".tmp*"))


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_prints_what_was_published_and_says_what_is_missing(tmp_path, capsys):
    code = main(["report", "monitoring", "--system", "streamflow", "--from", "2h", "--lang", "fr"], environ(tmp_path))
    out, err = capsys.readouterr()
    assert code == Exit.DONE
    paths = [Path(line) for line in out.splitlines()]
    assert [path.name for path in paths] == ["monitoring.html", "monitoring.md", "monitoring.zip"]
    assert '<html lang="fr">' in paths[0].read_text()
    assert "python -m stack up" in err
    code = main(["report", "lab", "--system", "streamflow", "--json"], environ(tmp_path))
    answer = json.loads(capsys.readouterr().out)
    assert code == Exit.DONE
    assert answer["outcome"] == GAPS
    assert all(set(gap) == {"why", "step"} and all(gap.values()) for gap in answer["gaps"])
    with zipfile.ZipFile(
        io.BytesIO(next(Path(one).read_bytes() for one in answer["files"] if one.endswith("zip")))
    ) as z:
        assert "SHA256SUMS" in z.namelist()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--system", "streamflow", "--from", "now"), Exit.USAGE, "earlier moment"),
        (("--system", "streamflow", "--from", "400d"), Exit.USAGE, "31 d at most"),
        (("--system", "streamflow", "--to", "someday"), Exit.USAGE, "not a moment"),
        (("--system", "nosuch"), Exit.ERROR, "no system called"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_written(tmp_path, capsys, arguments, code, words):
    assert main(["report", "monitoring", *arguments], environ(tmp_path)) == code
    assert words in capsys.readouterr().err
    assert not (tmp_path / "reports").exists()


# --- the routes -------------------------------------------------------------------------------------------------------


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    with TestClient(
        Starlette(routes=routes(settings), middleware=middleware(settings)), base_url="http://127.0.0.1:8501"
    ) as made:
        yield made


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("kind", "media"),
    [
        ("html", "text/html; charset=utf-8"),
        ("md", "text/markdown; charset=utf-8"),
        ("zip", "application/zip"),
    ],
)
def test_each_file_is_a_download_of_its_own_kind(settings, client, kind, media):
    run = written(settings)
    answer = client.get(f"/reports/file/{run.id}/{kind}")
    assert answer.status_code == 200
    assert answer.content == reports.read_file(Path(run.path), f"monitoring.{kind}")
    assert answer.headers["content-type"] == media
    assert answer.headers["content-disposition"] == f'attachment; filename="monitoring.{kind}"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"] == SANDBOX
    assert answer.headers["content-encoding"] == "identity"  # small, or packed already


@pytest.mark.usefixtures("small")
def test_the_page_round_a_report_names_it_and_gives_its_files_and_no_others(settings, client):
    run = written(settings)
    page = client.get(f"/reports/view/{run.id}").text
    assert "StreamFlow churn · report" in page
    assert "nothing is missing" in page
    for kind in ("html", "md", "zip"):
        assert f'href="../file/{run.id}/{kind}"' in page
    assert f"../file/{run.id}/json" not in page
    for kind in ("json", "svg", "csv", "exe", "../html"):
        assert client.get(f"/reports/file/{run.id}/{kind}").status_code == 404
    assert client.get(f"/reports/frame/{run.id}").headers["content-security-policy"] == SANDBOX


def test_a_result_that_is_none_says_so_and_the_row_stays(settings, systems, system):
    files = {"monitoring.html": b"<p>", "result.json": b'{"gaps": [Gap]}'}
    reports.save(reports.report_dir(settings, system), "20260229T140532Z-1a2b3c", REPORT, files, ())
    with Ledger(settings.ledger_url) as ledger:
        rescan.rescan(ledger, settings, systems)
        (row,) = ledger.runs(kind=REPORT)
    assert "result.json of this report cannot be read" in row.reason
