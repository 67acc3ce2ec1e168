"""Prometheus and node exporter: found on this machine, or fetched without root.

In this order: the environment variable (a wrong path is an error, nothing else is tried), PATH, the cache in the
home directory, Debian's package (`stack.apt`), the official release (`stack.release`). `doctor` shows each step.
"""

import json
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from app.base import variables
from app.base.files import replace
from app.base.home import Home
from app.base.phrase import Phrase
from app.base.processes import LINUX
from stack import apt, release
from stack.errors import BinaryAbsent, BinaryRefused

Report = Callable[[str], None]

# `--version` answers in 50 ms; on a laptop that is swapping it may take seconds.
VERSION_SECONDS = 20.0

# Longer than apt and a release together may take: a draft of this age belongs to no one any more.
LEFT_BEHIND_SECONDS = 3600.0

ORIGIN = "origin.json"


@dataclass(frozen=True, slots=True)
class Program:
    """A program of the stack and every name it goes by."""

    name: str
    variable: str
    on_path: tuple[str, ...]
    package: str
    in_package: str
    release_version: str
    # In the output of `--version`: another program of the same name on PATH is not taken.
    mark: str


PROMETHEUS = Program(
    name="prometheus",
    variable=variables.PROMETHEUS_BIN.name,
    on_path=("prometheus",),
    package="prometheus",
    in_package="usr/bin/prometheus",
    # The release that docker-compose.yml runs too.
    release_version="2.55.1",
    mark="prometheus, version ",
)
NODE_EXPORTER = Program(
    name="node_exporter",
    variable=variables.NODE_EXPORTER_BIN.name,
    on_path=("prometheus-node-exporter", "node_exporter"),
    package="prometheus-node-exporter",
    in_package="usr/bin/prometheus-node-exporter",
    release_version="1.8.2",
    mark="node_exporter, version ",
)
PROGRAMS = {program.name: program for program in (PROMETHEUS, NODE_EXPORTER)}


@dataclass(frozen=True, slots=True)
class Binary:
    """A usable program: where it is, where it came from, which version it says it is."""

    name: str
    path: Path
    source: str
    version: str


@dataclass(frozen=True, slots=True)
class Step:
    """One line of `doctor`: a place that was looked at and what is there."""

    place: str
    present: bool
    text: str


def locate(program: Program, home: Home, environ: Mapping[str, str]) -> Binary | None:
    """Return the program if it is on this machine already; uses no network. Raises BinaryRefused."""
    named = _named(program, environ)
    if named is not None:
        return named
    return _on_path(program, environ) or _cached(program, home)


def fetch(
    program: Program,
    home: Home,
    environ: Mapping[str, str],
    report: Report,
    releases: str = release.RELEASES,
) -> Binary:
    """Return the program, fetched into the cache when it is not on this machine.

    Raises BinaryRefused for a wrong path in the environment, BinaryAbsent when every step has failed.
    """
    present = locate(program, home, environ)
    if present is not None:
        return present
    sources: tuple[tuple[str, Callable[[Path], tuple[str, str]]], ...] = (
        ("apt", lambda folder: (program.in_package, apt.extract(program.package, folder, report))),
        ("release", lambda folder: _from_release(program, folder, report, releases)),
    )
    failures = []
    for source, get in sources:
        try:
            return _install(program, home, source, get)
        except BinaryAbsent as error:
            failures.append(f"{source}: {error}")
        except OSError as error:
            failures.append(f"{source}: {error.strerror} ({error.filename})")
    raise BinaryAbsent(f"no {program.name} ({'; '.join(failures)})", how_to_install())


def steps(program: Program, home: Home, environ: Mapping[str, str]) -> list[Step]:
    """Return what each place says, in the order in which they are tried; downloads nothing."""
    rows = []
    try:
        named = _named(program, environ)
        rows.append(Step(program.variable, named is not None, _said(named) if named else "not set"))
    except BinaryRefused as error:
        rows.append(Step(program.variable, present=False, text=error.line()))
    on_path = _on_path(program, environ)
    nothing = f"no {' or '.join(program.on_path)}"
    rows.append(Step("PATH", on_path is not None, _said(on_path) if on_path else nothing))
    cached = _cached(program, home)
    rows.append(Step("cache", cached is not None, _said(cached) if cached else f"nothing in {home.bin}"))
    rows.append(_apt_step(program))
    try:
        name = release.stem(program.name, program.release_version)
        text = f"{name}.tar.gz, checked against the release's sha256sums (asked only when needed)"
        rows.append(Step("release", present=True, text=text))
    except BinaryAbsent as error:
        rows.append(Step("release", present=False, text=str(error)))
    return rows


