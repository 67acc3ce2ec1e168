"""Report directories: whole or absent, by id, safe to embed, bounded."""

import errno
import gzip
import hashlib
import json
import os
import random
import re
import signal
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.config import Systems
from app.errors import ReportError, ReportNotFound, StorageFull
from app.runs import html, keep, reports
from app.runs.run import RUN_ID, new_run_id
from tests.drift_frames import settings, system

RUN = "20240229T140532Z-1a2b3c"
FILES = {"drift_a_vs_b.html": b"<html>", "drift_a_vs_b.json": b"{}", "result.json": b"{}"}
PUBLISHED = ["drift_a_vs_b.html", "drift_a_vs_b.json"]


def run_id(index=0):
    return f"20240229T14{index // 60:02d}{index % 60:02d}Z-{index:06x}"


def save(folder, run=RUN, files=FILES, publish=PUBLISHED):
    return reports.save(folder, run, "drift", files, publish)


def everything(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_run_ids_have_the_form_of_the_contract_and_differ():
    moment = datetime(2024, 2, 29, 14, 5, 32, tzinfo=UTC)
    assert new_run_id(moment).startswith("20240229T140532Z-")
    found = {new_run_id() for _ in range(50)}
    assert len(found) == 50
    assert all(RUN_ID.fullmatch(one) for one in found)


def test_a_saved_run_has_its_files_their_hashes_and_the_flat_copies(tmp_path):
    path = save(tmp_path)
    assert path == tmp_path / "runs" / RUN
    assert json.loads((path / "meta.json").read_bytes()) == {
        "version": 1,
        "run": RUN,
        "kind": "drift",
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()},
    }
    assert {name: (tmp_path / name).read_bytes() for name in PUBLISHED} == {name: FILES[name] for name in PUBLISHED}
    assert len(everything(tmp_path)) == 6
    assert reports.read_file(path, "result.json") == b"{}"


def test_a_file_may_be_given_as_a_path(tmp_path):
    (tmp_path / "big").write_bytes(b"x" * 3_000_000)
    path = save(tmp_path / "reports", files={"big.json": tmp_path / "big"}, publish=[])
    assert reports.read_file(path, "big.json") == b"x" * 3_000_000


def test_the_newest_run_of_a_pair_is_the_one_published(tmp_path):
    save(tmp_path, run_id(1))
    save(tmp_path, run_id(2), FILES | {"drift_a_vs_b.html": b"newer"})
    assert (tmp_path / "drift_a_vs_b.html").read_bytes() == b"newer"
    assert [path.name for path in reports.scan(tmp_path)] == [run_id(1), run_id(2)]


def test_a_run_is_written_once(tmp_path):
    save(tmp_path)
    with pytest.raises(ReportError, match="already saved"):
        save(tmp_path, files=FILES | {"result.json": b"other"})
    assert reports.read_file(tmp_path / "runs" / RUN, "result.json") == b"{}"


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "meta.json", "x" * 300, "a\nb", "é.html"])
def test_names_that_lead_elsewhere_are_refused(tmp_path, name):
    with pytest.raises(ReportError):
        save(tmp_path, files={name: b""}, publish=[])
    assert everything(tmp_path) == []


@pytest.mark.parametrize("bad", ["../../etc/passwd", "", "x", RUN + "/..", RUN.lower(), RUN + "\n", "%2e%2e", "\x00"])
def test_an_id_that_is_none_finds_nothing(tmp_path, bad):
    one = settings(tmp_path)
    with pytest.raises(ReportNotFound):
        reports.find(one, Systems({"mine": system(tmp_path)}, ()), bad)
    with pytest.raises(ReportError):
        save(tmp_path, bad)


def test_a_run_is_found_by_its_id(tmp_path):
    one, mine = settings(tmp_path), system(tmp_path)
    save(reports.report_dir(one, mine))
    systems = Systems({"other": system(tmp_path, system_id="other"), "mine": mine}, ())
    assert reports.find(one, systems, RUN).name == RUN
    with pytest.raises(ReportNotFound, match=run_id(7)):
        reports.find(one, systems, run_id(7))


# --- where ------------------------------------------------------------------------------------------------------------


def drift(tmp_path, **more):
    return {"source": "files", "path": f"{tmp_path}/{{period}}.csv", **more}


