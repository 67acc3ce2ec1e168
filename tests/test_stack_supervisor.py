"""The supervisor over real processes: start order, restarts, what it shows, and that nothing outlives it."""

import contextlib
import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.base import child_process
from app.base.home import Home
from app.base.processes import LINUX, Owner, myself, start_of
from stack import state, wanted
from stack.places import free_port
from stack.state import State
from tests.waiting import until

ROOT = Path(__file__).resolve().parent.parent

# How long the slowest step of these tests may take on a busy machine; nothing is asserted about speed.
PATIENCE = 200.0

FAKE_SERVICE = """
import http.server, os, signal, subprocess, sys, time
mode, port, notes = sys.argv[1], int(sys.argv[2]), sys.argv[3]
with open(notes, "a") as file:
    file.write(f"{time.time()} {mode} {port} {os.getpid()}\\n")
if mode == "ends":
    print("boom: no such table", flush=True)
    sys.exit(7)
if mode == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if mode == "parent":
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    with open(notes + ".grandchildren", "a") as file:
        file.write(f"{child.pid}\\n")
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(503 if mode == "unready" else 200)
        self.end_headers()
    def log_message(self, *_):
        pass
if mode == "mute":
    time.sleep(600)
while mode == "late" and not os.path.exists(notes + ".go"):
    time.sleep(0.02)
server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
if mode == "shares":
    child = os.fork()
    if child:
        with open(notes + ".grandchild", "w") as file:
            file.write(str(child))
        with open(notes + ".grandchildren", "a") as file:
            print(child, file=file)
server.serve_forever()
"""

FAKE_STACK = """
import dataclasses, json, os, sys
from pathlib import Path
from app.base import child_process
from app.base.files import Lock, replace
from app.base.home import Home
from stack import state, wanted
from stack.plan import Addition, CannotStart, Plan, Service, Task
from stack.supervisor import Supervisor
from stack.wanted import Wanted

spec = json.loads(Path(sys.argv[1]).read_text())
home = Home(Path(spec["home"]))
home.make()
lock = Lock(home.stack / "lock")
assert lock.acquire()

def command(mode):
    def give(port):
        if mode == "absent":
            raise CannotStart(state.State.ABSENT, "no such program here")
        return [sys.executable, spec["service"], mode, str(port), spec["notes"]]
    return give

def blocked(text):
    return lambda: text

def service_of(s):
    return Service(
        s["name"], s["port"], "/", command(s["mode"]), needs=s.get("needs", ()), after=s.get("after", ()), beside=s.get("beside", ()),
        start_seconds=s.get("start_seconds", 20.0), in_the_way=blocked(s.get("blocked", "")))

def task_of(t):
    return Task(t["name"], t["about"], [sys.executable, "-c", t["code"]], failure=state.State(t.get("failure", "down")))

services = [service_of(s) for s in spec["services"]]
tasks = [task_of(t) for t in spec.get("tasks", ())]
known = {s["name"]: s for s in spec.get("offers", ())}
wanted = Wanted(home, list(known))
wanted.begin()
def more(say):
    return [
        Addition([task_of(t) for t in known[name].get("tasks", ())], service_of(known[name]))
        for name in wanted.new(say)
    ]
def publish(addresses):
    replace(home.stack / "published.json", json.dumps(dict(addresses)))
if spec.get("no_setpriv"):
    child_process._setpriv = lambda: None
plan = Plan(home, Path.cwd(), {**os.environ, "PYTHONUNBUFFERED": "1"}, tasks, services, publish, more, list(known))
sys.exit(Supervisor(plan, parent_pipe="--parent-pipe" in sys.argv).run())
"""

FAKE_CONSOLE = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, *sys.argv[1:], "--parent-pipe"], stdin=subprocess.PIPE, start_new_session=True)
print(child.pid, flush=True)
try:
    time.sleep(600)
except KeyboardInterrupt:
    child.stdin.close()
    child.wait(5)
