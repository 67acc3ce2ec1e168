"""The job host with real processes, sockets and signals."""

import asyncio
import errno
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from app import jobs
from app.base.processes import Owner, myself, start_of
from app.config import Settings, load_systems
from app.errors import HostUnavailable, JobError, LedgerError
from app.jobs import place
from app.jobs.child import Child
from app.runs import locks, progress, tidy
from app.runs.index import Ledger
from app.runs.locks import Request
from app.runs.run import Run, Started, State
from tests import warm
from tests.jobs_fake_host import KINDS
from tests.waiting import until

TESTS = Path(__file__).parent
ROOT = TESTS.parent

# Generous: other people's work shares these two cores. No test waits for it to pass.
PATIENCE = 200.0


def make_settings(home):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("VIGIE", "REPORT_DIR"))}
    more = {"VIGIE_HOME": str(home), "REPORT_DIR": str(home / "reports"), "PYTHONPATH": str(ROOT)}
    return Settings.from_env(kept | more)


@pytest.fixture
def settings(tmp_path):
    return make_settings(tmp_path / "home")


class Hosts:
    """Starts hosts and makes sure that none outlives its test."""

    def __init__(self):
        self.processes = []

    def __call__(self, settings, *, wait=True, command=(), pipe=True):
        """A host with kinds for tests, warm; from nothing with a `command` of its own."""
        environment = dict(settings.environ) | {"PYTHONPATH": str(ROOT)}
        options = ["--parent-pipe"] if pipe else []
        if command:
            process = subprocess.Popen(
                [sys.executable, *command, *options],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        else:
            process = warm.Command("tests.jobs_fake_host", *options, env=environment, libraries=warm.LIGHT)
        self.processes.append(process)
        if wait:
            until(lambda: answers(settings, process.pid) or process.poll() is not None, "the host to answer")
            assert process.poll() is None, f"the host ended with {process.poll()}"
        return process

    def close(self):
        for process in self.processes:
            process.stdin.close()
        for process in self.processes:
            try:
                process.wait(120)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise


def answers(settings, pid):
    try:
        return jobs.ping(settings).owner.pid == pid
    except HostUnavailable:
        return False


@pytest.fixture
def hosts():
    made = Hosts()
    yield made
    made.close()


@pytest.fixture
def host(settings, hosts):
    return hosts(settings)


# As the console starts it: a program of its own.
COLD = (str(TESTS / "jobs_fake_host.py"),)


@pytest.fixture
def cold_host(settings, hosts):
    return hosts(settings, command=COLD)


def start(settings, do, *, kind="drift", key="", **more):
    return jobs.start(settings, kind, "streamflow", key or f"{kind}:streamflow:{do}", {"do": do, **more})


def ended(settings, run):
    def final():
        found = jobs.read_progress(settings, run)
        assert found is not None
        return found if found.final else None

    return until(final, f"{run} to end")


def working(settings, run):
    """The progress of a run once its worker has said its own pid."""

    def ask():
        found = jobs.read_progress(settings, run)
        return found if found and "pid" in found.detail else None

    return until(ask, f"{run} to work")


def row(settings, run):
    with Ledger(settings.ledger_url) as ledger:
        return ledger.get(run)


def gone(pid, started=None):
    return start_of(pid) is None or (started is not None and start_of(pid) != started)


# --- a run ---------------------------------------------------------------------------------------------------------


@pytest.mark.quick
def test_a_run_is_a_directory_a_progress_file_and_a_row(settings, cold_host):
    before = time.time()
    started = start(settings, "echo", month="é")
    assert not started.joined
    found = ended(settings, started.run)
    assert (found.state, found.outcome, found.system) == ("done", "NO_ACTION", "streamflow")
    assert json.loads(found.reason) == {"do": "echo", "month": "é"}
    assert before <= found.created <= found.started <= found.finished <= time.time()
    assert found.detail["mean"] is None  # NaN is null
    run = until(lambda: (run := row(settings, started.run)) and run.state.final and run, "the row")
    assert run.state is State.DONE
    assert run.path == str(settings.home / "runs" / started.run)
    assert (run.outcome, run.key, run.created) == ("NO_ACTION", "drift:streamflow:echo", found.created)


def test_what_a_library_prints_goes_to_the_log_and_harms_nothing(settings, host):
    ended(settings, start(settings, "echo").run)
    log = settings.home / "logs" / "jobs.log"
    until(lambda: "a library that prints while it works" in log.read_text(), "the log")


def test_the_worker_gets_one_thread_per_library_and_the_same_home(settings, cold_host):
    found = json.loads(ended(settings, start(settings, "environment").run).reason)
    assert found == {
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "DO_NOT_TRACK": "1",
        "VIGIE_HOME": str(settings.home),
    }


@pytest.mark.quick
def test_an_equal_key_joins_the_run_that_is_going(settings, host):
    first = start(settings, "sleep", key="drift:streamflow:a:b")
    again = start(settings, "sleep", key="drift:streamflow:a:b")
    other = start(settings, "sleep", key="drift:streamflow:a:c")
    assert again == Started(first.run, joined=True)
    assert other.run != first.run
    assert not other.joined


def test_twenty_threads_with_one_key_start_one_run(settings, host):
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(start(settings, "sleep", key="drift:x"))) for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({one.run for one in found}) == 1
    assert [one.joined for one in found].count(False) == 1


