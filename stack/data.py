"""Data of the sample systems: folders put in place whole, what is there already, and what can go wrong with it.

Standard library only.
"""

import argparse
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from app.base.files import Lock
from app.base.home import Home

# How long a second process waits for the first: making world, model and Feast repository takes under a minute.
LOCK_SECONDS: Final = 300.0
# How often the waiting process looks.
LOCK_POLL_SECONDS: Final = 0.2
# Training takes five seconds at most; a machine that needs three minutes is stuck.
TRAIN_SECONDS: Final = 180
# Months that `python -m stack ingest` keeps, one folder a month; this file in it is written last.
INGESTED: Final = "ingested"
MONTH_FILE: Final = "month.json"


class WorldError(Exception):
    """The sample world or its feature repository cannot be made; the message says what, where and what to do."""


def say(text: str) -> None:
    """One progress line on standard output, at once."""
    print(text, flush=True)


def trained(model: str, command: Sequence[str | Path], label: str) -> None:
    """Run the training script of a model, and repeat what it prints after a label. Raises WorldError."""
    # One thread: sums in a fixed order, and the machine is shared with the stack that is starting.
    env = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=TRAIN_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise WorldError(f"{model} was not trained within {TRAIN_SECONDS} s; try again") from error
    if done.returncode:
        raise WorldError(f"{model} could not be trained: {done.stderr.strip()[-2000:]}")
    for line in done.stdout.splitlines():
        say(f"{label}: {line}")


def arguments_of(prog: str, description: str) -> argparse.ArgumentParser:
    """The arguments of a command that makes data in a home: --home and --force."""
    parser = argparse.ArgumentParser(prog=prog, description=description)
    default = Home.of(os.environ).path
    text = "folder for the sample data (default: VIGIE_HOME, else var/ of the checkout)"
    parser.add_argument("--home", type=Path, default=default, help=text)
    parser.add_argument("--force", action="store_true", help="make it again even when it is up to date")
    return parser


def exit_code(label: str, make: Callable[[], object]) -> int:
    """0 once everything is in place, 1 with one line of reason otherwise."""
    try:
        make()
    except WorldError as error:
        print(f"{label}: {error}", file=sys.stderr)
        return 1
    return 0


@contextmanager
def locked(home: Path) -> Iterator[None]:
    """Hold the one lock of this home for making folders in it; wait for another process that does.

    The kernel frees the lock when its holder dies. Raises WorldError after LOCK_SECONDS.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock = Lock(home / ".world.lock")
        deadline, announced = time.monotonic() + LOCK_SECONDS, False
        while not lock.acquire():
            if not announced:
                say(f"world: another process is making {home}; waiting for it")
                announced = True
            if time.monotonic() > deadline:
                raise WorldError(
                    f"another process has held {lock.path} for {LOCK_SECONDS:.0f} s; stop it and try again"
                )
            time.sleep(LOCK_POLL_SECONDS)
    except OSError as error:
        raise WorldError(f"cannot write in {home}: {error}. Choose another VIGIE_HOME or free some room.") from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def replaced(target: Path) -> Iterator[Path]:
    """Give an empty folder next to ``target`` that takes its place when the block ends without an error.

    Call it under ``locked``: what an interrupted earlier attempt left is removed first.
    """
    for left in target.parent.glob(f".{target.name}-*"):
        shutil.rmtree(left, ignore_errors=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{target.name}-new-", dir=target.parent))
    # mkdtemp makes it private; the folder must be as readable as its neighbours.
    fresh.chmod(0o755)
    try:
        yield fresh
        for path in fresh.rglob("*"):
            if path.is_file():
                _sync(path)
        old = target.parent / f".{target.name}-old-{os.getpid()}"
        if target.exists():
            target.rename(old)
        fresh.rename(target)
        _sync(target.parent)
        shutil.rmtree(old, ignore_errors=True)
    except (OSError, sqlite3.Error) as error:
        # A full disk is an OSError from Parquet and an OperationalError from SQLite.
        raise WorldError(f"cannot write {target}: {error}. Free some room and try again.") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def sha256(path: Path) -> str:
    """The file's SHA-256 in hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def ensure(label: str, target: Path, is_current: Callable[[], bool], make: Callable[[Path], None], force: bool) -> bool:
    """Have ``make`` fill the folder anew unless it is current; True when it was made. Raises WorldError."""
    if force or not is_current():
        with locked(target.parent):
            # Another process may have made it while this one waited.
            if force or not is_current():
                started = time.monotonic()
                with replaced(target) as folder:
                    make(folder)
                say(f"{label}: {target} made, {_size(target)} in {time.monotonic() - started:.1f} s")
                return True
    say(f"{label}: {target} is up to date")
    return False


def _size(folder: Path) -> str:
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"


def libraries(*names: str) -> dict[str, str]:
    """Versions of what can change the bytes of a file besides our code (numpy only through rounding of sums)."""
    return {name: sqlite3.sqlite_version if name == "sqlite" else version(name) for name in names}


def generator(sources: Iterable[Path], writers: Mapping[str, str]) -> str:
    """A hash of the code that makes a folder and of the libraries that write it."""
    digest = hashlib.sha256()
    for path in sources:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    digest.update(json.dumps(writers, sort_keys=True).encode())
    return digest.hexdigest()


def files_in(folder: Path) -> dict[str, dict[str, Any]]:
    """Size and hash of each file, for a manifest."""
    return {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def has_files(folder: Path, manifest: Mapping[str, Any]) -> bool:
    """Whether the files of a manifest are there with their sizes (no hashing)."""
    try:
        return all((folder / name).stat().st_size == file["bytes"] for name, file in manifest["files"].items())
    except (OSError, KeyError, TypeError, AttributeError):
        return False


def read_manifest(path: Path) -> dict[str, Any]:
    """A manifest, empty where there is none that can be read."""
    try:
        manifest = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return manifest if isinstance(manifest, dict) else {}


def world_of(home: Path) -> dict[str, Any]:
    """``world.json`` of this home. Raises WorldError where there is no sample world."""
    manifest = read_manifest(home / "world" / "world.json")
    if not manifest:
        raise WorldError(f"no sample world in {home / 'world'}: run python -m stack.world --home {home} first")
    return manifest


def ingested(home: Path) -> list[dict[str, Any]]:
    """What is known of each ingested month, by date. Raises WorldError on one that cannot be read: it is the truth."""
    months = []
    for path in sorted((home / INGESTED).glob(f"[!.]*/{MONTH_FILE}")):
        try:
            month = json.loads(path.read_text("utf-8"))
            months.append({name: month[name] for name in ("as_of", "rows", "labelled", "sha256")})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise WorldError(f"{path} cannot be read ({type(error).__name__}): ingest that month again.") from error
    return months


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
