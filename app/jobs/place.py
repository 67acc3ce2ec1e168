"""Where the job host of one VIGIE_HOME is found: its lock, its socket, and the note that tells both."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app.base.files import Lock, private_folder, read, replace
from app.base.processes import Owner, myself
from app.errors import JobError
from app.words.message import t

if TYPE_CHECKING:
    from app.config import Settings

# A Unix socket address holds 108 bytes on Linux and 104 on macOS, the final zero included.
MAX_SOCKET_PATH = 100
# Address, process id and a start time.
MAX_NOTE_BYTES = 10_000
# Waiting connections: every page of every tab at once, and room.
BACKLOG = 64


@dataclass(frozen=True, slots=True)
class Note:
    """`<home>/jobs.json`: the socket and the process of the host that serves, or last served, this home."""

    socket: Path
    owner: Owner


def note_path(settings: Settings) -> Path:
    """Path of the note."""
    return settings.home / "jobs.json"


def read_note(settings: Settings) -> Note | None:
    """The note, or None when there is none or it is torn."""
    try:
        raw = json.loads(read(note_path(settings), MAX_NOTE_BYTES))
        return Note(Path(raw["socket"]), Owner(int(raw["pid"]), str(raw["started"])))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def socket_path(settings: Settings) -> Path:
    """Where a client connects: `<home>/jobs.sock`, or what the note says when that path is too long for a socket."""
    usual = settings.home / "jobs.sock"
    if len(os.fsencode(usual)) <= MAX_SOCKET_PATH:
        return usual
    note = read_note(settings)
    return usual if note is None else note.socket


def take_host_lock(settings: Settings) -> Lock | None:
    """The lock that makes this process the host of this home; None when another one is. Keep it."""
    path = settings.home / "jobs.lock"
    try:
        private_folder(path.parent)
        lock = Lock(path)
        return lock if lock.acquire() else None
    except OSError as error:
        message = t("{path} cannot be opened ({why}).", path=path, why=error.strerror)
        raise JobError(message, hint=t("Set VIGIE_HOME to a folder that can be written.")) from error


def listen(settings: Settings) -> socket.socket:
    """A listening socket that only this user can connect to, and the note. Call with the host lock held."""
    _sweep(settings)
    path = settings.home / "jobs.sock"
    if len(os.fsencode(path)) > MAX_SOCKET_PATH:
        path = Path(tempfile.mkdtemp(prefix="vigie-")) / "jobs.sock"  # mkdtemp: 0700, and no one else's
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        server.bind(str(path))
        server.listen(BACKLOG)
    except OSError as error:
        server.close()
        message = t("The socket {path} cannot be made ({why}).", path=path, why=error.strerror)
        raise JobError(message, hint=t("Set VIGIE_HOME to a folder on a local disk.")) from error
    finally:
        os.umask(before)
    owner = myself()
    text = json.dumps({"socket": str(path), "pid": owner.pid, "started": owner.started})
    replace(note_path(settings), text, private=True)
    return server


def leave(settings: Settings) -> None:
    """Remove socket and note; call with the host lock held."""
    _sweep(settings)
    with contextlib.suppress(OSError):
        note_path(settings).unlink()


def _sweep(settings: Settings) -> None:
    """Remove the socket of the host before us, and the short folder it may have made for it."""
    note = read_note(settings)
    for path in {settings.home / "jobs.sock", *((note.socket,) if note else ())}:
        try:
            if stat.S_ISSOCK(path.lstat().st_mode) and path.lstat().st_uid == os.getuid():
                path.unlink()
        except FileNotFoundError:
            pass  # from Python 3.13 on, a server that closes removes its socket itself
        except OSError:
            continue
        if path.parent != settings.home and path.parent.name.startswith("vigie-"):
            with contextlib.suppress(OSError):
                path.parent.rmdir()
