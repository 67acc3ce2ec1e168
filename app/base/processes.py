"""Is this process the one we mean? A pid alone is reused: pid and start time together, and not a zombie."""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

LINUX = platform.system() == "Linux"
# prctl(2): the kernel sends this signal to us when the thread that started us ends.
PR_SET_PDEATHSIG = 1
# `ps` answers in milliseconds; where it hangs the process counts as unknown.
PS_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Owner:
    """A process by pid and start time (clock ticks since boot on Linux, `ps -o lstart=` elsewhere)."""

    pid: int
    started: str

    @property
    def alive(self) -> bool:
        """True while exactly this process runs."""
        # `ps` pads the day of the month; whoever wrote the time down may have kept the padding.
        return start_of(self.pid) == " ".join(self.started.split())


def start_of(pid: int) -> str | None:
    """When the process started, as text that only equality is asked of; None when it is gone or a zombie."""
    if LINUX:
        try:
            # The name, second and in parentheses, may itself hold spaces and parentheses.
            after = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            return None
        return None if after[0] in (b"Z", b"X") else after[19].decode()
    plain = {**os.environ, "LC_ALL": "C"}
    command = ["ps", "-o", "stat=,lstart=", "-p", str(pid)]
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, timeout=PS_SECONDS, check=False, env=plain
        ).stdout.split()
    except (OSError, subprocess.SubprocessError):
        return None
    return " ".join(answer[1:]) if answer and not answer[0].startswith("Z") else None


def myself() -> Owner:
    """The process that asks."""
    return Owner(os.getpid(), start_of(os.getpid()) or "")


def heeded(*numbers: signal.Signals) -> list[signal.Signals]:
    """The signals of these that whoever started us did not set to be ignored.

    `nohup` ignores SIGHUP, and a shell SIGINT for what it starts in the background: a handler of ours would undo it.
    """
    return [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]


def die_with_parent(sign: signal.Signals, parent: int) -> None:
    """Have the kernel send us `sign` when our parent ends (Linux); leave at once when it already has."""
    if LINUX:
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(sign), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