@pytest.mark.parametrize(
    ("environ", "folder", "shown"),
    [
        ({}, None, "reports/mine/x.html"),
        ({}, "evidently", "reports/evidently/x.html"),
        ({"REPORT_DIR": "out/here/"}, "evidently", "out/here/x.html"),
        ({"REPORT_DIR": "/reports/evidently"}, "evidently", "/reports/evidently/x.html"),
        ({"REPORT_DIR": "out"}, None, "out/mine/x.html"),
    ],
)
def test_the_report_directory_is_shown_as_it_was_given(tmp_path, environ, folder, shown):
    one = settings(tmp_path, **environ)
    mine = system(tmp_path, drift(tmp_path, **({"reports": folder} if folder else {})))
    assert reports.shown_path(one, mine, "x.html") == shown
    assert reports.report_dir(one, mine) == one.root / Path(shown).parent


# --- faults -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("step", range(9))
def test_a_full_or_read_only_disk_at_any_step_leaves_nothing_behind(tmp_path, monkeypatch, number, step):
    save(tmp_path, run_id(1))
    before = everything(tmp_path)
    calls = iter(range(100))
    real = os.fsync

    def fails(handle):
        if next(calls) == step:
            raise OSError(number, os.strerror(number))
        real(handle)

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(StorageFull) as caught:
        save(tmp_path, run_id(2), FILES | {"drift_a_vs_b.html": b"newer"})
    monkeypatch.undo()
    assert caught.value.hint
    left = [path.name for path in reports.scan(tmp_path)]
    if step < 7:
        # Files, flat copies, meta.json, the folder: before the run exists.
        assert everything(tmp_path) == before
    else:
        # The run was renamed into place before the directory could be synced: it is there, whole.
        assert left == [run_id(1), run_id(2)]
        assert not [name for name in everything(tmp_path) if ".tmp" in name]


