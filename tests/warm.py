"""Commands of ours as processes of their own, without the time in which each would import its libraries.

One process for a whole run of tests imports them once. It forks a child for each command, which gets the command's
arguments, environment, folder and standard streams, runs the module as `python -m` does, and leaves with its exit code.
A worker or a caller of hooks that such a child starts is forked from it in the same way: with its own pipes, group and
parent. For tests of what a command does. How it starts from nothing and what it imports is for a real process.

Prediction services have warm processes of their own: the drift worker's libraries change for good how Prometheus's client
counts, and nothing of the repository is there for a service to import.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import gc
import importlib
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
# What a warm process has imported: what job host and command line need, or Evidently and Feast as well.
LIGHT, HEAVY = "light", "heavy"
# The same for prediction services: what all import, or Feast as well; or a process that begins from nothing.
SERVICE, FEAST, NONE = "service", "feast service", ""
# Prometheus's client before Feast, as the service has it: Feast would switch it to files that processes share.
SERVICE_LIBRARIES = (
    *("prometheus_client", "fastapi.openapi.utils", "uvicorn.lifespan.on", "uvicorn.loops.auto"),
    *("uvicorn.protocols.http.auto", "uvicorn.protocols.websockets.auto", "pyarrow.parquet", "joblib"),
    *("sklearn.compose", "sklearn.ensemble", "sklearn.feature_extraction", "sklearn.linear_model", "sklearn.pipeline"),
    *("sqlalchemy.dialects.sqlite", "sqlalchemy.dialects.postgresql.psycopg"),
)
# The heavy imports on a machine that others use as well; no test waits for it to pass.
PATIENCE = 300.0
# Nothing but forks is left to be taken apart.
END_SECONDS = 10.0
# What a worker sets for its libraries before it imports them (app.jobs.child.QUIET).
QUIET = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "DO_NOT_TRACK": "1", "FEAST_USAGE": "False"}
# What our processes start of ours.
FORKED = ("app.jobs.worker", "app.notify")
# Whoever is in here may hold a lock of SQLite, which would stay held for good in a process forked now.
LOCKING = "/sqlalchemy/"


# --- for tests -------------------------------------------------------------------------------------------------------


class Command:
    """`python -m MODULE …` (or `python -c CODE …`) going in a warm process; what tests use of subprocess.Popen."""

    def __init__(
        self,
        *command: str,
        env: Mapping[str, str] | None = None,
        cwd: Path = ROOT,
        libraries: str = HEAVY,
        log: Path | None = None,
    ) -> None:
        self.args = command
        self.returncode: int | None = None
        # Both streams go to `log` where there is one.
        self._files = [log.open("wb") if log else tempfile.TemporaryFile() for _ in range(1 if log else 2)]
        out, err = self._files[0], self._files[-1]
        self._line, theirs = socket.socketpair()
        reading, writing = os.pipe()
        self.stdin = os.fdopen(writing, "wb")
        request = {"command": command, "cwd": str(cwd), "env": dict(os.environ if env is None else env)}
        data = json.dumps(request).encode() + b"\n"
        socket.send_fds(_line(libraries), [data], (reading, out.fileno(), err.fileno(), theirs.fileno()))
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
    *command: str,
    env: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
    timeout: float = PATIENCE,
    libraries: str = HEAVY,
) -> subprocess.CompletedProcess[str]:
    """What `python -m MODULE …` says and how it ends, as subprocess.run tells it."""
    process = Command(*command, env=env, cwd=cwd, libraries=libraries)
    try:
        out, err = process.communicate(timeout)
    except BaseException:
        process.kill()
        raise
    return subprocess.CompletedProcess([*command], process.returncode or 0, out, err)


def service(
    port: int, *options: str, log: Path, env: Mapping[str, str], libraries: str = SERVICE
) -> Command | subprocess.Popen[bytes]:
    """A prediction service under uvicorn, started as the stack starts it, in the folder of its log.

    Nothing of the repository is importable from there: the service must run alone.
    """
    command = ["uvicorn", *options, "service:app", "--host", "127.0.0.1", "--port", str(port)]
    if libraries != NONE:
        return Command(*command, env=env, cwd=log.parent, libraries=libraries, log=log)
    with log.open("wb") as out:
        return subprocess.Popen(
            [sys.executable, "-m", *command], env=env, cwd=log.parent, stdout=out, stderr=subprocess.STDOUT
        )


_LINES: dict[tuple[str, int], socket.socket] = {}


def _line(libraries: str) -> socket.socket:
    """The line of this process to the warm process of this run of tests. It ends with the last line to it."""
    line = _LINES.get((libraries, os.getpid()))
    if line is None:
        run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or os.getpid()
        place = Path(tempfile.gettempdir()) / f"vigie-{libraries.replace(' ', '-')}-{run}"
        with place.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            line = _LINES[libraries, os.getpid()] = _connected(place, libraries)
    return line


def _connected(place: Path, libraries: str) -> socket.socket:
    line = socket.socket(socket.AF_UNIX)
    try:
        line.connect(str(place))
    except OSError:
        # Nobody has asked yet.
        place.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(place))
            listener.listen(64)
            _start(libraries, listener)
        line.connect(str(place))
    return line


def _start(libraries: str, listener: socket.socket) -> None:
    strange = ("VIGIE_", "FEAST_", "POSTGRES_", "PROMETHEUS_", "REPORT_DIR")
    environ = {name: text for name, text in os.environ.items() if not name.startswith(strange)}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.warm", libraries, str(listener.fileno())],
        cwd=ROOT, env={**environ, **QUIET}, pass_fds=[listener.fileno()], stdin=subprocess.DEVNULL,
    )  # fmt: skip
    atexit.register(_end, process, os.getpid())


def _end(process: subprocess.Popen[bytes], owner: int) -> None:
    """Wait for it, unless other processes of this run still need it."""
    if os.getpid() == owner:
        for line in _LINES.values():
            line.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_SECONDS)


# --- the warm process ------------------------------------------------------------------------------------------------


def main(libraries: str, number: int) -> SimpleNamespace | None:
    """Import, then fork for each command. Comes back with a command in its child, and with None at the end."""
    gc.disable()
    if libraries in (SERVICE, FEAST):
        _import_for_services(feast=libraries == FEAST)
    else:
        _import_for_commands(heavy=libraries == HEAVY)
    gc.freeze()
    listener = socket.socket(fileno=number)
    return _serve(listener)


def _import_for_services(*, feast: bool) -> None:
    for name in SERVICE_LIBRARIES:
        importlib.import_module(name)
    if feast:
        # As the service has it: without this, a temporary folder is made and left.
        os.environ["PROMETHEUS_MULTIPROCESS_DIR"] = tempfile.gettempdir()
        importlib.import_module("feast")
    for name in [name for name in sys.modules if name.partition(".")[0] in ("app", "stack", "tests")]:
        del sys.modules[name]


def _import_for_commands(*, heavy: bool) -> None:
    if heavy:
        from app.drift import worker

        worker.preload()
        worker.settle()
    import app.cli
    import app.jobs.host
    import app.jobs.worker
    import app.notify.sending  # noqa: F401 - to be there
    from app.config import Settings, load_systems
    from app.runs.opening import opened

    # What is loaded and compiled at the first use as well.
    with tempfile.TemporaryDirectory() as home:
        settings = Settings.from_env({**os.environ, "VIGIE_HOME": home, "REPORT_DIR": home})
        load_systems(settings)
        with opened(settings) as ledger:
            ledger.runs()


def _serve(listener: socket.socket) -> SimpleNamespace | None:
    lines = [listener]
    while True:
        # Whoever has ended is counted with this process: the CPU of a run of tests is told whole.
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        for line in select.select(lines, [], [])[0]:
            if line is listener:
                lines.append(listener.accept()[0])
                continue
            data, files = _received(line)
            if not data:
                lines.remove(line)
                line.close()
                if _nobody_asks(listener, lines):
                    _reap()
                    return None
            elif os.fork() == 0:
                for one in lines:
                    os.close(one.detach())
                return _child(json.loads(data), files)
            for file in files:
                os.close(file)


def _nobody_asks(listener: socket.socket, lines: Sequence[socket.socket]) -> bool:
    """True when the last line is closed: from then on nobody finds this process."""
    if len(lines) > 1:
        return False
    place = Path(listener.getsockname())
    for file in (place, place.with_suffix(".lock")):
        file.unlink(missing_ok=True)
    return not select.select([listener], [], [], 0)[0]


def _received(line: socket.socket) -> tuple[bytes, list[int]]:
    """One request and its files; nothing when this one will ask no more."""
    try:
        data, files, _, _ = socket.recv_fds(line, 65_536, GIVEN)
        while data and not data.endswith(b"\n"):
            data += line.recv(65_536)
    except ConnectionResetError:
        return b"", []
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
    # As each Python begins; subprocess has set them to what other programs expect.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_IGN)
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
    # Tells thread pools to end, and waits for every thread that is no daemon.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    with contextlib.suppress(BrokenPipeError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code & 0xFF)


def workers_are_forked() -> None:
    """What is started in here of FORKED is a fork of this process: already warm, and else what a new one is."""
    os.register_at_fork(before=_no_other_holds_a_lock)

    class Popen(subprocess.Popen[bytes]):
        def __init__(self, args: Sequence[str], **named: Any) -> None:
            if list(args[:2]) == [sys.executable, "-m"] and args[2] in FORKED:
                named["preexec_fn"] = lambda: _forked(args[2], args[3:], named["env"])
            super().__init__(args, **named)

    subprocess.Popen = Popen  # type: ignore[assignment,misc]


def _no_other_holds_a_lock() -> None:
    """Before a fork: until no other thread is in the database. None goes on while this one has the interpreter."""
    mine, until = threading.get_ident(), time.monotonic() + PATIENCE
    while time.monotonic() < until:
        # Whoever waits for the interpreter has had it; the next is asked to wait for longer than what follows takes.
        time.sleep(0.002)
        stacks = [traceback.walk_stack(frame) for number, frame in sys._current_frames().items() if number != mine]
        if not any(LOCKING in frame.f_code.co_filename for stack in stacks for frame, _ in stack):
            return


def _forked(module: str, arguments: Sequence[str], env: Mapping[str, str]) -> None:
    """In the child that subprocess has forked and that will not become another program."""
    # Connections of the parent whose files are closed here are not taken apart: their numbers are others' by then.
    gc.freeze()
    # The pipe on which it would tell a failed exec is closed here as well: whoever waits for it goes on.
    _become(env)
    leave(perform(module, arguments))


if __name__ == "__main__":
    given = main(sys.argv[1], int(sys.argv[2]))
    if given is None:
        # Nothing of it is worth the time that taking its memory apart would take.
        os._exit(0)
    workers_are_forked()
    leave(perform(given.command[0], given.command[1:]))
