"""Is this process the one we mean? A pid alone is reused: pid and start time together, and not a zombie."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

LINUX = sys.platform.startswith("linux")
# prctl(2): the kernel sends this signal to us when the thread that started us ends.
PR_SET_PDEATHSIG = 1
# `ps` answers in milliseconds; where it hangs the process counts as unknown.
PS_SECONDS = 2.0
# How often an ending process is looked at.
POLL_SECONDS = 0.02
# Large enough for any of our lines, small enough to read a runaway one without harm.
READ_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Owner:
    """A process by pid and start time (clock ticks since boot on Linux, `ps -o lstart=` elsewhere)."""

    pid: int
    started: str

    @property
    def alive(self) -> bool:
        """True while exactly this process runs."""
        # `ps` pads the day of the month; anyone who wrote the time down may have kept the padding.
        return start_of(self.pid) == " ".join(self.started.split())

    def end(self, grace: float) -> bool:
        """End a process that is not our child: SIGTERM, then SIGKILL after the grace; True when it is gone."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if not self.alive:
                return True
            with suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, number)
            deadline = time.monotonic() + grace
            while self.alive and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
        return not self.alive


def start_of(pid: int) -> str | None:
    """When the process started, as text that only equality is asked of; None when it is gone or a zombie."""
    if pid <= 0:
        return None
    if LINUX:
        try:
            # The name, second and in parentheses, may itself hold spaces and parentheses.
            after = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            return None
        return None if after[0] in (b"Z", b"X") else after[19].decode()
    english = {**os.environ, "LC_ALL": "C"}
    command = ["ps", "-o", "stat=,lstart=", "-p", str(pid)]
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, timeout=PS_SECONDS, check=False, env=english
        ).stdout.split()
    except (OSError, subprocess.SubprocessError):
        return None
    return " ".join(answer[1:]) if answer and not answer[0].startswith("Z") else None


def begun(started: str) -> float | None:
    """When a process of that start time started, in epoch seconds; None where that cannot be told."""
    if not (LINUX and started.isdigit()):
        return None
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return booted + int(started) / os.sysconf("SC_CLK_TCK")


def owner_of(pid: int) -> Owner:
    """The process that has this pid now; one that is never alive when there is none."""
    return Owner(pid, start_of(pid) or "")


def myself() -> Owner:
    """The process that asks."""
    return owner_of(os.getpid())


def heeded(*numbers: signal.Signals) -> list[signal.Signals]:
    """The signals of these that the parent process did not set to be ignored.

    `nohup` ignores SIGHUP, and a shell SIGINT for what it starts in the background: our handler would undo it.
    """
    return [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]


def die_with_parent(sign: signal.Signals, parent: int) -> None:
    """Have the kernel send us `sign` when our parent ends (Linux); leave at once when it already has."""
    if LINUX:
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(sign), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def watch_pipe(ended: Callable[[], object], line: Callable[[bytes], object] = lambda _: None) -> None:
    """Read standard input in a thread: `line` gets each whole line, `ended` is called once when the pipe has closed.

    The parent process holds the other end; it closes when that process ends, in every case.
    """
    threading.Thread(target=_read_pipe, args=(ended, line), daemon=True, name="stdin").start()


def _read_pipe(ended: Callable[[], object], line: Callable[[bytes], object]) -> None:
    rest = b""
    with suppress(OSError):
        while part := os.read(0, READ_BYTES):
            *whole, rest = (rest + part).split(b"\n")
            for text in whole:
                line(text)
    ended()
