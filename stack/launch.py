"""`stack run`: from a bare checkout to a console that answers, or to the one that runs already."""

import contextlib
import http.client
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

from app.base import child_process
from app.base.files import Lock
from app.base.home import ROOT, Home
from app.base.processes import myself
from stack import binaries, environment, logs, places
from stack.errors import StackError
from stack.places import HOST, PORTS_TRIED

Say = Callable[[str], None]

CONSOLE_PORT = 8501

# `/healthz` on loopback answers in milliseconds; a console whose pages keep a core busy is given this long.
HEALTH_SECONDS = 1.5
HEALTH_BYTES = 4096
# A console that another start has just begun answers within this time (seconds), also on a busy machine.
BEGINNING_SECONDS = 60.0
# Programs fetched next to the installation are waited for this long when it is done (seconds).
FETCH_SECONDS = 3.0


def run(home: Home, environ: Mapping[str, str], say: Say, *, port: int | None = None, watch: bool = False) -> int:
    """Become the console (this call does not return then); 0 when one of this home runs already.

    Raises StackError with one line that says what to type.
    """
    for program in binaries.PROGRAMS.values():
        # A wrong path in the environment is reported now, not after minutes of installing.
        binaries.locate(program, home, environ)
    places.make_home(home)
    if _joined(home, say, port):
        return 0
    _check_port(port)
    environment.check_room(home.path, environment.LATER_BYTES, shutil.disk_usage(home.path).free)
    with _fetching(home, environ):
        python = environment.ensure(ROOT, say, environ)
    lock = Lock(home.stack / "console.lock")
    if not lock.acquire() and _other_answers(home, say, port, lock):
        return 0
    # The console writes its port next to this once it has bound one: what is free now may be taken by then.
    lock.note(json.dumps({**asdict(myself()), "port": port}))
    lock.keep_through_exec()
    say("Vigie starts; its address follows. Ctrl-C stops it and everything it starts.")
    return _become_console(python, home, environ, port, watch=watch)


@contextlib.contextmanager
def _fetching(home: Home, environ: Mapping[str, str]) -> Iterator[None]:
    """Fetch the programs that are missing beside an installation that takes a while; what fails is done again later."""
    here = [binaries.locate(program, home, environ) for program in binaries.PROGRAMS.values()]
    if environment.is_current(ROOT) or None not in here:
        yield
        return
    with logs.append_to(home.log("fetch")) as output:
        command = [sys.executable, "-m", "stack", "fetch"]
        child = child_process.start(command, env=home.environment(environ), cwd=ROOT, output=output)
    try:
        yield
        # The supervisor fetches what is not here yet: no one waits long for the slower of the two.
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(FETCH_SECONDS)
    finally:
        child_process.stop([child])


def ours(home: Home, port: int) -> bool:
    """Tell whether a console of this home answers on a port."""
    connection = http.client.HTTPConnection(HOST, port, timeout=HEALTH_SECONDS)
    try:
        connection.request("GET", "/healthz")
        body = json.loads(connection.getresponse().read(HEALTH_BYTES))
    except (OSError, http.client.HTTPException, ValueError):
        return False
    finally:
        connection.close()
    return isinstance(body, dict) and body.get("service") == "vigie" and body.get("home") == home.id


def find_ours(home: Home, port: int | None = None) -> int | None:
    """Return the port on which a console of this home answers, None when none does."""
    noted = console_of(home).get("port")
    candidates = [port, noted, *range(CONSOLE_PORT, CONSOLE_PORT + PORTS_TRIED)]
    for candidate in dict.fromkeys(candidates):
        if isinstance(candidate, int) and not places.port_is_free(candidate) and ours(home, candidate):
            return candidate
    return None


def console_of(home: Home) -> dict[str, object]:
    """Return pid, start time and port of the console that `run` started last; empty when nothing is noted."""
    try:
        body = json.loads((home.stack / "console.lock").read_bytes())
    except (OSError, ValueError):
        return {}
    return body if isinstance(body, dict) else {}


def _joined(home: Home, say: Say, port: int | None) -> bool:
    running = find_ours(home, port)
    if running is None:
        return False
    say(f"Vigie runs already: http://{HOST}:{running}")
    say(f"  home {home.path}, logs {home.logs}; `python3 -m stack status` shows what runs where")
    return True


def _check_port(port: int | None) -> None:
    if port is not None and not places.port_is_free(port):
        raise StackError(
            f"port {port} belongs to another program",
            "Type `python3 -m stack run` without --port to take the next free one",
        )


def _other_answers(home: Home, say: Say, port: int | None, lock: Lock) -> bool:
    """Wait for the console that another start has begun; False when that one has ended and the lock is ours."""
    say("Another start of this home is under way; waiting for its console.")
    deadline = time.monotonic() + BEGINNING_SECONDS
    while time.monotonic() < deadline:
        if _joined(home, say, port):
            return True
        if lock.acquire():
            return False
        time.sleep(0.2)
    pid = console_of(home).get("pid")
    raise StackError(
        f"the console of {home.path} (pid {pid}) gives no answer",
        f"Look in {home.logs}, or type `make stop` and start again",
    )


def _become_console(python: Path, home: Home, environ: Mapping[str, str], port: int | None, *, watch: bool) -> NoReturn:
    """Replace this process. Without a port Streamlit binds its usual one, 8501, or the next that is free."""
    arguments = ["-m", "streamlit", "run", "streamlit_app.py", "--server.address", HOST]
    if port is not None:
        arguments += ["--server.port", str(port)]
    if watch:
        arguments += ["--server.fileWatcherType", "auto", "--server.runOnSave", "true"]
    sys.stdout.flush()
    os.chdir(ROOT)
    os.execve(python, [str(python), *arguments], home.environment(environ))  # noqa: S606 - no shell is wanted
