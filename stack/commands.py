"""The command line of the stack: run, up, status, down, fetch, doctor, world, ingest and env."""

import argparse
import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from app.base import variables
from app.base.files import Lock
from app.base.home import ROOT, Home, attached_to
from app.base.processes import Owner
from stack import apis, binaries, doctor, environment, launch, places, services, state, wanted
from stack.errors import BinaryAbsent, BinaryRefused, StackError
from stack.supervisor import Supervisor

# The owner stops within 2 s; a machine that swaps is given longer before we say that it does not.
DOWN_SECONDS = 10.0
# An owner that is stopping, or has just begun and not written its state yet, is waited for this long (seconds).
HANDOVER_SECONDS = 10.0

# Read where --systems is not given: `run` hands it to the `up` that its console starts.
SYSTEMS_VARIABLE = variables.START.name
SYSTEMS_HELP = (
    f"APIs to start: {apis.ALL}, {apis.NONE}, or by comma of {', '.join(apis.APIS)} (default {', '.join(apis.FIRST)}; "
    f"the others start when they are first picked; with {apis.NONE} they do not). {SYSTEMS_VARIABLE} says the same"
)

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_NOT_RUNNING = 3
# `up` was asked to stop (`down`, SIGTERM): not a failure, and no reason to start it again.
EXIT_STOPPED = 4
EXIT_INTERRUPTED = 130


def main(arguments: Sequence[str]) -> int:
    """Run one command; return its exit code. Errors are one line on standard error."""
    options = _parser().parse_args(arguments)
    home = Home.of(os.environ)
    try:
        code: int = options.do(options, home, os.environ)
    except BinaryRefused as error:
        _complain(error.line())
        return EXIT_USAGE
    except StackError as error:
        _complain(error.line())
        return EXIT_FAILED
    except KeyboardInterrupt:
        _complain("stopped; type the same again to go on")
        return EXIT_INTERRUPTED
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m stack", description="The embedded stack of Vigie.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="make the environment if need be, start the console and what it watches")
    run.add_argument(
        "--port", type=int, help=f"port of the console (default {launch.CONSOLE_PORT}, else the next free)"
    )
    run.add_argument("--watch", action="store_true", help="reload pages when their files change (`make dev`)")
    run.add_argument("--systems", help=SYSTEMS_HELP)
    run.set_defaults(do=_run)

    up = commands.add_parser("up", help="start the services without a console; Ctrl-C stops them")
    up.add_argument("--parent-pipe", action="store_true", help="end when standard input ends or the parent is gone")
    up.add_argument("--console", default="", metavar="HOST:PORT", help="where the console's /metrics can be scraped")
    up.add_argument("--systems", help=SYSTEMS_HELP)
    up.set_defaults(do=_up)

    status = commands.add_parser("status", help="what runs where; exit 3 when no stack runs")
    status.add_argument("--json", action="store_true")
    status.set_defaults(do=_status)

    down = commands.add_parser("down", help="stop the services of this home")
    down.add_argument("--console", action="store_true", help="stop the console that `run` started, too")
    down.set_defaults(do=_down)

    fetch = commands.add_parser("fetch", help="fetch Prometheus and node exporter into the cache, without root")
    fetch.add_argument("program", nargs="*", choices=[*binaries.PROGRAMS, []], help="default: both")
    fetch.set_defaults(do=_fetch)

    look = commands.add_parser("doctor", help="look at everything a start needs and say what was found")
    look.set_defaults(do=_doctor)

    world = commands.add_parser("world", help="make the sample world if it is missing or outdated")
    world.add_argument("--force", action="store_true", help="make it again")
    world.set_defaults(do=_world)

    ingest = commands.add_parser("ingest", help="take in one month of CSV files, whole or not at all")
    ingest.add_argument(
        "--from", dest="folder", metavar="DIR", help="the folder of one month (users.csv and the others)"
    )
    ingest.add_argument("--as-of", metavar="DATE", help="the day the month was taken, for example 2024-01-31")
    ingest.add_argument("--sample", action="store_true", help="every month of the sample world, into PostgreSQL")
    ingest.add_argument("--to", choices=("sqlite", "postgres"), help="default: postgres when POSTGRES_* is set")
    ingest.add_argument("--labels-of", metavar="DATE", help="month of the rows in a labels table without months")
    ingest.set_defaults(do=_ingest)

    env = commands.add_parser("env", help="make the Python environment and nothing else")
    env.add_argument("--dev", action="store_true", help="with the packages that the tests need")
    env.set_defaults(do=_env)
    return parser


