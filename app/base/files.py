"""Files: read safely when someone else may have put them there, replaced whole, locked, private to their owner."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import threading
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


def replace(path: Path, text: str, *, durable: bool = False, private: bool = False) -> Path:
    """Write a text file so that a reader sees the old or the new one, never a part; return its path.

    `durable` survives a power cut, `private` gives the file to its owner alone. Raises OSError and leaves nothing.
    """
    # Several threads of several processes may write the same file at once.
    draft = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_native_id()}")
    try:
        # What is left of a process that was killed.
        draft.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with os.fdopen(os.open(draft, flags, 0o600 if private else 0o666), "w", encoding="utf-8") as file:
            file.write(text)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        return draft.replace(path)
    except BaseException:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise


def flock(descriptor: int, *, shared: bool = False, wait: bool = False) -> bool:
    """Lock an open file or folder until its descriptor is closed; False when another process has it. Raises OSError."""
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


class Lock:
    """An exclusive lock on a file or a folder, held until `release` or the end of the process, in every case."""

    def __init__(self, path: Path) -> None:
        """Name the file; nothing is opened yet."""
        self.path = path
        self._descriptor: int | None = None

    def acquire(self, *, wait: bool = False) -> bool:
        """Take the lock, making the file if there is none; False when another process has it. Raises OSError."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        while True:
            folder = self.path.is_dir()
            descriptor = os.open(self.path, os.O_RDONLY if folder else os.O_RDWR | os.O_CREAT, 0o600)
            try:
                if not flock(descriptor, wait=wait):
                    os.close(descriptor)
                    return False
                # Its last holder may have removed the file: the lock must be on the one that has the name now.
                current = os.path.samestat(os.fstat(descriptor), self.path.stat())
            except FileNotFoundError:
                current = False
            except BaseException:
                os.close(descriptor)
                raise
            if current:
                self._descriptor = descriptor
                return True
            os.close(descriptor)

    def note(self, text: str) -> None:
        """Write who holds the lock into it, for a person and for programs that ask."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, text.encode(), 0)

    def keep_through_exec(self) -> None:
        """Let the program that replaces this process go on holding the lock."""
        if self._descriptor is not None:
            os.set_inheritable(self._descriptor, True)

    def release(self, *, remove: bool = False) -> None:
        """Give the lock back, and with `remove` delete its file; without effect when it is not held."""
        if self._descriptor is not None:
            if remove:
                with suppress(OSError):
                    self.path.unlink()
            os.close(self._descriptor)
            self._descriptor = None


def private_folder(path: Path) -> None:
    """Make a folder for its owner alone, or make one that is ours so, with what is directly in it. Raises OSError."""
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
            # Someone else's folder is theirs to open.
            if status.st_uid == os.geteuid() and status.st_mode & _NOT_OURS:
                os.fchmod(descriptor, stat.S_IMODE(status.st_mode) & ~_NOT_OURS)
                return True
        finally:
            os.close(descriptor)
    return False