def how_to_install(os_release: Path = Path("/etc/os-release")) -> str:
    """Return the command that installs both programs on this system."""
    commands = {
        "debian": "sudo apt-get install prometheus prometheus-node-exporter",
        "ubuntu": "sudo apt-get install prometheus prometheus-node-exporter",
        "fedora": "sudo dnf install golang-github-prometheus golang-github-prometheus-node-exporter",
        "arch": "sudo pacman -S prometheus prometheus-node-exporter",
        "alpine": "sudo apk add prometheus prometheus-node-exporter",
    }
    otherwise = Phrase(
        "Download them from prometheus.io/download and set {prometheus} and {node_exporter}",
        prometheus=PROMETHEUS.variable,
        node_exporter=NODE_EXPORTER.variable,
    )
    if not LINUX:
        return Phrase("Type `{command}`", command="brew install prometheus node_exporter")
    try:
        text = os_release.read_text(encoding="utf-8")
    except OSError:
        return otherwise
    for word in re.findall(r'^(?:ID|ID_LIKE)="?([^"\n]*)', text, re.MULTILINE):
        for system in word.split():
            if system in commands:
                return Phrase("Type `{command}`", command=commands[system])
    return otherwise


def _named(program: Program, environ: Mapping[str, str]) -> Binary | None:
    named = environ.get(program.variable, "")
    if not named:
        return None
    hint = Phrase("Correct {variable}, or unset it to let Vigie look for itself", variable=program.variable)
    path = Path(named).expanduser()
    if not path.is_file():
        raise BinaryRefused(Phrase("{variable}={path} is not a file", variable=program.variable, path=named), hint)
    binary = _probe(program, path, program.variable)
    if binary is None:
        raise BinaryRefused(
            Phrase(
                "{variable}={path} does not run as {program}",
                variable=program.variable,
                path=named,
                program=program.name,
            ),
            hint,
        )
    return binary


def _on_path(program: Program, environ: Mapping[str, str]) -> Binary | None:
    for name in program.on_path:
        path = shutil.which(name, path=environ.get("PATH", ""))
        binary = _probe(program, Path(path), "PATH") if path else None
        if binary is not None:
            return binary
    return None


def _cached(program: Program, home: Home) -> Binary | None:
    folder = home.bin / program.name
    try:
        origin = json.loads((folder / ORIGIN).read_bytes())
        path, source = folder / str(origin["binary"]), str(origin["source"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return _probe(program, path, f"cache ({source})")


def _probe(program: Program, path: Path, source: str) -> Binary | None:
    """Run `--version`; None when the file does not run or is another program."""
    try:
        answer = subprocess.run(
            [str(path), "--version"],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=VERSION_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(re.escape(program.mark) + r"(\S+)", answer.stdout + answer.stderr)
    return Binary(program.name, path.absolute(), source, match[1]) if match else None


def _install(program: Program, home: Home, source: str, get: Callable[[Path], tuple[str, str]]) -> Binary:
    """Make the program's cache folder in one rename, only with a program in it that runs."""
    home.bin.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in home.bin.glob(f".{program.name}-*"):
        # A fetch that was killed could not tidy up; one that goes on at this moment is younger.
        if time.time() - left.stat().st_mtime > LEFT_BEHIND_SECONDS:
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=home.bin, prefix=f".{program.name}-") as name:
        draft = Path(name) / "new"
        draft.mkdir()
        inside, origin = get(draft)
        if _probe(program, draft / inside, source) is None:
            raise BinaryAbsent(f"{origin} gave a {program.name} that does not run here")
        facts = {"binary": inside, "source": source, "file": origin}
        replace(draft / ORIGIN, json.dumps(facts, indent=1) + "\n", durable=True)
        target = home.bin / program.name
        if target.exists() and _cached(program, home) is None:
            # A damaged cache; out of the way in one step, removed with the temporary folder.
            target.rename(Path(name) / "old")
        if not target.exists():
            draft.rename(target)
    binary = _cached(program, home)
    if binary is None:
        raise BinaryAbsent(f"{home.bin / program.name} does not run programs (is it mounted noexec?)")
    return binary


def _from_release(program: Program, folder: Path, report: Report, releases: str) -> tuple[str, str]:
    path = release.fetch(program.name, program.release_version, folder, report, releases)
    return path.name, f"{program.name}-{program.release_version}"


def _apt_step(program: Program) -> Step:
    reason = apt.missing()
    if reason:
        return Step("apt", present=False, text=reason)
    file = apt.candidate(program.package)
    if file:
        return Step("apt", present=True, text=f"offers {file}")
    return Step("apt", present=False, text=f"its lists know no {program.package}; `fetch` gets lists of its own")


def _said(binary: Binary) -> str:
    return f"{binary.path} (version {binary.version})"
