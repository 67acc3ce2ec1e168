"""Processes by pid and start time, children that end with their parent, and stopping them.

A process is the one we mean when its pid, its start time and "not a zombie" agree: pids are reused, and a first
process of a container may never reap.
"""

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO

LINUX = sys.platform.startswith("linux")

# Long enough for Prometheus to close its write-ahead log, short enough for the promise of a stop in 2 s.
STOP_SECONDS = 1.5

# How often an ending process is looked at.
POLL_SECONDS = 0.02

# The state of a listening socket in /proc/net/tcp.
LISTENING = "0A"

# `ps` answers in milliseconds; a hung one must not hang the supervisor.
PS_SECONDS = 5.0

# Run by `sh` after the death signal is set: the parent may have died before that, and then no signal comes.
_STILL_MINE = 'test "$PPID" = "$0" || exit 1; exec "$@"'

# The same without setpriv: prctl(PR_SET_PDEATHSIG = 1, SIGKILL = 9), look at the parent, become the program.
_PRCTL = (
    "import ctypes, os, sys\n"
    "ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)\n"
    "os.getppid() == int(sys.argv[1]) or os._exit(1)\n"
    "os.execvp(sys.argv[2], sys.argv[2:])\n"
)


def started(pid: int) -> str | None:
    """Return the start time of a running process as the system writes it; None when gone or a zombie."""
    if pid <= 0:
        return None
    if LINUX:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
        # The command name stands in parentheses and may hold spaces and parentheses: read after the last one.
        fields = stat.rpartition(")")[2].split()
        return None if fields[0] in {"Z", "X"} else fields[19]
    answer = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)],
        capture_output=True,
        text=True,
        check=False,
        timeout=PS_SECONDS,
        env={**os.environ, "LC_ALL": "C"},
    )
    state, _, since = answer.stdout.strip().partition(" ")
    return None if not state or state.startswith("Z") else since.strip()


def listens(pid: int, port: int) -> bool | None:
    """Tell whether a process, or one of the session it leads, listens on an IPv4 port; None where none can tell."""
    try:
        rows = [row.split() for row in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
        sockets = {f"socket:[{row[9]}]" for row in rows if row[3] == LISTENING and int(row[1][-4:], 16) == port}
        running = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    except (OSError, ValueError, IndexError):
        return None  # not Linux
    for one in running:
        # Gone, or closed, since it was listed; or somebody else's.
        with contextlib.suppress(OSError):
            if one == pid or os.getsid(one) == pid:
                for link in Path(f"/proc/{one}/fd").iterdir():
                    with contextlib.suppress(OSError):
                        if str(link.readlink()) in sockets:
                            return True
    return False


def is_running(pid: int | None, since: str | None) -> bool:
    """Tell whether the process with this pid and start time still runs."""
    return pid is not None and since is not None and started(pid) == since


@functools.cache
def _setpriv() -> str | None:
    """Return the path of a setpriv that knows --pdeathsig (busybox has one that does not)."""
    path = shutil.which("setpriv")
    if path is None:
        return None
    text = subprocess.run([path, "--help"], capture_output=True, text=True, check=False, timeout=PS_SECONDS)
    return path if "--pdeathsig" in text.stdout + text.stderr else None


def dying_with_parent(command: Sequence[str]) -> list[str]:
    """Return the command wrapped so that the kernel kills it when the thread that starts it ends.

    Linux only; elsewhere the command as it is (a later start sweeps what a killed supervisor left behind).
    The process id stays the same through the wrapper.
    """
    if not LINUX:
        return list(command)
    parent = str(os.getpid())
    setpriv = _setpriv()
    if setpriv is not None:
        return [setpriv, "--pdeathsig", "KILL", "--", "/bin/sh", "-c", _STILL_MINE, parent, *command]
    return [sys.executable, "-I", "-S", "-c", _PRCTL, parent, *command]


def start(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    output: IO[bytes] | int,
) -> "subprocess.Popen[bytes]":
    """Start a child in its own session, without input, that dies with this process.

    Call it from the main thread: the death signal follows the thread. Raises OSError.
    """
    return subprocess.Popen(
        dying_with_parent(command),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=dict(env),
        cwd=cwd,
        start_new_session=True,
    )


def stop(children: Iterable["subprocess.Popen[bytes]"], grace: float = STOP_SECONDS) -> None:
    """End children with everything in their sessions: SIGTERM, then SIGKILL after the grace; reap them."""
    going = [child for child in children if child.poll() is None]
    for child in going:
        _signal_group(child.pid, signal.SIGTERM)
    deadline = time.monotonic() + grace
    while any(child.poll() is None for child in going) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    for child in going:
        # Also after an orderly end: a grandchild may have stayed in the session.
        _signal_group(child.pid, signal.SIGKILL)
        child.wait()


def stop_stranger(pid: int, since: str, grace: float = STOP_SECONDS) -> bool:
    """End a process that is not our child, known by pid and start time; tell whether it is gone."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if not is_running(pid, since):
            return True
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
        deadline = time.monotonic() + grace
        while is_running(pid, since) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
    return not is_running(pid, since)


def ending(code: int) -> str:
    """Return an exit code in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


def _signal_group(leader: int, number: signal.Signals) -> None:
    # The group of a session leader has its pid; it may have ended between the look and the signal.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)
