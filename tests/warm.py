"""Commands of ours as processes of their own, without the seconds in which each would import Evidently and Feast.

One process for each process of the test run imports them once. It forks a child for each command, which gets the
command's arguments, environment, folder and standard streams, runs the module as `python -m` does, and leaves with its
exit code. A worker that such a child starts is forked from it in the same way: with its own pipes, group and parent.
For tests of what a command does. How it starts from nothing and what it imports is for a real process; so are our
services: a library of the warm process has changed for good how Prometheus's client counts.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# Standard input, output and errors of the command, and the line on which its pid and its end are told.
GIVEN = 4
# The heavy imports on a machine that others use as well; no test waits for it to pass.
PATIENCE = 300.0
# What a worker sets for its libraries before it imports them (app.jobs.child.QUIET).
QUIET = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "DO_NOT_TRACK": "1", "FEAST_USAGE": "False"}
WORKER = ("-m", "app.jobs.worker")
# Whoever is in here may hold a lock of SQLite, which would stay held for good in a process forked now.
LOCKING = "/sqlalchemy/"


# --- for tests -------------------------------------------------------------------------------------------------------


class Command:
    """`python -m MODULE …` (or `python -c CODE …`) going in a warm process; what tests use of subprocess.Popen."""

    def __init__(self, *command: str, env: Mapping[str, str] | None = None, cwd: Path = ROOT) -> None:
        self.args = command
        self.returncode: int | None = None
        self._files = [tempfile.TemporaryFile() for _ in range(2)]
        out, err = self._files
        self._line, theirs = socket.socketpair()
        reading, writing = os.pipe()
        self.stdin = os.fdopen(writing, "wb")
        request = {"command": command, "cwd": str(cwd), "env": dict(os.environ if env is None else env)}
        _send(request, (reading, out.fileno(), err.fileno(), theirs.fileno()))
        os.close(reading)
        theirs.close()
        self._told = self._line.makefile("r")
        self.pid = int(self._told.readline() or -1)
        assert self.pid > 0, "the warm process ended"

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        if self.returncode is None and select.select([self._line], [], [], 0)[0]:
            self._read_end()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code once it has ended."""
        if self.returncode is None:
            if not select.select([self._line], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self._read_end()
        assert self.returncode is not None
        return self.returncode

    def _read_end(self) -> None:
        line = self._told.readline()
        assert line, f"nobody knows how {self.args} ended"
        self.returncode = int(line)
        self._told.close()
        self._line.close()

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """(standard output, standard error) once it has ended."""
        with contextlib.suppress(BrokenPipeError):
            self.stdin.close()
        self.wait(timeout)
        both = self.output(), self.output(1)
        for file in self._files:
            file.close()
        return both

    def output(self, which: int = 0) -> str:
        """What has come on standard output (1: standard error) so far."""
        number = self._files[which].fileno()
        return os.pread(number, os.fstat(number).st_size, 0).decode()

    def send_signal(self, number: signal.Signals) -> None:
        """As to any process."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def run(
    *command: str, env: Mapping[str, str] | None = None, cwd: Path = ROOT, timeout: float = PATIENCE
) -> subprocess.CompletedProcess[str]:
    """What `python -m MODULE …` says and how it ends, as subprocess.run tells it."""
    process = Command(*command, env=env, cwd=cwd)
    try:
        out, err = process.communicate(timeout)
    except BaseException:
        process.kill()
        raise
    return subprocess.CompletedProcess([*command], process.returncode or 0, out, err)


_WARM: dict[int, tuple[subprocess.Popen[bytes], socket.socket]] = {}


def _send(request: Mapping[str, Any], files: Sequence[int]) -> None:
    warm = _WARM.get(os.getpid())
    if warm is None or warm[0].poll() is not None:
        warm = _WARM[os.getpid()] = _started()
    socket.send_fds(warm[1], [json.dumps(request).encode() + b"\n"], files)


def _started() -> tuple[subprocess.Popen[bytes], socket.socket]:
    mine, theirs = socket.socketpair()
    strange = ("VIGIE_", "FEAST_", "POSTGRES_", "PROMETHEUS_", "REPORT_DIR")
    environ = {name: text for name, text in os.environ.items() if not name.startswith(strange)}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.warm", str(theirs.fileno())],
        cwd=ROOT, env={**environ, **QUIET}, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
    )  # fmt: skip
    theirs.close()
    atexit.register(_end, process, mine, os.getpid())
    return process, mine


def _end(process: subprocess.Popen[bytes], line: socket.socket, owner: int) -> None:
    if os.getpid() == owner:
        line.close()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()


# --- the warm process ------------------------------------------------------------------------------------------------


def main(number: int) -> SimpleNamespace | None:
    """Import what is heavy, then fork for each command. Comes back with a command in its child, and with None at the end."""
    from app.drift import worker

    gc.disable()
    worker.preload()
    import app.cli
    import app.jobs.host  # noqa: F401 - to be there

    gc.freeze()
    line = socket.socket(fileno=number)
    while True:
        # Whoever has ended is counted with this process: the CPU of a run of tests is told whole.
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        data, files = _received(line)
        if not data:
            _reap()
            return None
        if os.fork() == 0:
            return _child(json.loads(data), files)
        for file in files:
            os.close(file)


def _received(line: socket.socket) -> tuple[bytes, list[int]]:
    """One request and its files; nothing when nobody can ask any more."""
    data, files, _, _ = socket.recv_fds(line, 65_536, GIVEN)
    while data and not data.endswith(b"\n"):
        data += line.recv(65_536)
    return data, files


def _reap() -> None:
    until = time.monotonic() + 5
    with contextlib.suppress(ChildProcessError):
        while time.monotonic() < until:
            if not os.waitpid(-1, os.WNOHANG)[0]:
                time.sleep(0.02)


def _child(request: dict[str, Any], files: Sequence[int]) -> SimpleNamespace | None:
    """In a child: start the command in one more, tell its pid and its end, and leave."""
    status = files[-1]
    pid = os.fork()
    if pid == 0:
        for to, file in enumerate(files[:-1]):
            os.dup2(file, to)
        _become(request["env"])
        os.chdir(request["cwd"])
        return SimpleNamespace(command=request["command"])
    for file in (0, 1, *files[:-1]):
        os.close(file)
    with contextlib.suppress(BrokenPipeError):
        os.write(status, b"%d\n" % pid)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.write(status, b"%d\n" % code)
    os._exit(0)


def _become(env: Mapping[str, str]) -> None:
    """What exec does for a new program: no file but the standard streams, no handler, the environment given."""
    os.closerange(3, 4096)
    with contextlib.suppress(ValueError):
        signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(env)
    gc.enable()


def perform(module: str, arguments: Sequence[str]) -> int:
    """Run a module as `python -m` does, or code as `python -c`; its exit code."""
    sys.argv = [module, *arguments]
    # As `python -m` has it: the folder one stands in comes first.
    sys.path[0] = os.getcwd()  # noqa: PTH109 - a string
    sys.path[1:1] = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    try:
        if module == "-c":
            sys.argv.pop(1)
            exec(arguments[0], {"__name__": "__main__"})
        else:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as left:
        if left.code is None or isinstance(left.code, int):
            return left.code or 0
        print(left.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def leave(code: int) -> None:
    """The end of a process, without the second in which it would take its memory apart."""
    for thread in threading.enumerate():
        if not thread.daemon and thread is not threading.main_thread():
            thread.join()
    atexit._run_exitfuncs()
    with contextlib.suppress(BrokenPipeError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code & 0xFF)


def workers_are_forked() -> None:
    """A worker started in here is a fork of this process: already warm, and else what a new one is."""
    import asyncio

    start = asyncio.create_subprocess_exec
    os.register_at_fork(before=_no_other_holds_a_lock)

    async def started(program: str, *arguments: str, **named: Any) -> Any:
        if program == sys.executable and arguments[:2] == WORKER:
            named["preexec_fn"] = lambda: _worker(arguments[2:], named["env"])
        return await start(program, *arguments, **named)

    asyncio.create_subprocess_exec = started  # type: ignore[assignment]


def _no_other_holds_a_lock() -> None:
    """Before a fork: until no other thread is in the database. None goes on while this one has the interpreter."""
    mine, until = threading.get_ident(), time.monotonic() + PATIENCE
    while time.monotonic() < until:
        # Whoever waits for the interpreter has had it; the next is asked to wait for longer than what follows takes.
        time.sleep(0.002)
        stacks = [traceback.walk_stack(frame) for number, frame in sys._current_frames().items() if number != mine]
        if not any(LOCKING in frame.f_code.co_filename for stack in stacks for frame, _ in stack):
            return


def _worker(arguments: Sequence[str], env: Mapping[str, str]) -> None:
    """In the child that subprocess has forked and that will not become another program."""
    # Connections of the parent whose files are closed here are not taken apart: their numbers are others' by then.
    gc.freeze()
    # The pipe on which it would tell a failed exec is closed here as well: whoever waits for it goes on.
    _become(env)
    leave(perform(WORKER[1], arguments))


if __name__ == "__main__":
    given = main(int(sys.argv[1]))
    if given is None:
        # Nothing of it is worth the time that taking its memory apart would take.
        os._exit(0)
    workers_are_forked()
    leave(perform(given.command[0], given.command[1:]))
