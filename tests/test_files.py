"""Files that somebody else may have put there, and the rights of our own."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from app.base import files
from app.config import Settings, load_system, load_systems
from app.egress import credentials
from app.errors import ConfigError, DataError, ReportError, SourceUnavailable, VigieError
from app.jobs import place
from app.load import result as load_result
from app.periods import tables
from app.periods.coverage import Budget, count
from app.runs import progress, reports
from app.runs.index import Ledger
from app.runs.kinds import LOAD
from app.runs.result import RESULT, read_result_in
from app.services import read_state
from tests.test_egress import source

RUN = "20240229T140532Z-1a2b3c"


@pytest.fixture
def settings(tmp_path) -> Settings:
    (tmp_path / "systems").mkdir()
    environ = {"VIGIE_HOME": str(tmp_path / "home"), "HOME": str(tmp_path), "VIGIE_SYSTEMS": str(tmp_path / "systems")}
    return Settings.from_env({**environ, "REPORT_DIR": str(tmp_path / "reports")})


def pipe(path: Path) -> None:
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.mkdir()


def unix_socket(path: Path) -> None:
    before = Path.cwd()
    os.chdir(path.parent)  # the address of a socket holds a hundred bytes
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(before)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(3_000_000_000)


def circle(path: Path) -> None:
    path.symlink_to(path)


def deep(path: Path) -> None:
    path.write_bytes(b"[" * 100_000)


SHAPES = (pipe, folder, unix_socket, device, huge, circle)


def promptly(call):
    """What `call` gives or raises; a reader that waits for a pipe fails the test in place of hanging it."""
    outcome = []

    def run():
        try:
            outcome.append(call())
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(30)
    assert outcome, "it still reads"
    return outcome[0]


@pytest.mark.parametrize("make", SHAPES)
def test_what_is_no_file_of_a_reasonable_size_is_an_error_with_its_reason(tmp_path, make):
    make(tmp_path / "x")
    error = promptly(lambda: files.read(tmp_path / "x", 1000))
    assert isinstance(error, OSError)
    assert error.strerror


def test_a_file_is_read_whole_up_to_its_limit(tmp_path):
    (tmp_path / "x").write_bytes(b"12345")
    assert files.read(tmp_path / "x", 5) == b"12345"
    with pytest.raises(OSError, match="more than 4 bytes"):
        files.read(tmp_path / "x", 4)


@pytest.mark.parametrize("make", SHAPES)
def test_a_system_file_that_is_none_is_named_and_hides_no_other(settings, make):
    path = settings.systems_dirs[2] / "odd.toml"
    make(path)
    error = promptly(lambda: load_system(path, settings))
    assert isinstance(error, ConfigError)
    assert "odd.toml: cannot be read" in str(error)
    systems = promptly(lambda: load_systems(settings))
    assert {"streamflow", "diabetes", "f1pa"} <= set(systems.by_id)
    assert ["odd.toml" in str(one) for one in systems.broken] == [True]


@pytest.mark.parametrize("make", [*SHAPES, deep])
def test_state_files_that_are_none_are_a_reason_and_never_a_hang(settings, tmp_path, make):
    folder = settings.home / "runs" / RUN
    for path in (settings.home / "stack" / "state.json", settings.home / "jobs.json", folder / progress.NAME):
        path.parent.mkdir(parents=True, exist_ok=True)
        make(path)
    assert "cannot be read" in promptly(lambda: read_state(settings)).reason
    assert promptly(lambda: place.read_note(settings)) is None
    assert promptly(lambda: progress.load(folder)) is None
    make(folder / RESULT)
    assert isinstance(promptly(lambda: read_result_in(folder, LOAD, load_result.Result)), ReportError)
    run = tmp_path / "reports" / "runs" / RUN
    run.mkdir(parents=True)
    make(run / "meta.json")
    assert isinstance(promptly(lambda: reports.read_meta(run)), ReportError)


@pytest.mark.parametrize("make", SHAPES)
def test_a_saved_file_of_a_run_that_was_replaced_is_said(settings, make):
    system = load_systems(settings).by_id["streamflow"]
    run = reports.save(reports.report_dir(settings, system), RUN, "drift", {"a.json": b"{}"}, ())
    (run / "a.json").unlink()
    make(run / "a.json")
    assert isinstance(promptly(lambda: reports.read_file(run, "a.json")), ReportError)


@pytest.mark.parametrize("make", SHAPES)
def test_a_secret_in_what_is_no_file_is_said(tmp_path, make):
    make(tmp_path / "secret")
    keys = source(secret=f"file:{tmp_path / 'secret'}")
    assert isinstance(promptly(lambda: credentials(keys, {}, tmp_path, where="x")), ConfigError)
    (tmp_path / ".streamlit").mkdir()
    make(tmp_path / ".streamlit" / "secrets.toml")
    assert isinstance(promptly(lambda: credentials(source(secret="NAME"), {}, tmp_path, where="x")), ConfigError)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize("make", [pipe, folder, unix_socket, device])
def test_a_table_that_is_no_file_is_said(tmp_path, ending, make):
    path = tmp_path / f"month.{ending}"
    make(path)
    assert isinstance(promptly(lambda: tables.read(path)), SourceUnavailable | DataError)
    assert isinstance(promptly(lambda: tables.columns_of(path)), SourceUnavailable | DataError)
    assert promptly(lambda: count(path, "label", Budget(1_000_000))).rows is None


def test_a_database_file_that_is_a_pipe_is_not_waited_for(settings, tmp_path):
    pipe(tmp_path / "months.db")
    text = f'title = "X"\n[drift]\nsource = "sql"\nquery = "q"\nperiods = "p"\ndatabase = "sqlite:///{tmp_path}/months.db"\n'
    (settings.systems_dirs[2] / "x.toml").write_text(text)
    from app.periods import list_periods

    error = promptly(lambda: list_periods(settings, load_systems(settings).by_id["x"]))
    assert isinstance(error, VigieError)
    assert "no regular file" in str(error)


# --- rights -----------------------------------------------------------------------------------------------------------


def rights(path: Path) -> str:
    return oct(stat.S_IMODE(path.stat().st_mode))


@pytest.fixture
def open_handed():
    before = os.umask(0o000)
    yield
    os.umask(before)


def test_a_home_is_made_for_its_owner_alone_whoever_makes_it_first(settings, open_handed):
    place.take_host_lock(settings).release()
    assert rights(settings.home) == "0o700"
    with Ledger(settings.ledger_url):
        assert {rights(path) for path in settings.home.glob("ledger.db*")} == {"0o600"}


def test_a_home_that_stood_open_is_closed_with_what_lies_in_it(settings, tmp_path, open_handed):
    (settings.home / "runs" / RUN).mkdir(parents=True)
    (settings.home / "ledger.db").touch()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (settings.home / "link").symlink_to(elsewhere)
    files.private_folder(settings.home)
    assert [rights(settings.home / name) for name in (".", "runs", "ledger.db")] == ["0o700", "0o700", "0o600"]
    assert rights(elsewhere) == "0o777"
    home = tmp_path / "by-link"
    home.symlink_to(elsewhere)
    files.private_folder(home)
    assert rights(elsewhere) == "0o700"


def test_a_ledger_that_was_open_to_all_is_closed_and_a_strangers_folder_is_left(settings, tmp_path, open_handed):
    shared = tmp_path / "shared"
    shared.mkdir()
    with Ledger(f"sqlite:///{shared}/runs.db"):
        pass
    (shared / "runs.db").chmod(0o666)
    with Ledger(f"sqlite:///{shared}/runs.db"):
        assert rights(shared / "runs.db") == "0o600"
    assert rights(shared) == "0o777"


def test_the_stack_closes_its_home_too(tmp_path, open_handed):
    from app.base.home import Home

    (tmp_path / "home").mkdir()
    Home(tmp_path / "home").make()
    assert {rights(path) for path in (tmp_path / "home", *(tmp_path / "home").iterdir())} == {"0o700"}


def test_a_file_that_is_private_already_is_not_opened_so_that_its_locks_stay(tmp_path):
    """Closing any descriptor of a file drops this process' locks on it: SQLite's on the index of runs, too."""
    held = tmp_path / "ledger.db"
    held.touch(mode=0o600)
    code = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'r+'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    with held.open("r+") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        assert files.private(held) is False
        taken = subprocess.run([sys.executable, "-c", code, str(held)], capture_output=True, timeout=60, check=False)
        assert taken.returncode != 0, "another process got the lock"