def test_the_warm_worker_is_one_process_for_many_runs(settings, host):
    pids = {ended(settings, start(settings, "pid", key=f"drift:{n}").run).outcome for n in range(3)}
    assert len(pids) == 1


def test_warm_loads_the_worker_before_the_first_run(settings, host):
    jobs.warm(settings, "drift")
    until(lambda: jobs.ping(settings).warm == ("drift",), "the warm worker")
    workers = [child.pid for child in psutil.Process(host.pid).children()]
    assert ended(settings, start(settings, "pid").run).outcome == str(workers[0])


def test_each_load_run_has_a_process_of_its_own_and_their_number_is_bounded(settings, host):
    first = start(settings, "traffic", kind="load", key="load:1")
    second = start(settings, "traffic", kind="load", key="load:2")
    pids = {working(settings, one.run).detail["pid"] for one in (first, second)}
    assert len(pids) == 2
    with pytest.raises(JobError, match="2 runs of kind load are going"):
        start(settings, "traffic", kind="load", key="load:3")


def test_more_comparisons_wait_in_order_and_no_more_than_the_queue_holds(settings, host):
    first = start(settings, "sleep", key="drift:1")
    working(settings, first.run)
    waiting = [start(settings, "echo", key=f"drift:{n}") for n in (2, 3)]
    assert jobs.read_progress(settings, waiting[0].run).state == "queued"
    assert jobs.ping(settings).waiting == tuple(one.run for one in waiting)
    with pytest.raises(JobError, match="no more are taken"):
        start(settings, "echo", key="drift:4")
    jobs.cancel(settings, first.run)
    ends = [ended(settings, one.run) for one in waiting]
    assert [end.state for end in ends] == ["done", "done"]
    assert ends[0].finished <= ends[1].finished


# --- how a run fails -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("do", "reason"),
    [
        ("fail", "The month is empty. Choose another."),
        ("crash", "ZeroDivisionError: integer division or modulo by zero"),
        ("exit", "the worker ended with exit status 3 and no answer"),
        ("memory", "the worker was killed (signal 9)"),
    ],
)
def test_a_failed_job_says_why_and_the_next_one_works(settings, host, do, reason):
    found = ended(settings, start(settings, do).run)
    assert (found.state, found.reason) == ("failed", reason)
    assert ended(settings, start(settings, "echo").run).state == "done"


