"""Is a service answering, and is it ours: one small thread a service asks it and keeps the latest word."""

import contextlib
import http.client
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from app.base.phrase import Phrase
from stack.places import HOST

# A start is looked at closely, a running service now and then.
EAGER_SECONDS = 0.1
CALM_SECONDS = 2.0
# An answer on loopback takes milliseconds; a service busy with a burst is given this long.
ANSWER_SECONDS = 3.0
# One missed answer is a busy moment; silence for this long (seconds) is shown as down.
SILENCE_SECONDS = 10.0
# The state of a listening socket in /proc/net/tcp.
LISTENING = "0A"


class Probe:
    """Asks `GET path` until it is closed; `ready`, `silent_for` and `word` are safe to read from anywhere."""

    def __init__(self, port: int, path: str) -> None:
        self._port, self._path = port, path
        self._closed = threading.Event()
        self._answered: float | None = None
        self._since = time.monotonic()
        self.word: str = Phrase("no answer yet")
        threading.Thread(target=self._ask_on, name=f"probe-{port}", daemon=True).start()

    @property
    def ready(self) -> bool:
        """Whether it has ever answered 200 and has not been silent for long since."""
        return self._answered is not None and self.silent_for < SILENCE_SECONDS

    @property
    def silent_for(self) -> float:
        """Seconds since the last good answer, since the first question without one."""
        return time.monotonic() - (self._answered if self._answered is not None else self._since)

    def close(self) -> None:
        """Stop asking."""
        self._closed.set()

    def _ask_on(self) -> None:
        while not self._closed.is_set():
            self.word = _ask(self._port, self._path)
            if not self.word:
                self._answered = time.monotonic()
            self._closed.wait(CALM_SECONDS if not self.word else EAGER_SECONDS)


def _ask(port: int, path: str) -> str:
    """Return "" for an answer of 200, otherwise what came instead."""
    connection = http.client.HTTPConnection(HOST, port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", path)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"GET {path}: {type(error).__name__}"
    finally:
        connection.close()
    return "" if status == 200 else Phrase("GET {path} answers {status}", path=path, status=status)


def listens(pid: int, port: int) -> bool | None:
    """Tell whether a process, or one of the session it leads, listens on an IPv4 port; None where none can tell."""
    try:
        rows = [row.split() for row in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
        sockets = {f"socket:[{row[9]}]" for row in rows if row[3] == LISTENING and int(row[1][-4:], 16) == port}
        running = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    except (OSError, ValueError, IndexError):
        return None  # not Linux
    for one in running:
        # It may have gone since it was listed.
        with contextlib.suppress(OSError):
            if (one == pid or os.getsid(one) == pid) and not sockets.isdisjoint(open_files(one)):
                return True
    return False


def open_files(pid: int) -> Iterator[str]:
    """Yield what a process has open; nothing for one that has ended or belongs to another user."""
    try:
        links = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return
    for link in links:
        # Closed since it was listed.
        with contextlib.suppress(OSError):
            yield str(link.readlink())
