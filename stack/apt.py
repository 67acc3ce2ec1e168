"""Debian packages without root: `apt-get download` from the system's own sources, then `dpkg -x`.

apt checks the signatures of its lists and the hashes of its packages. When the system's lists are empty or old
(containers), lists of the same sources are fetched into a private folder. No address of a mirror is here.
"""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from app.base import child_process
from stack import logs
from stack.errors import BinaryAbsent

Report = Callable[[str], None]

# An unreachable source (a third-party one behind a firewall) must not hold up the others.
CONNECT_SECONDS = 15
# The lists of a Debian release are 10 to 60 MB, the packages asked for here under 30 MB: minutes on a slow line.
UPDATE_SECONDS = 240
DOWNLOAD_SECONDS = 600
UNPACK_SECONDS = 120

PROGRESS_SECONDS = 0.5


def missing() -> str:
    """Return why apt cannot be used here, "" when it can."""
    for program in ("apt-get", "dpkg"):
        if shutil.which(program) is None:
            return f"{program} is not on PATH (not a Debian or Ubuntu system)"
    return ""


def candidate(package: str) -> str:
    """Return the file that apt would download for a package, "" when its lists know none. No network is used."""
    answer = subprocess.run(
        ["apt-get", "download", "--print-uris", package],
        capture_output=True,
        text=True,
        check=False,
        timeout=UNPACK_SECONDS,
    )
    words = answer.stdout.split()
    return words[1] if answer.returncode == 0 and len(words) > 1 else ""


def extract(package: str, into: Path, report: Report) -> str:
    """Download a package and unpack it into a folder; return the package file's name (it has the version).

    Raises BinaryAbsent with apt's own last word.
    """
    reason = missing()
    if reason:
        raise BinaryAbsent(reason)
    work = into / ".apt"
    work.mkdir(parents=True)
    try:
        archive = _download(package, work, report)
        report(f"unpacking {archive.name}")
        code, last = _run(["dpkg", "-x", str(archive), str(into)], work, UNPACK_SECONDS, report=None)
        if code:
            raise BinaryAbsent(f"dpkg could not unpack {archive.name}: {last}")
        return archive.name
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _download(package: str, work: Path, report: Report) -> Path:
    failures = []
    for private in (False, True):
        options = _private_root(work) if private else []
        if private:
            report("fetching the package lists of this system's own sources")
            # Not fatal: one unreachable source of several makes it fail, and the package may come from another.
            _run(["apt-get", *options, "update"], work, UPDATE_SECONDS, report)
        code, last = _run(["apt-get", *options, "download", package], work, DOWNLOAD_SECONDS, report)
        archives = sorted(work.glob("*.deb"))
        if code == 0 and archives:
            return archives[0]
        failures.append(last)
    raise BinaryAbsent(f"apt-get download {package}: {failures[-1] or failures[0] or 'no answer'}")


def _private_root(work: Path) -> list[str]:
    state, cache = work / "state", work / "cache"
    for folder in (state / "lists" / "partial", cache / "archives" / "partial"):
        folder.mkdir(parents=True, exist_ok=True)
    values = {
        "Dir::State": state,
        "Dir::State::lists": state / "lists",
        "Dir::Cache": cache,
        # An absolute path overrides Dir::State: the system's own list of installed packages is only read.
        "Dir::State::status": "/var/lib/dpkg/status",
    }
    return [word for key, value in values.items() for word in ("-o", f"{key}={value}")]


def _run(command: list[str], work: Path, seconds: float, report: Report | None) -> tuple[int, str]:
    """Run a command in the work folder; return exit code and last line. Reports the bytes that have arrived."""
    if command[0] == "apt-get":
        settings = [f"Acquire::{scheme}::Timeout={CONNECT_SECONDS}" for scheme in ("http", "https")]
        settings += ["Acquire::Retries=1", *([] if os.geteuid() else ["APT::Sandbox::User=root"])]
        command = ["apt-get", *(word for setting in settings for word in ("-o", setting)), *command[1:]]
    log = work / "log"
    with logs.append_to(log) as output:
        before = log.stat().st_size
        env = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
        child = child_process.start(command, env=env, cwd=work, output=output)
    deadline = time.monotonic() + seconds
    try:
        while child.poll() is None:
            if time.monotonic() > deadline:
                return 1, f"no end after {seconds:.0f} s"
            try:
                child.wait(PROGRESS_SECONDS)
            except subprocess.TimeoutExpired:
                if report:
                    report(f"{_megabytes(work)} MB downloaded")
    finally:
        child_process.stop([child])
    return child.returncode, _verdict(log, before)


def _verdict(log: Path, since: int) -> str:
    """Return apt's first error line (E: ...), else the last line."""
    text = log.read_bytes()[since:].decode("utf-8", errors="replace")
    errors = [line for line in text.splitlines() if line.startswith("E: ")]
    return errors[0].removeprefix("E: ") if errors else logs.last_line(log, since)


def _megabytes(folder: Path) -> str:
    size = 0
    for path in folder.rglob("*"):
        # apt renames a file when it is whole, perhaps between the listing and this look.
        with contextlib.suppress(FileNotFoundError):
            size += path.stat().st_size
    return f"{size / 1e6:.1f}"