def test_a_limit_of_the_kernel_on_file_size_is_no_room(tmp_path):
    import resource

    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        # The parent process must keep its own limits.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
        try:
            save(tmp_path, files={"big.json": b"x" * 2_000_000}, publish=["big.json"])
            os.write(writing, b"saved")
        except StorageFull as error:
            os.write(writing, str(error).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    assert b"No room left" in os.read(reading, 1000)
    os.close(reading)
    assert everything(tmp_path) == []


def test_a_directory_that_is_a_file_is_said(tmp_path):
    (tmp_path / "reports").write_text("")
    with pytest.raises(ReportError):
        save(tmp_path / "reports")


@pytest.mark.slow
def test_killed_at_fifty_moments_no_half_run_is_listed_and_no_whole_one_lost(tmp_path):
    chance = random.Random(4)
    files = {name: bytes(200_000) for name in FILES}
    for attempt in range(50):
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            for index in range(1000):
                save(tmp_path, run_id(attempt * 60 + index % 60), files)
                os.write(writing, b".")
            os._exit(0)
        os.close(writing)
        time.sleep(chance.random() * 0.03)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        said = len(os.read(reading, 5000))
        os.close(reading)
        mine = [path for path in reports.scan(tmp_path) if int(path.name[-6:], 16) // 60 == attempt]
        assert said <= len(mine) <= said + 1
        for path in mine:
            assert reports.read_file(path, "result.json") == files["result.json"]
    reports.sweep(tmp_path)
    assert not [name for name in everything(tmp_path) if ".tmp" in name]


def test_a_sweep_takes_what_dead_writers_left_and_nothing_else(tmp_path):
    whole = save(tmp_path / "reports", run_id(9))
    folder, runs = tmp_path / "reports", tmp_path / "reports" / "runs"
    outside = tmp_path / "outside"
    outside.mkdir()
    held = reports._made_and_held(runs / f".tmp-{run_id(1)}-1")
    (runs / f".tmp-{run_id(2)}-{os.getpid()}").mkdir()
    for name in ("runs/.tmp-gone-young-abcd", f"runs/.tmp-gone-{run_id(3)}-abcd", "runs/.tmpdir", "runs/notes"):
        (folder / name).mkdir()
    names = [f".tmp-{run_id(1)}-a.html", f".tmp-{run_id(2)}-a.html", f".tmp-{run_id(9)}-a.html", ".tmp-mine", "notes"]
    for name in (*names, f"runs/{whole.name}/.tmp-a.html.gz"):
        (folder / name).write_text("x")
    (runs / f".tmp-gone-{run_id(4)}-link").symlink_to(outside)
    for name in (f"runs/.tmp-gone-{run_id(3)}-abcd", "runs/.tmpdir", ".tmp-mine", f"runs/{whole.name}/.tmp-a.html.gz"):
        os.utime(folder / name, (0, 0))
    os.utime(runs / f".tmp-gone-{run_id(4)}-link", (0, 0), follow_symlinks=False)
    gone = {str(path.relative_to(folder)) for path in reports.sweep(folder)}
    assert gone == {
        f"runs/.tmp-{run_id(2)}-{os.getpid()}",
        f"runs/.tmp-gone-{run_id(3)}-abcd",
        f"runs/.tmp-gone-{run_id(4)}-link",
        f"runs/{whole.name}/.tmp-a.html.gz",
        f".tmp-{run_id(2)}-a.html",
        f".tmp-{run_id(9)}-a.html",
    }
    assert outside.is_dir()
    assert not any((folder / name).is_symlink() or (folder / name).exists() for name in gone)
    # Its writer ends, however it ends: what it left goes with the next look.
    os.close(held)
    gone = {path.name for path in reports.sweep(folder)}
    assert gone == {f".tmp-{run_id(1)}-1", f".tmp-{run_id(1)}-a.html"}
    assert reports.read_meta(whole).run == run_id(9)
    assert reports.sweep(tmp_path / "nowhere") == []


@pytest.mark.parametrize(
    "meta",
    [
        b"",
        b"{",
        b"[]",
        b'{"version": 1}',
        b'{"version": 2, "run": "' + RUN.encode() + b'", "kind": "drift", "files": {}}',
        b'{"version": 1, "run": "20240229T140532Z-ffffff", "kind": "drift", "files": {}}',
        b'{"version": 1, "run": "' + RUN.encode() + b'", "kind": "party", "files": {}}',
        b'{"version": 1, "run": "' + RUN.encode() + b'", "kind": "drift", "files": {"../../../etc/passwd": "0"}}',
        b'{"version": 1, "run": "' + RUN.encode() + b'", "kind": "drift", "files": {"gone.html": "0"}}',
        b"[" * 9000,
    ],
)
def test_a_folder_without_a_valid_meta_is_no_run(tmp_path, meta):
    folder = tmp_path / "runs" / RUN
    folder.mkdir(parents=True)
    (folder / "meta.json").write_bytes(meta)
    (tmp_path / "runs" / "evidently").mkdir()
    assert reports.scan(tmp_path) == []
    with pytest.raises(ReportNotFound):
        reports.read_meta(folder)


def test_a_file_that_was_changed_afterwards_is_not_served(tmp_path):
    path = save(tmp_path)
    (path / "result.json").write_bytes(b'{"decision": "NO_ACTION"}')
    with pytest.raises(ReportError, match="changed after it was saved"):
        reports.read_file(path, "result.json")


def test_only_files_of_the_run_are_read(tmp_path):
    path = save(tmp_path)
    (path / "extra.txt").write_text("x")
    for name in ("extra.txt", "../../drift_a_vs_b.html", "meta.json", ""):
        with pytest.raises(ReportNotFound):
            reports.read_file(path, name)


# --- HTML -------------------------------------------------------------------------------------------------------------

HOSTILE = "</script><script>document.title='x'</script><!--<script>-->\u2028"


def page(data):
    return f"<head>\n<script>\n    var metric_1f = {json.dumps(data, ensure_ascii=False)};\n    var additional_graphs_metric_1f = {{}};\n</script></head><script>let a = 1 < 2; x={{}}</script>"


def test_the_data_lines_hold_no_markup_and_mean_the_same():
    safe = html.safe_html(page({"value": HOSTILE}).encode()).decode()
    line = next(text for text in safe.splitlines() if "metric_1f = {" in text)
    assert not set("<>\u2028") & set(line.partition("=")[2])
    assert json.loads(line.partition("=")[2].rstrip().rstrip(";")) == {"value": HOSTILE}


def test_the_rest_of_the_page_is_left_alone():
    before, after = page({}).encode().splitlines(), html.safe_html(page({}).encode()).splitlines()
    assert before == after


# --- retention --------------------------------------------------------------------------------------------------------


def seen_then(monkeypatch, happens):
    """Let something happen once to a run's folder, between the look for a file and its reading."""
    read = reports.read

    def late(path, most):
        if path.name != reports.META:
            monkeypatch.setattr(reports, "read", read)
            happens(path.parent)
        return read(path, most)

    monkeypatch.setattr(reports, "read", late)


def test_html_that_is_packed_at_the_moment_of_reading_is_read(tmp_path, monkeypatch):
    path = save(tmp_path)
    seen_then(monkeypatch, keep._pack)
    assert reports.read_file(path, "drift_a_vs_b.html") == b"<html>"
    assert not (path / "drift_a_vs_b.html").exists()


def test_a_run_that_is_deleted_at_the_moment_of_reading_is_not_found(tmp_path, monkeypatch):
    path = save(tmp_path)
    seen_then(monkeypatch, keep.set_aside)
    with pytest.raises(ReportNotFound):
        reports.read_file(path, "drift_a_vs_b.html")


def test_old_html_is_packed_and_still_read(tmp_path):
    for index in range(keep.PLAIN_RUNS + 3):
        save(tmp_path, run_id(index), {"drift.html": b"<html>" * 1000}, [])
    assert keep.prune([tmp_path], 10**9).gone == ()
    first, last = reports.scan(tmp_path)[0], reports.scan(tmp_path)[-1]
    assert not (first / "drift.html").exists()
    assert gzip.decompress((first / "drift.html.gz").read_bytes()) == b"<html>" * 1000
    assert reports.read_file(first, "drift.html") == b"<html>" * 1000
    assert (last / "drift.html").exists()


def test_the_oldest_runs_go_first_acknowledged_ones_last_and_the_spared_stay(tmp_path):
    for index in range(5):
        save(tmp_path, run_id(index), {"drift.json": b"x" * 10_000}, [])
    assert keep.prune([tmp_path], 35_000, acknowledged={run_id(0)}).gone == (run_id(1), run_id(2))
    assert [path.name for path in reports.scan(tmp_path)] == [run_id(0), run_id(3), run_id(4)]
    spared = keep.prune([tmp_path], 0, acknowledged={run_id(0)}, may_go=lambda run: run != run_id(3))
    assert spared.gone == (run_id(0),)
    assert [path.name for path in reports.scan(tmp_path)] == [run_id(3), run_id(4)]
    # The newest may have been written a moment ago.
    assert keep.prune([tmp_path], 0).gone == (run_id(3),)
    assert [path.name for path in reports.scan(tmp_path)] == [run_id(4)]
    assert sum(reports.size_of(run) for run in reports.scan(tmp_path)) > 10_000


# Tags that the browser would read as frames, in whatever the text round them seems to be; what a report needs stays.
FRAMES = [
    (b"<p><iframe srcdoc='x'></iframe>", b"<p><x-iframe srcdoc='x'></iframe>"),
    (b"<IFRAME/src=x>", b"<x-IFRAME/src=x>"),
    (b"<iframe\nsrc=x>", b"<x-iframe\nsrc=x>"),
    (b"<script>a = '<iframe>'</script>", b"<script>a = '<x-iframe>'</script>"),
    (b"<!-- <object data=x> -->", b"<!-- <x-object data=x> -->"),
    (b"<frameset><frame src=x>", b"<x-frameset><basefont src=x>"),
    (b"<embed src=x>", b"<basefont src=x>"),
    (b"<link rel=dns-prefetch href=//x>", b"<basefont rel=dns-prefetch href=//x>"),
    (b"<base href=x>", b"<basefont href=x>"),
    (b"<meta http-equiv=refresh content=0>", b"<basefont http-equiv=refresh content=0>"),
    (b'<meta charset="UTF-8" http-equiv=refresh>', b'<basefont charset="UTF-8" http-equiv=refresh>'),
    (b'<meta charset="UTF-8">', b'<meta charset="UTF-8">'),
    (b'<meta name="viewport" content="width=device-width, initial-scale=1.0">',) * 2,
    (b"<p>a <metal> <basement> <framework> <linked> i<frames</p>",) * 2,
    (b"<fencedframe><portal><applet><webview>", b"<x-fencedframe><x-portal><x-applet><x-webview>"),
    (b"<iframe", b"<x-iframe"),
]


@pytest.mark.parametrize(("markup", "safe"), FRAMES)
def test_no_element_of_a_saved_report_opens_a_frame_or_looks_up_a_name(markup, safe):
    assert html.safe_html(markup) == safe
    assert html.safe_html(safe) == safe
    assert html.guarded(markup).endswith(b"\n" + safe)


def test_the_guard_in_the_browser_refuses_the_elements_that_are_taken_out_of_markup():
    script = (Path(html.__file__).parent / "report_guard.js").read_text()
    names = json.loads("[" + re.search(r"const NAMES = \[(.*?)\];", script, re.DOTALL)[1] + "]")
    for name in names:
        assert f"<{name} ".encode() not in html.safe_html(f"<{name} x>".encode()), name
    assert {markup for markup in names} >= {"iframe", "frame", "object", "embed", "link", "meta", "base"}
