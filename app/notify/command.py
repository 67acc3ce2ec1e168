"""A hook that is a command: a process in a separate group, bounded in time and output."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import threading
from typing import Final

from app.base.child_process import stop
from app.config import Settings
from app.config.drift import Hook
from app.notify.channel import STOPPED, Cancellable, Hide, HookResult
from app.notify.event import Event

# The end of what a command prints; its last line is quoted.
MAX_OUTPUT: Final = 4_096
LINE_CHARS: Final = 200
# A command that is ended may put its things away for this long.
GRACE_SECONDS: Final = 1.0
# How long the last output of a command is waited for.
DRAIN_SECONDS: Final = 0.5


def program(settings: Settings, hook: Hook) -> str | None:
    """The program of a command: by its name on PATH, a path from the checkout on; None when it cannot be run."""
    name = hook.command[0]
    return shutil.which(str(settings.root / name) if "/" in name else name, path=settings.environ.get("PATH"))


def send(event: Event, hook: Hook, body: bytes, wait: Cancellable, hide: Hide) -> HookResult:
    """Start the command, give it the note, wait, and end what is left of it when it takes too long."""
    try:
        process = subprocess.Popen(
            hook.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=event.settings.root,
            env={**event.settings.environ, **event.variables},
            process_group=0,
        )
    except FileNotFoundError:
        # no catalogue: kept in English
        return HookResult("not started", f"there is no program {hook.command[0]!r}", timed=False)
    except (OSError, ValueError) as error:
        # no catalogue: kept in English
        return HookResult("not started", str(getattr(error, "strerror", None) or error), timed=False)
    output = _Output(process)
    threading.Thread(target=_feed, args=(process, body), daemon=True).start()
    status = wait.wait(process.wait, hook.timeout)
    if status is None:
        # With a moment to put things away when there is one.
        stop([process], 0.0 if wait.stopped else GRACE_SECONDS)
        return HookResult("ended", STOPPED if wait.stopped else output.last_line(hide))
    what = f"exit {status}" if status >= 0 else f"killed by signal {-status}"  # no catalogue: kept in English
    return HookResult(what, output.last_line(hide))


class _Output:
    """Reads all that a command prints and keeps the end of it."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process, self._tail = process, b""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        while part := os.read(self._process.stdout.fileno(), 65_536):
            self._tail = (self._tail + part)[-MAX_OUTPUT:]

    def last_line(self, hide: Hide) -> str:
        """The last line with something on it. What a child of the command may still print is not waited for."""
        self._thread.join(DRAIN_SECONDS)
        lines = [line.strip() for line in self._tail.decode("utf-8", "replace").splitlines() if line.strip()]
        # Hidden before it is cut: half of a password is not found any more.
        return hide(lines[-1])[-LINE_CHARS:] if lines else ""


def _feed(process: subprocess.Popen[bytes], body: bytes) -> None:
    assert process.stdin is not None
    # A command need not read the note.
    with contextlib.suppress(OSError), process.stdin as pipe:
        pipe.write(body)
