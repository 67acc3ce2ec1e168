"""Log files of children: opened for appending, cut by copy and truncate, read from the end.

A child writes to its file itself, so no log line depends on the supervisor being alive. The file is opened with
O_APPEND; when it has grown past the limit its text is copied to `<name>.log.1` and the file is cut to nothing, and
the child goes on writing at the new end. Lines written between copy and cut (microseconds) are lost.
"""

import os
import shutil
from pathlib import Path
from typing import IO

# Two files of this size a child: weeks of Prometheus' log, and no laptop notices them.
LOG_BYTES = 5_000_000

# The last line of a log is looked for in this much of its end.
TAIL_BYTES = 4096

# A reason on one line of a card.
LINE_CHARACTERS = 300


def append_to(path: Path) -> IO[bytes]:
    """Open a log file for appending, readable by its owner alone."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab", buffering=0)


def rotate(path: Path, limit: int = LOG_BYTES) -> bool:
    """Copy and cut a log file that has grown past the limit (bytes); tell whether it was cut."""
    try:
        if path.stat().st_size <= limit:
            return False
    except FileNotFoundError:
        return False
    shutil.copyfile(path, path.with_name(path.name + ".1"))
    os.truncate(path, 0)
    return True


def last_line(path: Path, since: int = 0) -> str:
    """Return the last line with text at or after the byte `since`, shortened; "" when there is none."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            # A file that was cut meanwhile is shorter than `since`: then all of it is new.
            file.seek(max(size - TAIL_BYTES, since if since <= size else 0))
            text = file.read(TAIL_BYTES).decode("utf-8", errors="replace")
    except OSError:
        return ""
    lines = [line.strip() for line in text.replace("\r", "\n").splitlines() if line.strip()]
    return lines[-1][:LINE_CHARACTERS] if lines else ""