def test_a_run_that_wants_more_memory_than_there_is_fails_in_words_and_the_same_worker_goes_on(settings, host):
    worker = ended(settings, start(settings, "pid").run).outcome
    found = ended(settings, start(settings, "hungry").run)
    assert found.state == "failed"
    assert found.reason.startswith("the run needed more memory than was free when it began (")
    assert "; take fewer rows. MemoryError: Unable to allocate" in found.reason
    assert ended(settings, start(settings, "pid", key="drift:again").run).outcome == worker


@pytest.mark.quick
def test_a_worker_that_is_killed_from_outside_is_a_failed_run(settings, host):
    run = start(settings, "sleep").run
    os.kill(working(settings, run).detail["pid"], signal.SIGKILL)
    found = ended(settings, run)
    assert (found.state, found.reason) == ("failed", "the worker was killed (signal 9)")


def test_a_run_whose_report_is_whole_is_done_however_its_worker_ended(settings, host):
    found = ended(settings, start(settings, "saved").run)
    assert (found.state, found.outcome, found.reason) == ("done", "RETRAINING_TRIGGERED", "1 of 2 columns drifted")
    assert found.path == str(settings.home / "reports" / "runs" / found.run)
    until(lambda: row(settings, found.run).state is State.DONE, "the row")


def test_a_module_that_cannot_be_loaded_is_a_reason(settings, host):
    found = ended(settings, start(settings, "echo", kind="broken").run)
    assert found.state == "failed"
    assert "No module named 'no_such_module_anywhere'" in found.reason


def test_the_last_words_of_a_worker_that_ended_before_it_got_its_job_are_heard(settings):
    async def hand_over():
        child = await Child.spawn(KINDS["broken"], settings)
        await child.process.wait()
        died = await child.run("20240101T000000Z-000000", Request("broken", "streamflow", "k", {}))
        await child.end()
        return died

    assert "No module named 'no_such_module_anywhere'" in asyncio.run(hand_over()).reason


@pytest.mark.parametrize("do", ["sleep", "stubborn"])
def test_a_run_past_its_deadline_fails_in_words_and_leaves_no_process(settings, host, do):
    run = start(settings, do, kind="brief").run
    found = ended(settings, run)
    assert (found.state, found.reason) == ("failed", "no result after 0.5 s; the worker was ended")
    until(lambda: not psutil.Process(host.pid).children(), "the worker to be gone")


# --- cancel --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("do", "stage"), [("sleep", "working"), ("stubborn", "ignoring everybody"), ("grandchild", "with a child")]
)
def test_cancel_ends_the_worker_and_all_it_started(settings, host, do, stage):
    run = start(settings, do).run
    until(lambda: working(settings, run).stage == stage, stage)
    pids = [pid for name, pid in working(settings, run).detail.items() if name in ("pid", "child")]
    jobs.cancel(settings, run)
    found = ended(settings, run)
    assert (found.state, found.reason) == ("cancelled", "cancelled by a person")
    until(lambda: all(gone(pid) for pid in pids), "its processes to be gone")
    until(lambda: row(settings, run).state is State.CANCELLED, "the row")


def test_a_cancelled_load_run_keeps_what_it_had(settings, host):
    run = start(settings, "traffic", kind="load").run
    until(lambda: (working(settings, run).done or 0) > 3, "some requests")
    jobs.cancel(settings, run)
    found = ended(settings, run)
    assert found.state == "cancelled"
    assert found.reason.startswith("stopped after ")
    assert json.loads((Path(found.path) / "result.json").read_text())["sent"] > 3


def test_a_run_that_waits_can_be_cancelled(settings, host):
    first = start(settings, "sleep", key="drift:1").run
    working(settings, first)
    second = start(settings, "echo", key="drift:2").run
    jobs.cancel(settings, second)
    assert ended(settings, second).state == "cancelled"
    assert jobs.read_progress(settings, first).state == "running"


def test_cancelling_a_run_that_has_ended_is_no_error_and_an_unknown_one_is(settings, host):
    run = start(settings, "echo").run
    ended(settings, run)
    until(lambda: not jobs.ping(settings).running)
    jobs.cancel(settings, run)
    with pytest.raises(JobError, match="There is no run 20240101T000000Z-abcdef"):
        jobs.cancel(settings, "20240101T000000Z-abcdef")
    assert jobs.read_progress(settings, run).state == "done"


