"""The life of a child process: started so that it does not outlive us, ended with everything it started."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from app.base.phrase import Phrase
from app.base.processes import LINUX, POLL_SECONDS, PS_SECONDS

# Long enough for Prometheus to close its write-ahead log, short enough for the promise of a stop in 2 s.
STOP_SECONDS = 1.5
# SIGKILL needs no time; the kernel, busy with a large memory map, may.
REAP_SECONDS = 5.0
# A killed grandchild closes its port within milliseconds; where no init reaps it, it stays in its group.
RELEASE_SECONDS = 0.5

# Run by `sh` after the death signal is set: the parent may have died before that, and then no signal comes.
_STILL_MINE = 'test "$PPID" = "$0" || exit 1; exec "$@"'
# The same without setpriv: prctl(PR_SET_PDEATHSIG = 1, SIGKILL = 9), look at the parent, become the program.
_PRCTL = (
    "import ctypes, os, sys\n"
    "ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)\n"
    "os.getppid() == int(sys.argv[1]) or os._exit(1)\n"
    "os.execvp(sys.argv[2], sys.argv[2:])\n"
)


def start(
    command: Sequence[str], *, env: Mapping[str, str], cwd: Path, output: IO[bytes] | int
) -> subprocess.Popen[bytes]:
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


def start_held(
    command: Sequence[str], *, env: Mapping[str, str], cwd: Path, errors: int | None = None
) -> subprocess.Popen[bytes]:
    """Start one of our Python processes in its own session that ends when its standard input does (`watch_pipe`).

    Its standard output is dropped, its standard error ours unless `errors` says otherwise. Raises OSError.
    """
    return subprocess.Popen(
        [sys.executable, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=errors,
        env=dict(env),
        cwd=cwd,
        start_new_session=True,
    )


def stop(children: Iterable[subprocess.Popen[bytes]], grace: float = STOP_SECONDS) -> None:
    """End children with everything in their groups: SIGTERM, then SIGKILL after the grace; reap them.

    What is left of the group of one that has just ended is killed, too; of one that ended long ago the number may be
    another's by now.
    """
    every = list(children)
    running = [child for child in every if child.poll() is None]
    for child in running:
        signal_group(child.pid, signal.SIGTERM)
    _wait(running, grace)
    for child in every:
        # Also after an orderly end: a grandchild may have stayed in the group.
        signal_group(child.pid, signal.SIGKILL)
    _wait(running, REAP_SECONDS)
    deadline = time.monotonic() + RELEASE_SECONDS
    while any(_has_members(child.pid) for child in every) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def let_go(children: Iterable[subprocess.Popen[bytes]], grace: float) -> None:
    """Close the pipes of children that were started held, wait for their orderly end, kill what is left."""
    running = list(children)
    for child in running:
        close_pipe(child)
    _wait(running, grace)
    for child in running:
        if child.poll() is None:
            child.kill()
    _wait(running, REAP_SECONDS)


def close_pipe(child: subprocess.Popen[bytes]) -> None:
    """Tell a child that was started held to end; returns at once."""
    if child.stdin is not None:
        with suppress(OSError):
            child.stdin.close()


def signal_group(leader: int, number: signal.Signals) -> None:
    """Send a signal to a child that leads a process group, and to all in it; nothing when they have ended."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


def _has_members(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except OSError:
        return False  # gone, or another user's by now
    return True


def ending(code: int) -> str:
    """An exit status as text: `exit code 1`, `signal SIGKILL`."""
    if code >= 0:
        return Phrase("exit code {code}", code=code)
    try:
        return Phrase("signal {name}", name=signal.Signals(-code).name)
    except ValueError:
        return Phrase("signal {name}", name=-code)


def dying_with_parent(command: Sequence[str]) -> list[str]:
    """The command wrapped so that the kernel kills it when the thread that starts it ends.

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


@functools.cache
def _setpriv() -> str | None:
    """The path of a setpriv that knows --pdeathsig (busybox has one that does not)."""
    path = shutil.which("setpriv")
    if path is None:
        return None
    text = subprocess.run([path, "--help"], capture_output=True, text=True, check=False, timeout=PS_SECONDS)
    return path if "--pdeathsig" in text.stdout + text.stderr else None


def _wait(children: Sequence[subprocess.Popen[bytes]], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while any(child.poll() is None for child in children) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