def _say(text: str) -> None:
    print(text, flush=True)


def _complain(text: str) -> None:
    print(f"stack: {text}", file=sys.stderr, flush=True)


def _run(options: argparse.Namespace, home: Home, environ: Mapping[str, str]) -> int:
    named = _named(options, environ)
    systems = _systems(named)
    if systems is None:
        return EXIT_USAGE
    if named is not None:
        environ = {**environ, SYSTEMS_VARIABLE: named}
    code = launch.run(home, environ, _say, port=options.port, watch=options.watch)
    # Still here: a console of this home runs already.
    if named is not None and not attached_to(environ):
        _ask(home, systems, _console(home))
    return code


def _console(home: Home) -> Owner | None:
    """Return the console that `run` started last, running or not."""
    noted = launch.console_of(home)
    pid, since = noted.get("pid"), noted.get("started")
    return Owner(pid, since) if isinstance(pid, int) and isinstance(since, str) else None


def _named(options: argparse.Namespace, environ: Mapping[str, str]) -> str | None:
    """Return the systems as the command line or the environment names them; None when neither does."""
    named: str | None = options.systems
    return environ.get(SYSTEMS_VARIABLE) if named is None else named


def _systems(named: str | None) -> Sequence[str] | None:
    """Return the systems to start with; None, with a complaint, when one of them is unknown."""
    if named is None:
        return apis.FIRST
    try:
        return apis.chosen(named)
    except StackError as error:
        _complain(f"--systems (or {SYSTEMS_VARIABLE}): {error.line()}")
        return None


def _ask(home: Home, systems: Sequence[str], asker: Owner | None) -> None:
    """Ask the stack that runs for systems; report it."""
    if not systems:
        return
    try:
        wanted.ask(home, systems, asker)
    except OSError as error:
        what = f"cannot write in {wanted.folder(home)}: {error.strerror}"
        raise StackError(what, "Free some room, or look at its rights") from error
    _say(f"asked it for {', '.join(systems)}; `python3 -m stack status` shows what runs")


def _env(options: argparse.Namespace, _home: Home, environ: Mapping[str, str]) -> int:
    environment.ensure(ROOT, _say, environ, development=options.dev)
    return 0


def _up(options: argparse.Namespace, home: Home, environ: Mapping[str, str]) -> int:
    if attached_to(environ):
        _say("attach mode (VIGIE_PROMETHEUS_URL or PROMETHEUS_URL is set): the stack starts nothing")
        return 0
    named = _named(options, environ)
    systems = _systems(named)
    if systems is None:
        return EXIT_USAGE
    _use_environment()
    if options.parent_pipe:
        # A separate session: Ctrl-C on the console's terminal is the console's to handle.
        with contextlib.suppress(PermissionError):
            os.setsid()
    places.make_home(home)
    lock = Lock(home.stack / "lock")
    joined = _take_over(lock, home)
    if joined is not None:
        _say(f"joined: the stack of {home.path} belongs to pid {joined.pid}; `python3 -m stack status` shows it")
        if named is not None:
            _ask(home, systems, None)
        return 0
    lock.note(str(os.getpid()))
    # The token opens the console and nothing below it.
    below = {name: value for name, value in home.environment(environ).items() if name != variables.TOKEN.name}
    plan = services.build(home, below, options.console, systems)
    supervisor = Supervisor(plan, parent_pipe=options.parent_pipe)
    try:
        supervisor.run()
    finally:
        lock.release()
    return EXIT_STOPPED if supervisor.stopped_by_signal else 0


def _take_over(lock: Lock, home: Home) -> Owner | None:
    """Take the lock; return the owner instead when another stack of this home runs and goes on running."""
    deadline = time.monotonic() + HANDOVER_SECONDS
    while not lock.acquire():
        snapshot = state.read(home)
        owner = snapshot.owner
        settled = owner is not None and owner.alive and not snapshot.stopping
        if settled:
            return owner
        if time.monotonic() > deadline:
            raise StackError(
                f"another process holds {lock.path} and shows no state", "`fuser` on that file names it; end it"
            )
        time.sleep(0.05)
    return None