"""


class Stack:
    """A supervisor of fake services in its own process, and a look at what it shows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = Home(folder / "home")
        self.notes = folder / "notes.txt"
        self.notes.touch()
        (folder / "service.py").write_text(FAKE_SERVICE)
        (folder / "fake_stack.py").write_text(FAKE_STACK)
        (folder / "console.py").write_text(FAKE_CONSOLE)
        self.started: list[subprocess.Popen[str]] = []

    def arguments(self, services: list[dict[str, Any]], **more: Any) -> list[str]:
        spec = {
            "home": str(self.home.path),
            "service": str(self.folder / "service.py"),
            "notes": str(self.notes),
            "services": services,
            **more,
        }
        file = self.folder / "spec.json"
        file.write_text(json.dumps(spec))
        return [str(self.folder / "fake_stack.py"), str(file)]

    def start(
        self, services: list[dict[str, Any]], *, ignoring: signal.Signals | None = None, **more: Any
    ) -> "subprocess.Popen[str]":
        """Start a supervisor, `ignoring` a signal as `nohup` or a shell would have it."""
        ignore = f"import signal; signal.signal({ignoring:d}, signal.SIG_IGN)\n" if ignoring else ""
        become = "import os, sys; os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
        before = ["-c", ignore + become] if ignoring else []
        return self._spawn([sys.executable, *before, *self.arguments(services, **more)])

    def start_console(self, services: list[dict[str, Any]]) -> "subprocess.Popen[str]":
        return self._spawn([sys.executable, str(self.folder / "console.py"), *self.arguments(services)])

    def _spawn(self, command: list[str]) -> "subprocess.Popen[str]":
        child = subprocess.Popen(
            command,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.started.append(child)
        return child

    def shows(self, name: str) -> state.ServiceState | None:
        snapshot = state.read(self.home)
        return snapshot.services.get(name) if snapshot.live else None

    def wait_for(self, name: str, wanted: State, words: str = "") -> state.ServiceState:
        def there() -> bool:
            shown = self.shows(name)
            return shown is not None and shown.state is wanted and words in shown.reason

        until(there, lambda: f"{name}: {self.shows(name)}")
        shown = self.shows(name)
        assert shown is not None
        return shown

    def starts_of(self, mode: str) -> list[str]:
        return [line for line in self.notes.read_text().splitlines() if line.split()[1] == mode]

    def grandchildren(self) -> list[int]:
        """What services of modes `parent` and `shares` started."""
        file = Path(f"{self.notes}.grandchildren")
        return [int(line) for line in file.read_text().splitlines()] if file.exists() else []

    def published(self) -> dict[str, str]:
        read: dict[str, str] = json.loads((self.home.stack / "published.json").read_text())
        return read

    def log(self) -> str:
        return self.home.log("stack").read_text()

    def pids(self) -> list[tuple[int, str]]:
        snapshot = state.read(self.home)
        assert snapshot.owner is not None
        found = [(snapshot.owner.pid, snapshot.owner.started)]
        return found + [(s.pid, s.started) for s in snapshot.services.values() if s.pid and s.started]


def all_gone(pids: list[tuple[int, str]]) -> bool:
    return not any(Owner(pid, since).alive for pid, since in pids)


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    it = Stack(tmp_path)
    yield it
    left = it.pids() if state.read(it.home).owner else []
    for child in it.started:
        child.kill()
        child.wait()
    for pid, since in left:
        Owner(pid, since).end(child_process.STOP_SECONDS)
    # A service that was killed could not end what it had started.
    for pid in it.grandchildren():
        with contextlib.suppress(psutil.NoSuchProcess):
            grandchild = psutil.Process(pid)
            line = grandchild.cmdline()
            if line[1:] == ["-c", "import time; time.sleep(600)"] or str(it.notes) in line:
                grandchild.kill()


class Answers(http.server.BaseHTTPRequestHandler):
    """Somebody else's service, which answers 200."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def two(port: int) -> list[dict[str, Any]]:
    return [
        {"name": "first", "mode": "good", "port": port},
        {"name": "second", "mode": "parent", "port": port, "after": ["first"]},
    ]


@pytest.fixture
def port() -> int:
    return free_port(21000 + os.getpid() % 10000)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_no_process_is_left_when_the_supervisor_gets_a_signal(stack: Stack, port: int, number: signal.Signals) -> None:
    supervisor = stack.start([two(port)[0], {"name": "second", "mode": "stubborn", "port": port}])
    stack.wait_for("first", State.UP)
    stack.wait_for("second", State.UP)
    pids = stack.pids()
    assert len(pids) == 3

    supervisor.send_signal(number)
    supervisor.wait(PATIENCE)

    until(lambda: all_gone(pids), lambda: f"still there: {pids}")
    assert not state.read(stack.home).live


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
def test_a_signal_that_the_starter_ignores_stops_nothing(stack: Stack, port: int, number: signal.Signals) -> None:
    supervisor = stack.start(two(port)[:1], ignoring=number)
    stack.wait_for("first", State.UP)
    supervisor.send_signal(number)
    supervisor.send_signal(signal.SIGTERM)
    assert supervisor.wait(PATIENCE) == 0
    # The first reason to stop is the one that is kept.
    assert "SIGTERM" in state.read(stack.home).services["first"].reason


def test_children_of_services_end_with_an_orderly_stop(stack: Stack, port: int) -> None:
    supervisor = stack.start(two(port))
    stack.wait_for("second", State.UP)
    (grandchild,) = stack.grandchildren()
    assert start_of(grandchild)

    supervisor.terminate()
    supervisor.wait(PATIENCE)

    until(lambda: start_of(grandchild) is None, lambda: f"{grandchild} is left")
    assert supervisor.returncode == 0
    shown = state.read(stack.home).services["first"]
    assert shown.state is State.DOWN
    assert "SIGTERM" in shown.reason
    assert shown.pid is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_no_process_is_left_when_the_console_gets_a_signal(stack: Stack, port: int, number: signal.Signals) -> None:
    console = stack.start_console(two(port))
    stack.wait_for("second", State.UP)
    pids = stack.pids()

    console.send_signal(number)
    console.wait(PATIENCE)

    until(lambda: all_gone(pids), lambda: f"still there: {pids}")


def test_ctrl_c_on_the_terminal_is_the_consoles_and_not_the_supervisors(stack: Stack, port: int) -> None:
    console = stack.start_console(two(port))
    stack.wait_for("second", State.UP)
    owner = state.read(stack.home).owner
    assert owner is not None

    os.kill(owner.pid, signal.SIGINT)
    os.kill(owner.pid, signal.SIGINT)
    time.sleep(0.5)

    assert stack.wait_for("second", State.UP)
    assert owner.alive
    assert console.poll() is None


@pytest.mark.skipif(not LINUX, reason="the parent-death signal is Linux's")
def test_without_setpriv_the_children_of_a_killed_supervisor_end_too(stack: Stack, port: int) -> None:
    supervisor = stack.start(two(port)[:1], no_setpriv=True)
    stack.wait_for("first", State.UP)
    pids = stack.pids()

    supervisor.kill()
    supervisor.wait()

    until(lambda: all_gone(pids), lambda: f"still there: {pids}")


def test_a_service_starts_only_after_its_task_and_the_service_before_it(stack: Stack, port: int) -> None:
    services = two(port)
    services[1] = {"name": "second", "mode": "unready", "port": port, "needs": ["world"], "after": ["first"]}
    code = "import time; print('3 of 12 months', flush=True); time.sleep(1.0)"
    stack.start(services, tasks=[{"name": "world", "about": "making the world", "code": code}])

    stack.wait_for("second", State.STARTING, "making the world: 3 of 12 months")
    assert not stack.starts_of("unready")
    stack.wait_for("first", State.UP)
    stack.wait_for("second", State.STARTING, "answers 503")

    assert len(stack.starts_of("unready")) == 1


def test_a_task_that_fails_is_the_reason_of_the_service_that_needs_it_and_others_run(stack: Stack, port: int) -> None:
    services = [
        {"name": "first", "mode": "good", "port": port},
        {"name": "second", "mode": "good", "port": port, "needs": ["fetch"]},
    ]
    code = "import sys; print('cannot reach the mirror'); sys.exit(1)"
    task = {"name": "fetch", "about": "fetching it", "code": code, "failure": "absent"}
    stack.start(services, tasks=[task])

    shown = stack.wait_for("second", State.ABSENT, "fetching it failed: cannot reach the mirror")
    assert shown.url is None
    stack.wait_for("first", State.UP)
    published = json.loads((stack.home.stack / "published.json").read_text())
    assert list(published) == ["first"]


def test_a_service_that_starts_beside_its_task_is_up_when_the_task_is_done_and_down_when_it_fails(
    stack: Stack, port: int
) -> None:
    """It is running while its data are made, and shows their making as what it waits for."""
    code = "import os, time; print('half', flush=True)\nwhile not os.path.exists({!r}): time.sleep(0.02)\n{}"
    go = str(stack.folder / "go")
    tasks = [
        {"name": "world", "about": "making the world", "code": code.format(go, "")},
        {"name": "broken", "about": "making nothing", "code": code.format(go, "print('no room'); raise SystemExit(1)")},
    ]
    services = [
        {"name": "first", "mode": "good", "port": port, "beside": ["world"], "start_seconds": 5.0},
        {"name": "second", "mode": "good", "port": port, "beside": ["broken"]},
    ]
    stack.start(services, tasks=tasks)
    until(lambda: len(stack.starts_of("good")) == 2, lambda: "the services did not start")
    assert stack.wait_for("first", State.STARTING, "making the world: half").pid is not None
    assert stack.published() == {name: str(shown.url) for name in ("first", "second") if (shown := stack.shows(name))}
    Path(go).touch()
    stack.wait_for("first", State.UP)
    second = stack.wait_for("second", State.DOWN, "making nothing failed: no room (log ")

    assert second.pid is None
    assert len(stack.starts_of("good")) == 2


def test_a_service_that_cannot_be_had_is_absent_with_its_reason_and_others_run(stack: Stack, port: int) -> None:
    stack.start([{"name": "first", "mode": "absent", "port": port}, {"name": "second", "mode": "good", "port": port}])

    stack.wait_for("first", State.ABSENT, "no such program here")
    stack.wait_for("second", State.UP)


def test_a_service_that_ends_at_once_is_started_four_times_and_then_shown_as_down(stack: Stack, port: int) -> None:
    stack.start([{"name": "first", "mode": "ends", "port": port}])

    shown = stack.wait_for("first", State.DOWN, "exit code 7: boom: no such table")
    assert "4 times in a minute" in shown.reason
    assert len(stack.starts_of("ends")) == 4
    assert shown.pid is None


def test_a_killed_service_comes_back_with_another_pid(stack: Stack, port: int) -> None:
    stack.start([{"name": "first", "mode": "good", "port": port}])
    before = stack.wait_for("first", State.UP)
    assert before.pid is not None

    os.kill(before.pid, signal.SIGKILL)
    until(lambda: (shown := stack.shows("first")) is None or shown.pid != before.pid, lambda: "same pid")

    after = stack.wait_for("first", State.UP)
    assert after.pid not in {None, before.pid}
    assert after.url == before.url


def test_what_a_killed_service_had_started_ends_with_it_and_gives_back_the_port(stack: Stack, port: int) -> None:
    stack.start([{"name": "first", "mode": "shares", "port": port}])
    before = stack.wait_for("first", State.UP)
    grandchild = int(Path(f"{stack.notes}.grandchild").read_text())
    assert before.pid is not None
    assert start_of(grandchild)

    os.kill(before.pid, signal.SIGKILL)
    until(lambda: len(stack.starts_of("shares")) == 2, lambda: "not started again")

    assert start_of(grandchild) is None
    after = stack.wait_for("first", State.UP)
    assert after.url == before.url


def test_a_service_that_never_answers_is_shown_as_down_and_keeps_running(stack: Stack, port: int) -> None:
    stack.start([{"name": "first", "mode": "mute", "port": port, "start_seconds": 0.5}])

    shown = stack.wait_for("first", State.DOWN, "gave no answer")
    assert Owner(shown.pid, shown.started).alive


def test_a_taken_port_is_left_to_its_owner_and_the_next_one_is_shown(stack: Stack, port: int) -> None:
    with socket.create_server(("127.0.0.1", port)):
        stack.start([{"name": "first", "mode": "good", "port": port}])
        shown = stack.wait_for("first", State.UP)

    assert shown.url != f"http://127.0.0.1:{port}"
    published = json.loads((stack.home.stack / "published.json").read_text())
    assert published == {"first": shown.url}


def test_a_port_that_is_taken_while_a_service_starts_is_never_shown_as_its_own(stack: Stack, port: int) -> None:
    """Two stacks that start at once look at the same free port; the later one to bind takes the next."""
    stack.start([{"name": "first", "mode": "late", "port": port}])
    until(lambda: bool(stack.starts_of("late")), lambda: "the service was not started")
    shown = stack.wait_for("first", State.STARTING)
    taken = int(str(shown.url).rpartition(":")[2])
    with http.server.ThreadingHTTPServer(("127.0.0.1", taken), Answers) as other:
        threading.Thread(target=other.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        stack.wait_for("first", State.STARTING, "another program answers on its port")
        Path(f"{stack.notes}.go").touch()
        shown = stack.wait_for("first", State.UP)
        other.shutdown()

    assert shown.url != f"http://127.0.0.1:{taken}"
    assert stack.published() == {"first": shown.url}
    assert next(line for line in stack.log().splitlines() if "first: up at" in line).endswith(str(shown.url))
    assert len(stack.starts_of("late")) == 2


def test_what_is_in_the_way_of_a_service_is_its_reason(stack: Stack, port: int) -> None:
    stack.start([{"name": "first", "mode": "good", "port": port, "blocked": "another program has it open"}])

    stack.wait_for("first", State.DOWN, "another program has it open")
    assert not stack.starts_of("good")


@pytest.mark.parametrize("text", ["", "{", '{"version": 99}', '{"version": 1, "owner": 3, "services": {}}', "\x00\x00"])
def test_a_stale_or_torn_state_file_does_not_keep_a_stack_from_starting(stack: Stack, port: int, text: str) -> None:
    stack.home.make()
    stack.home.state_file.write_text(text)

    stack.start([{"name": "first", "mode": "good", "port": port}])

    stack.wait_for("first", State.UP)


def test_what_an_earlier_stack_left_behind_is_ended_before_anything_starts(stack: Stack, port: int) -> None:
    stack.home.make()
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as left:
        since = start_of(left.pid)
        assert since is not None
        old = state.ServiceState(State.UP, pid=left.pid, started=since)
        innocent = state.ServiceState(State.UP, pid=os.getpid(), started="1")
        state.write(stack.home, state.Snapshot(Owner(99999999, "1"), {"first": old, "second": innocent}))

        stack.start([{"name": "first", "mode": "good", "port": port}])

        assert left.wait(PATIENCE) == -signal.SIGTERM
    stack.wait_for("first", State.UP)


def test_a_pid_that_was_reused_is_not_taken_for_the_owner() -> None:
    assert myself().alive
    assert not Owner(os.getpid(), "12").alive


@pytest.mark.skipif(not LINUX, reason="reads /proc")
def test_a_zombie_does_not_count_as_running() -> None:
    with subprocess.Popen([sys.executable, "-c", "pass"]) as child:
        since = start_of(child.pid)
        until(
            lambda: Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z",
            lambda: "no zombie",
        )
        assert not Owner(child.pid, since).alive


def test_logs_are_cut_while_the_service_writes_on(tmp_path: Path) -> None:
    from stack import logs

    log = tmp_path / "service.log"
    with logs.append_to(log) as writer:
        writer.write(b"old line\n" * 100)
        assert not logs.rotate(log, limit=10_000)
        assert logs.rotate(log, limit=100)
        writer.write(b"new line\n")

    assert log.read_bytes() == b"new line\n"
    assert log.with_name("service.log.1").read_bytes() == b"old line\n" * 100
    assert logs.last_line(log, since=900) == "new line"


def test_nothing_is_written_while_nothing_changes_and_the_last_line_says_that_it_has_stopped(
    stack: Stack, port: int
) -> None:
    supervisor = stack.start([{"name": "first", "mode": "good", "port": port}])
    stack.wait_for("first", State.UP)
    written = stack.home.state_file.stat().st_mtime_ns
    time.sleep(1.2)

    assert stack.home.state_file.stat().st_mtime_ns == written
    supervisor.terminate()
    output, _ = supervisor.communicate(timeout=PATIENCE)
    assert output.splitlines()[-1].endswith("has stopped")


# -- what is asked for later --------------------------------------------------------------------------------------


def offer(port: int, **more: Any) -> list[dict[str, Any]]:
    """A service that can be asked for, whose data take a moment to make."""
    code = "import time; print('row 3 of 7', flush=True); time.sleep(1.0)"
    task = {"name": "data", "about": "making the sample data", "code": code}
    return [{"name": "later", "mode": "parent", "port": port, "needs": ["data"], "tasks": [task], **more}]


def test_a_service_that_is_asked_for_gets_its_data_made_and_starts_beside_the_others(stack: Stack, port: int) -> None:
    stack.start(two(port)[:1], offers=offer(port))
    before = stack.wait_for("first", State.UP)
    assert stack.shows("later") is None
    assert list(state.read(stack.home).offers) == ["later"]

    wanted.ask(stack.home, ["later"], None)

    stack.wait_for("later", State.STARTING, "making the sample data: row 3 of 7")
    # Nobody listens yet: Prometheus would call it down.
    assert list(stack.published()) == ["first"]
    shown = stack.wait_for("later", State.UP)
    assert stack.published() == {"first": before.url, "later": shown.url}
    assert stack.shows("first") == before


def test_asking_twice_starts_one(stack: Stack, port: int) -> None:
    stack.start(two(port)[:1], offers=offer(port, tasks=(), needs=()))
    stack.wait_for("first", State.UP)
    for _ in range(2):
        wanted.ask(stack.home, ["later", "later"], None)
        stack.wait_for("later", State.UP)
    time.sleep(0.7)

    assert len(stack.starts_of("parent")) == 1
    assert stack.log().count("later: asked for") == 1


def test_a_name_that_is_not_known_is_ignored_and_said_once_in_the_log(stack: Stack, port: int) -> None:
    stack.start(two(port)[:1], offers=offer(port, tasks=(), needs=()))
    stack.wait_for("first", State.UP)
    folder = wanted.folder(stack.home)
    for name in ("netflix", "later.json", "LATER", "x; touch y", "caf\u00e9\n" + 200 * "z"):
        (folder / name).write_text('{"pid": 1, "command": "touch /tmp/owned"}')
    (folder / ".later.draft").touch()
    (folder / "later").symlink_to(stack.notes)
    os.mkfifo(folder / "pipe")
    until(lambda: stack.log().count("is no system of this stack") == 5, stack.log)
    time.sleep(0.7)

    assert stack.log().count("'netflix' is no system of this stack (later); ignored") == 1
    assert stack.log().count("is no system of this stack") == 5
    assert stack.shows("later") is None, "a link is no request"
    (folder / "later").unlink()
    wanted.ask(stack.home, ["later"], None)
    stack.wait_for("later", State.UP)


def test_a_file_in_the_place_of_the_folder_is_said_and_keeps_nothing_from_running(stack: Stack, port: int) -> None:
    stack.home.make()
    wanted.folder(stack.home).write_text("")
    stack.start(two(port)[:1], offers=offer(port))

    stack.wait_for("first", State.UP)
    until(lambda: "no system is started when picked" in stack.log(), stack.log)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_no_process_is_left_of_what_was_asked_for(stack: Stack, port: int, number: signal.Signals) -> None:
    code = f"import os, time; open({str(stack.folder / 'making')!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    slow = {"name": "slow", "about": "making the sample data", "code": code}
    also = {"name": "slower", "mode": "good", "port": port, "needs": ["slow"], "tasks": [slow]}
    supervisor = stack.start(two(port)[:1], offers=[*offer(port, tasks=(), needs=(), mode="stubborn"), also])
    until(lambda: wanted.folder(stack.home).exists(), lambda: "no folder")
    wanted.ask(stack.home, ["later", "slower"], None)
    stack.wait_for("later", State.UP)
    making = stack.folder / "making"
    until(lambda: making.exists() and making.read_text() != "", lambda: "the task has not begun")
    maker = int(making.read_text())
    pids = [*stack.pids(), (maker, start_of(maker) or "")]
    assert len(pids) == 4

    supervisor.send_signal(number)
    supervisor.wait(PATIENCE)

    until(lambda: all_gone(pids), lambda: f"still there: {pids}")


def test_a_request_holds_as_long_as_the_console_that_made_it(stack: Stack, port: int) -> None:
    stack.home.make()
    me = myself()
    gone = Owner(os.getpid(), "12")
    offers = [
        {"name": name, "mode": "good", "port": port}
        for name in ("of_the_living", "of_the_dead", "of_nobody", "of_a_stranger")
    ]
    wanted.ask(stack.home, ["of_the_living"], me)
    wanted.ask(stack.home, ["of_the_dead"], gone)
    wanted.ask(stack.home, ["of_nobody"], None)
    (wanted.folder(stack.home) / "of_a_stranger").write_bytes(b"[3, \xff")

    stack.start([{"name": "first", "mode": "good", "port": port}], offers=offers)

    stack.wait_for("of_the_living", State.UP)
    assert set(state.read(stack.home).services) == {"first", "of_the_living"}
    assert [file.name for file in wanted.folder(stack.home).iterdir()] == ["of_the_living"]


def test_the_taken_port_of_a_service_that_is_asked_for_is_left_to_its_owner(stack: Stack, port: int) -> None:
    stack.start(two(port)[:1], offers=offer(port + 1, tasks=(), needs=()))
    stack.wait_for("first", State.UP)
    with socket.create_server(("127.0.0.1", port + 1)):
        wanted.ask(stack.home, ["later"], None)
        shown = stack.wait_for("later", State.UP)

    assert shown.url not in {f"http://127.0.0.1:{port}", f"http://127.0.0.1:{port + 1}"}
    assert stack.published()["later"] == shown.url


def test_without_any_free_port_the_one_is_down_in_words_and_the_others_run(stack: Stack, port: int) -> None:
    last = 65535
    with socket.create_server(("127.0.0.1", last)):
        stack.start(two(port)[:1], offers=offer(last, tasks=(), needs=()))
        stack.wait_for("first", State.UP)
        wanted.ask(stack.home, ["later"], None)
        shown = stack.wait_for("later", State.DOWN, "no free port from 65535")

    assert shown.url is None
    assert list(stack.published()) == ["first"]
    assert stack.wait_for("first", State.UP)