# --- the socket ----------------------------------------------------------------------------------------------------


def talk(settings, data):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(str(place.socket_path(settings)))
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            return b""
        parts = []
        try:
            while part := connection.recv(65536):
                parts.append(part)
        except ConnectionResetError:
            pass
        return b"".join(parts)


GARBAGE = [
    b"",
    b"\n",
    b"not json\n",
    b"\xff\xfe\x00\n",
    b"[1]\n",
    b'"start"\n',
    b"{}\n",
    b'{"op": "eval", "code": "1"}\n',
    b'{"op": ["start"]}\n',
    b'{"op": "start", "kind": "drift"}\n',
    b'{"op": "start", "kind": "os", "system": "a", "key": "k", "args": {}}\n',
    b'{"op": "start", "kind": ["drift"], "system": "a", "key": "k", "args": {}}\n',
    b'{"op": "start", "kind": "drift", "system": "../a", "key": "k", "args": {}}\n',
    b'{"op": "start", "kind": "drift", "system": "a", "key": "k\\u0000", "args": {}}\n',
    b'{"op": "start", "kind": "drift", "system": "a", "key": "k", "args": [1]}\n',
    b'{"op": "start", "kind": "drift", "system": "a", "key": "k", "args": {"x": NaN}}\n',
    b'{"op": "start", "kind": "drift", "system": "a", "key": "k", "args": {}, "module": "os"}\n',
    b'{"op": "cancel", "run": "../../etc/passwd"}\n',
    b'{"op": "cancel", "run": 7}\n',
    b'{"op": "ping", "loud": true}\n',
    b"[" * 60_000 + b"\n",
    b"x" * 200_000 + b"\n",
    b'{"op": "ping"',
]


def test_garbage_gets_a_line_that_says_what_is_wrong_and_never_ends_the_host(settings, host):
    for data in GARBAGE:
        for line in talk(settings, data).splitlines():
            assert json.loads(line)["error"] == "JobError", data[:80]
    assert host.poll() is None
    assert ended(settings, start(settings, "echo").run).state == "done"
    assert len(list((settings.home / "runs").iterdir())) == 1


def test_many_lines_on_one_connection_are_answered_in_order(settings, host):
    lines = talk(settings, b'{"op": "ping"}\nnonsense\n{"op": "ping"}\n').splitlines()
    assert ["error" in json.loads(line) for line in lines] == [False, True, False]


def test_connections_that_say_nothing_block_nobody(settings, host):
    silent = []
    for _ in range(30):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(place.socket_path(settings)))
        silent.append(connection)
    assert jobs.ping(settings).owner.pid == host.pid
    for connection in silent:
        connection.close()


def test_only_this_user_may_connect(settings, host):
    assert stat.S_IMODE((settings.home / "jobs.sock").stat().st_mode) == 0o600


@pytest.mark.quick
def test_a_home_with_a_long_path_gets_a_short_socket_that_is_removed_at_the_end(tmp_path, hosts):
    settings = make_settings(tmp_path / ("long" * 30) / "home")
    process = hosts(settings)
    path = place.socket_path(settings)
    assert len(os.fsencode(path)) <= place.MAX_SOCKET_PATH
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert ended(settings, start(settings, "echo").run).state == "done"
    process.stdin.close()
    assert process.wait(PATIENCE) == 0
    assert not path.parent.exists()


def test_a_socket_left_behind_by_a_killed_host_is_no_obstacle(settings, hosts):
    first = hosts(settings)
    first.kill()
    first.wait()
    assert (settings.home / "jobs.sock").exists()
    with pytest.raises(HostUnavailable) as raised:
        jobs.ping(settings)
    assert "python -m app.jobs" in raised.value.hint
    second = hosts(settings)
    assert jobs.ping(settings).owner.pid == second.pid