def _status(options: argparse.Namespace, home: Home, _environ: Mapping[str, str]) -> int:
    snapshot = state.read(home)
    live = snapshot.live
    if options.json:
        rows = {name: asdict(service) for name, service in snapshot.services.items()} if live else {}
        owner = {**asdict(snapshot.owner), "stopping": snapshot.stopping} if live and snapshot.owner else None
        print(json.dumps({"running": live, "home": str(home.path), "owner": owner, "services": rows}))
        return 0 if live else EXIT_NOT_RUNNING
    if not live or snapshot.owner is None:
        ended = f" (the last one, pid {snapshot.owner.pid}, has ended)" if snapshot.owner else ""
        print(f"no stack runs for {home.path}{ended}. Type `make run` or `python3 -m stack run`")
        return EXIT_NOT_RUNNING
    print(f"stack of {home.path}, pid {snapshot.owner.pid}" + (", stopping" if snapshot.stopping else ""))
    rows_shown = [("SERVICE", "STATE", "URL", "PID", "LOG", "REASON")]
    for name, service in snapshot.services.items():
        pid = str(service.pid) if service.pid else "-"
        rows_shown.append(
            (name, str(service.state), service.url or "-", pid, service.log or "-", service.reason or "-")
        )
    widths = [max(len(row[column]) for row in rows_shown) for column in range(5)]
    for row in rows_shown:
        print("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[5]]))
    return 0


def _down(options: argparse.Namespace, home: Home, _environ: Mapping[str, str]) -> int:
    stopped = []
    if options.console:
        console = _console(home)
        if console is not None and console.alive:
            _end(console, "console")
            stopped.append(f"console (pid {console.pid})")
    owner = state.read(home).owner
    if owner is not None and owner.alive:
        _end(owner, "stack")
        stopped.append(f"stack (pid {owner.pid})")
    print(f"stopped: {', '.join(stopped)}" if stopped else f"nothing runs for {home.path}")
    return 0


def _end(owner: Owner, what: str) -> None:
    """Ask a process to stop and wait until it has; raises StackError when it does not."""
    try:
        os.kill(owner.pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise StackError(
            f"the {what} (pid {owner.pid}) belongs to another user", f"Type `sudo kill {owner.pid}`"
        ) from error
    deadline = time.monotonic() + DOWN_SECONDS
    while owner.alive:
        if time.monotonic() > deadline:
            raise StackError(
                f"the {what} (pid {owner.pid}) has not stopped in {DOWN_SECONDS:.0f} s", f"Type `kill -9 {owner.pid}`"
            )
        time.sleep(0.05)


def _fetch(options: argparse.Namespace, home: Home, environ: Mapping[str, str]) -> int:
    places.make_home(home)
    missing = []
    for name in options.program or list(binaries.PROGRAMS):
        try:
            binary = binaries.fetch(binaries.PROGRAMS[name], home, environ, _say)
        except BinaryAbsent as error:
            missing.append(error.line())
            _complain(error.line())
        else:
            _say(f"{name} {binary.version}: {binary.path} (from {binary.source})")
    return EXIT_FAILED if missing else 0


def _doctor(_options: argparse.Namespace, home: Home, environ: Mapping[str, str]) -> int:
    doctor.report(home, environ)
    return 0


def _world(options: argparse.Namespace, home: Home, environ: Mapping[str, str]) -> int:
    _use_environment()
    places.make_home(home)
    command = [sys.executable, "-m", "stack.world", "--home", str(home.path), *(["--force"] if options.force else [])]
    return subprocess.run(command, cwd=ROOT, env=home.environment(environ), check=False).returncode


def _ingest(options: argparse.Namespace, home: Home, environ: Mapping[str, str]) -> int:
    _use_environment()
    places.make_home(home)
    folder = os.path.abspath(options.folder) if options.folder else None  # noqa: PTH100 - the child runs elsewhere
    given = {"--from": folder, "--as-of": options.as_of, "--to": options.to, "--labels-of": options.labels_of}
    command = [sys.executable, "-m", "stack.ingest", "--home", str(home.path)]
    command += [f"{name}={value}" for name, value in given.items() if value is not None]
    command += ["--sample"] if options.sample else []
    return subprocess.run(command, cwd=ROOT, env=home.environment(environ), check=False).returncode


def _use_environment() -> None:
    """Go on in the checkout's environment when this interpreter lacks the packages; raises StackError without one."""
    if importlib.util.find_spec("uvicorn") is not None:
        return
    python = environment.python_of(ROOT)
    if not python.exists() or sys.prefix == str(ROOT / ".venv"):
        raise StackError("the Python environment is not made yet", "Type `make run` or `python3 -m stack run`")
    os.execv(python, [str(python), "-m", "stack", *sys.argv[1:]])  # noqa: S606 - no shell is wanted
