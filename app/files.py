"""Files that somebody else may have put there, read safely; folders and files that nobody else may read."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

# Group and others.
_NOT_OURS: Final = 0o077


def read(path: Path, limit: int) -> bytes:
    """The bytes of a regular file of at most `limit` bytes. Raises OSError whose `strerror` says what it is instead.

    A pipe is not waited for, a device is not read, and of a file that grows no more than `limit` is taken.
    """
    # Opening a pipe without a writer would wait for one.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        content = file.read(limit + 1) if status.st_size <= limit else b""
    if status.st_size > limit or len(content) > limit:
        raise OSError(errno.EFBIG, f"it has more than {limit:,} bytes", str(path))
    return content


def private_folder(path: Path) -> None:
    """Make a folder for its owner alone, or make one that is ours so, with what lies directly in it. Raises OSError."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if private(path.resolve()):
        for entry in path.iterdir():
            private(entry)


def private(path: Path) -> bool:
    """Take the rights of group and others from a file or folder of ours; True when there were any."""
    with suppress(OSError):
        # Nothing is opened without need: closing a descriptor of a database drops the locks that SQLite holds on it in
        # this process, and another process then takes its log away.
        status = path.lstat()
        if status.st_uid != os.geteuid() or not status.st_mode & _NOT_OURS:
            return False
        # By descriptor: a link that takes the name meanwhile opens nothing of ours. Sockets are made private.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            # Somebody else's folder is theirs to open.
            if status.st_uid == os.geteuid() and status.st_mode & _NOT_OURS:
                os.fchmod(descriptor, stat.S_IMODE(status.st_mode) & ~_NOT_OURS)
                return True
        finally:
            os.close(descriptor)
    return False