def test_a_second_host_of_the_same_home_says_joined_and_leaves_the_first_alone(settings, host, hosts):
    second = hosts(settings, wait=False)
    out, _ = second.communicate(timeout=PATIENCE)
    assert second.returncode == 0
    assert out.startswith("joined: ")
    assert jobs.ping(settings).owner.pid == host.pid


def test_of_five_hosts_at_once_one_serves(settings, hosts):
    started = [hosts(settings, wait=False) for _ in range(5)]
    until(lambda: sum(process.poll() is None for process in started) == 1, "four to leave")
    left = next(process for process in started if process.poll() is None)
    until(lambda: answers(settings, left.pid))
    assert {process.returncode for process in started} == {0, None}


# --- the end of the host -------------------------------------------------------------------------------------------


@pytest.mark.quick
def test_the_host_ends_with_its_pipe_and_what_ran_is_interrupted_with_what_it_had(settings, cold_host):
    drift = start(settings, "stubborn").run
    load = start(settings, "traffic", kind="load").run
    pids = [working(settings, run).detail["pid"] for run in (drift, load)]
    until(lambda: (working(settings, load).done or 0) > 3, "some requests")
    cold_host.stdin.close()
    assert cold_host.wait(PATIENCE) == 0
    assert all(gone(pid) for pid in pids)
    assert [row(settings, run).state for run in (drift, load)] == [State.INTERRUPTED] * 2
    assert json.loads((settings.home / "runs" / load / "result.json").read_text())["sent"] > 0
    assert not (settings.home / "jobs.sock").exists()
    assert not list((settings.home / "jobs").glob("*.lock"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_host_in_front_ends_on_a_signal(settings, hosts, number):
    process = hosts(settings, pipe=False, command=COLD)
    run = start(settings, "sleep").run
    pid = working(settings, run).detail["pid"]
    process.send_signal(number)
    assert process.wait(PATIENCE) == 0
    assert gone(pid)
    assert jobs.read_progress(settings, run).state == "interrupted"


def test_a_host_started_with_nohup_survives_a_hangup(settings, hosts):
    # As `nohup` does it: ignored before the program begins.
    ignore = "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN)"
    become = "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    process = hosts(settings, pipe=False, command=("-c", f"{ignore}; {become}", *COLD))
    process.send_signal(signal.SIGHUP)
    run = start(settings, "echo").run
    assert ended(settings, run).state == "done"
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 0


def test_ctrl_c_in_the_console_is_not_for_the_host(settings, cold_host):
    run = start(settings, "sleep").run
    working(settings, run)
    cold_host.send_signal(signal.SIGINT)
    assert jobs.ping(settings).owner.pid == cold_host.pid
    assert jobs.read_progress(settings, run).state == "running"


def test_a_killed_host_leaves_no_process_and_the_next_one_marks_its_runs_interrupted(settings, hosts):
    first = hosts(settings)
    jobs.warm(settings, "drift")
    drift = start(settings, "stubborn").run
    load = start(settings, "traffic", kind="load").run
    waiting = start(settings, "echo", key="drift:waiting").run
    pids = [
        until(lambda: working(settings, drift).stage == "ignoring everybody") and working(settings, drift).detail["pid"]
    ]
    pids.append(working(settings, load).detail["pid"])
    first.kill()
    first.wait()
    until(lambda: all(gone(pid) for pid in pids), "the workers to be gone")
    # Before anybody has written it down, a reader is already told.
    assert {jobs.read_progress(settings, run).state for run in (drift, load, waiting)} == {"interrupted"}
    assert row(settings, drift).state is State.RUNNING
    hosts(settings)
    assert {row(settings, run).state for run in (drift, load, waiting)} == {State.INTERRUPTED}
    assert row(settings, load).path == str(settings.home / "runs" / load)
    assert (settings.home / "runs" / load / "result.json").exists()
    assert not start(settings, "echo", key="drift:waiting").joined


def test_a_run_whose_last_word_did_not_reach_the_index_is_not_called_interrupted(settings, hosts):
    first = hosts(settings)
    run = start(settings, "fail").run
    ended(settings, run)
    until(lambda: row(settings, run).state.final)
    first.kill()
    first.wait()
    with Ledger(settings.ledger_url) as ledger:  # as a crash between the two leaves it
        ledger.update(run, state=State.RUNNING, finished=None, reason="")
    hosts(settings)
    assert (row(settings, run).state, row(settings, run).reason) == (
        State.FAILED,
        "The month is empty. Choose another.",
    )


PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, sys.argv[1], "--parent-pipe"], stdin=subprocess.PIPE, start_new_session=True)
time.sleep(300)
"""


def test_a_killed_console_leaves_neither_host_nor_worker(settings):
    environment = dict(settings.environ) | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PARENT, str(TESTS / "jobs_fake_host.py")]
    console = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True)
    try:
        pid = until(
            lambda: (found := place.read_note(settings)) and answers(settings, found.owner.pid) and found.owner.pid
        )
        worker = working(settings, start(settings, "stubborn").run).detail["pid"]
    finally:
        console.kill()
        console.wait()
    until(lambda: gone(pid) and gone(worker), "host and worker to end")


def test_a_parent_that_is_gone_ends_the_host_although_somebody_else_holds_the_pipe(settings):
    environment = dict(settings.environ) | {"PYTHONPATH": str(ROOT)}
    reader, writer = os.pipe()
    script = (
        "import subprocess, sys, time; subprocess.Popen(sys.argv[1:], stdin=0, start_new_session=True); time.sleep(300)"
    )
    command = [sys.executable, "-c", script, sys.executable, str(TESTS / "jobs_fake_host.py"), "--parent-pipe"]
    console = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=reader)
    try:
        pid = until(
            lambda: (found := place.read_note(settings)) and answers(settings, found.owner.pid) and found.owner.pid
        )
    finally:
        console.kill()
        console.wait()
    until(lambda: gone(pid), "the host to end")
    os.close(reader)
    os.close(writer)


# --- a sick ledger -------------------------------------------------------------------------------------------------


def test_a_ledger_from_a_newer_version_refuses_jobs_in_words_and_the_host_stays(settings, hosts):
    with Ledger(settings.ledger_url) as ledger, ledger._write() as connection:
        connection.exec_driver_sql("UPDATE schema_version SET version = 999")
    hosts(settings)
    with pytest.raises(LedgerError, match="version 999"):
        start(settings, "echo")
    assert not list((settings.home / "runs").iterdir())
    assert jobs.ping(settings).running == ()


def test_a_damaged_ledger_is_kept_aside_and_remade_from_the_directories(settings, hosts):
    first = hosts(settings)
    run = start(settings, "echo").run
    ended(settings, run)
    until(lambda: not jobs.ping(settings).running)
    first.stdin.close()
    first.wait()
    file = settings.home / "ledger.db"
    for companion in settings.home.glob("ledger.db-*"):
        companion.unlink()
    file.write_bytes(b"this is no database" * 1000)
    hosts(settings)
    until(lambda: row(settings, run), "the row to come back")
    assert row(settings, run).outcome == "NO_ACTION"
    assert [path.read_bytes()[:4] for path in settings.home.glob("ledger.db.damaged-*")] == [b"this"]


def test_a_lock_that_cannot_be_signed_is_let_go(settings, monkeypatch):
    """On a full disk: whoever asked for the same job afterwards waited for the name of its holder for ever."""
    request = Request("drift", "streamflow", "drift:x", {})

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(JobError, match="No space left"), locks.held(settings, request, "20240501T000000Z-000001"):
        pass
    monkeypatch.undo()
    with locks.held(settings, request, "20240501T000000Z-000002"):
        assert len(list((settings.home / "jobs").glob("*.lock"))) == 1


# --- without a host ------------------------------------------------------------------------------------------------


def test_a_command_line_without_a_host_runs_the_job_itself(settings):
    seen = []
    run = jobs.run_here(settings, "drift", "streamflow", "drift:x", {"do": "echo"}, seen.append, kinds=KINDS)
    assert (run.state, run.outcome) == (State.DONE, "NO_ACTION")
    assert seen[-1].state == "done"
    kept = row(settings, run.id)
    assert kept.bytes > 0
    assert replace(kept, bytes=None) == run
    assert not list((settings.home / "jobs").glob("*.lock"))


def test_a_command_line_joins_the_run_of_the_host(settings, host):
    started = start(settings, "sleep", key="drift:x", seconds=1)
    working(settings, started.run)
    run = jobs.run_here(settings, "drift", "streamflow", "drift:x", {"do": "crash"}, kinds=KINDS)
    assert (run.id, run.outcome) == (started.run, "slept")


LOCAL = """
import sys
from app import jobs
from app.config import Settings
from tests import warm
from tests.jobs_fake_host import KINDS
run = jobs.run_here(Settings.from_env(), "drift", "streamflow", "drift:x", {"do": sys.argv[1]}, kinds=KINDS)
print(run.state, run.reason)
"""


@pytest.fixture
def command_line(settings):
    environment = dict(settings.environ) | {"PYTHONPATH": str(ROOT)}
    made = []

    def begin(do):
        process = warm.Command("-c", LOCAL, do, env=environment, libraries=warm.LIGHT)
        made.append(process)
        return process

    yield begin
    for process in made:
        process.kill()
        process.wait()


def local_run(settings):
    def ask():
        with Ledger(settings.ledger_url) as ledger:
            found = ledger.runs(states=(State.RUNNING,))
        return found[0].id if found else None

    return until(ask, "the command line to run its job")


def test_the_host_joins_the_run_of_a_command_line_and_leaves_its_end_to_it(settings, command_line, hosts):
    process = command_line("stubborn")
    run = local_run(settings)
    working(settings, run)
    hosts(settings)  # its start does not call this run an orphan
    assert start(settings, "echo", key="drift:x") == Started(run, joined=True)
    with pytest.raises(JobError, match=f"process {process.pid}"):
        jobs.cancel(settings, run)
    assert row(settings, run).state is State.RUNNING
    # Killed under a host that serves: its row says so without a restart.
    process.kill()
    process.wait()
    until(lambda: row(settings, run).state is State.INTERRUPTED, "the host to correct the row")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_cancels_the_run_of_a_command_line(settings, command_line, number):
    process = command_line("stubborn")
    run = local_run(settings)
    worker = working(settings, run).detail["pid"]
    process.send_signal(number)
    out, _ = process.communicate(timeout=PATIENCE)
    assert out.strip() == "cancelled cancelled by a person"
    assert gone(worker)
    assert row(settings, run).state is State.CANCELLED


def test_a_killed_command_line_leaves_no_worker_and_no_lock(settings, command_line):
    process = command_line("stubborn")
    run = local_run(settings)
    worker = working(settings, run).detail["pid"]
    process.kill()
    process.wait()
    until(lambda: gone(worker), "the worker to end")
    assert row(settings, run).state is State.RUNNING
    again = jobs.run_here(settings, "drift", "streamflow", "drift:x", {"do": "echo"}, kinds=KINDS)
    assert (again.state, again.id != run) == (State.DONE, True)
    # The next command line corrects what this one left, without a host.
    assert (row(settings, run).state, row(settings, run).reason) == (State.INTERRUPTED, "the process that ran it ended")


def test_run_and_wait_takes_the_host_when_there_is_one(settings, host):
    run = jobs.run_and_wait(settings, "drift", "streamflow", "drift:x", {"do": "pid"})
    assert psutil.Process(int(run.outcome)).ppid() == host.pid


def test_what_dead_processes_left_in_a_home_is_swept_and_what_goes_on_stays(settings):
    runs, old = settings.home / "runs", (0, 0)
    ids = {
        name: f"20240229T14000{place}Z-00000{place}" for place, name in enumerate(("ended", "going", "empty", "new"))
    }
    for name in ids.values():
        (runs / name).mkdir(parents=True)
    (runs / "somebody's").mkdir()
    (runs / ".tmp-gone-x").mkdir()
    (runs / ids["empty"] / ".progress.json.1.1").write_text("{")
    for name, state in (("ended", "done"), ("going", "running")):
        told = jobs.Progress(ids[name], "drift", "streamflow", "k", state, owner=myself())
        progress.write(runs / ids[name], told)
        (runs / ids[name] / ".progress.json.1.1").write_text("{")
        os.utime(runs / ids[name] / ".progress.json.1.1", old)
    for name in ("somebody's", ".tmp-gone-x", ids["empty"], ids["going"]):
        os.utime(runs / name, old)
    gone = tidy.sweep(settings, load_systems(settings))
    assert {str(path.relative_to(runs)) for path in gone} == {
        ".tmp-gone-x",
        ids["empty"],
        f"{ids['ended']}/.progress.json.1.1",
    }
    assert {path.name for path in runs.iterdir()} == {"somebody's", ids["ended"], ids["going"], ids["new"]}


def test_a_run_of_another_home_on_the_same_index_is_left_to_that_home(settings, tmp_path):
    elsewhere = Run("20240229T140001Z-000001", "drift", "streamflow", "k", State.RUNNING, 1.0)
    lost = replace(
        elsewhere, id="20240229T140002Z-000002", path=str(settings.home / "runs" / "20240229T140002Z-000002")
    )
    with Ledger(settings.ledger_url) as ledger:
        ledger.add(replace(elsewhere, path=str(tmp_path / "other home" / "runs" / elsewhere.id)))
        ledger.add(lost)
    tidy.tidy(settings)
    assert row(settings, elsewhere.id).state is State.RUNNING
    assert row(settings, lost.id).state is State.INTERRUPTED


# --- small parts ---------------------------------------------------------------------------------------------------


@pytest.mark.quick
def test_nobody_reads_progress_through_a_path(settings):
    for run in ("../../etc", "", ".", "20240101T000000Z-abcdef/..", "20240101T000000Z-ABCDEF"):
        assert jobs.read_progress(settings, run) is None


@pytest.mark.quick
@pytest.mark.parametrize("text", ["", "{", "[]", '{"run": 1}', '{"owner": {"pid": "x"}}', "null"])
def test_a_torn_progress_file_is_no_progress(settings, text):
    folder = settings.home / "runs" / "20240101T000000Z-abcdef"
    folder.mkdir(parents=True)
    (folder / "progress.json").write_text(text)
    assert jobs.read_progress(settings, folder.name) is None


@pytest.mark.quick
@pytest.mark.parametrize(
    ("done", "total", "detail", "share"),
    [
        (3, 6, {}, 0.5),
        (3, 6, {"columns": 16, "compared": 8}, 3.5 / 6),
        (5, 6, {"columns": 16, "compared": 16}, 1.0),
        (3, 6, {"columns": 0, "compared": 0}, 0.5),
        (3, 6, {"columns": "many", "compared": None}, 0.5),
        (None, 6, {"columns": 16, "compared": 8}, None),
        (3, None, {}, None),
    ],
)
def test_a_stage_that_goes_through_columns_moves_the_bar(done, total, detail, share):
    found = jobs.Progress("r", "drift", "s", "k", "running", done=done, total=total, detail=detail)
    assert found.share == (share if share is None else pytest.approx(share))


@pytest.mark.quick
def test_a_process_is_told_by_pid_and_start_and_not_being_a_zombie():
    assert myself().alive
    assert not Owner(os.getpid(), "another boot").alive
    child = subprocess.Popen([sys.executable, "-c", ""])
    until(lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE)
    assert start_of(child.pid) is None
    child.wait()


@pytest.mark.quick
def test_importing_the_client_loads_nothing_heavy():
    script = "import sys, app.jobs; print([m for m in ('sqlalchemy', 'pydantic', 'pandas', 'streamlit') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
