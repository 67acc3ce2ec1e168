"""The Python environment: `.venv` in the checkout, made by uv from the hashed lock, with a stamp of what is in it.

The stamp holds the sums of the locks, so a second start compares two sums and touches no network. A marker stands in
the environment while it is being made: one that was left half-made is made again. Development packages that are
there stay there, also when only the runtime is asked for.
"""

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.base.files import Lock, replace
from stack import apt
from stack.errors import BinaryAbsent, StackError

Say = Callable[[str], None]

# Measured: 1.3 GB of packages, as much again in uv's cache while it unpacks (hard links where the file system has
# them), the rest for binaries and the sample world.
FIRST_BYTES = 2_500_000_000
# What a start writes when everything is installed: world, logs, runs.
LATER_BYTES = 300_000_000

# How often the time and the bytes are shown: on a terminal one line is drawn over, in a log lines add up (seconds).
TERMINAL_SECONDS = 0.5
HEARTBEAT_SECONDS = 5.0
# The interpreter of a whole environment answers in 20 ms.
ANSWER_SECONDS = 30.0

STAMP = "vigie.json"
MARKER = "vigie-unfinished"

_TOOLS = "requirements-uv.txt"
_RUNTIME = "requirements.txt"
_DEVELOPMENT = "requirements-dev.txt"


@dataclass(frozen=True, slots=True)
class Stamp:
    """Sums of the locks that were installed; `development` is "" when only the runtime was."""

    runtime: str
    development: str


def python_of(root: Path) -> Path:
    """Return the environment's interpreter, whether it exists or not."""
    return root / ".venv" / "bin" / "python"


def is_current(root: Path, *, development: bool = False) -> bool:
    """Tell whether the environment holds what the locks say; reads three small files."""
    stamp = _read_stamp(root)
    if stamp is None or not python_of(root).exists() or (root / ".venv" / MARKER).exists():
        return False
    if stamp.runtime != _sum(root / _RUNTIME):
        return False
    return not development or stamp.development == _sum(root / _DEVELOPMENT)


def ensure(
    root: Path,
    say: Say,
    environ: Mapping[str, str],
    *,
    development: bool = False,
    free_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
) -> Path:
    """Make the environment as the locks say, if it is not so already; return its interpreter.

    Raises StackError with what to type. Two calls at once: the second waits, and finds it done.
    """
    if is_current(root, development=development):
        return python_of(root)
    with _locked(root, say):
        if is_current(root, development=development):
            return python_of(root)
        _make(root, say, environ, development=development, free_bytes=free_bytes)
    return python_of(root)


def check_room(root: Path, needed: int, free: int) -> None:
    """Raise StackError when the disk has less room than is needed (bytes)."""
    if free < needed:
        raise StackError(
            f"{root} has {free / 1e9:.1f} GB free and {needed / 1e9:.1f} GB are needed",
            "Make room (`df -h` shows where), or clone into a folder on a larger disk, and type the same again",
        )


def _make(
    root: Path,
    say: Say,
    environ: Mapping[str, str],
    *,
    development: bool,
    free_bytes: Callable[[Path], int],
) -> None:
    venv, before = root / ".venv", _read_stamp(root)
    usable = _usable(root)
    check_room(root, LATER_BYTES if usable else FIRST_BYTES, free_bytes(root))
    if venv.exists() and not usable:
        say("The environment .venv is unfinished or broken: making it again.")
        shutil.rmtree(venv)
    with_development = development or bool(before and before.development and (root / _DEVELOPMENT).exists())
    lock = root / (_DEVELOPMENT if with_development else _RUNTIME)
    say(f"Python environment: {_count(lock)} packages, about 1.3 GB on disk, into {venv}")
    venv.mkdir(exist_ok=True)
    (venv / MARKER).touch()
    run = Runner(root, say, environ, free_bytes)
    uv = _uv(run)
    command = [str(uv), "pip", "sync", "--quiet", "--require-hashes", "--python", str(python_of(root)), str(lock)]
    if environ.get("PYTHONDONTWRITEBYTECODE"):
        # Nothing would write bytecode later: 14 s now against 2 s at each start of a process with Feast in it.
        command.append("--compile-bytecode")
    run.step("installing the packages", command, None if before else _installed(venv, lock))
    stamp = {
        "runtime": _sum(root / _RUNTIME),
        "development": _sum(root / _DEVELOPMENT) if with_development else "",
    }
    replace(venv / STAMP, json.dumps(stamp, indent=1) + "\n", durable=True)
    (venv / MARKER).unlink()
    say("Python environment: ready")


def _usable(root: Path) -> bool:
    """Tell whether an environment is there that packages can be installed into: whole, and of a version we support."""
    python = python_of(root)
    if (root / ".venv" / MARKER).exists() or not python.exists():
        return False
    code = "import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))"
    try:
        return subprocess.run([str(python), "-c", code], check=False, timeout=ANSWER_SECONDS).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _uv(run: "Runner") -> Path:
    """Return a uv for the environment, made together with it if need be."""
    venv, python = run.root / ".venv", python_of(run.root)
    if not python.exists():
        base = getattr(sys, "_base_executable", None) or sys.executable
        pip = [] if _has("ensurepip") else ["--without-pip"]
        if not _has("venv"):
            raise StackError("this Python has no venv module", _venv_hint())
        run.step("making the environment", [base, "-m", "venv", *pip, str(venv)])
    uv = venv / "bin" / "uv"
    if uv.exists():
        return uv
    arguments = ["install", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps", "--require-hashes"]
    arguments += ["-r", str(run.root / _TOOLS)]
    with _pip(run.root) as pip_command:
        if pip_command:
            run.step("getting uv (about 20 MB)", [*pip_command, *arguments])
    if uv.exists():
        return uv
    present = shutil.which("uv", path=run.environ.get("PATH", ""))
    if present is None:
        raise StackError("this Python has no pip, and none could be fetched", _venv_hint())
    return Path(present)


@contextmanager
def _pip(root: Path) -> Iterator[Sequence[str]]:
    """Give a command that is pip in the environment; empty when there is none.

    Debian without python3-venv has neither pip nor ensurepip: there the package that holds pip's wheel is unpacked
    next to the environment for a moment, without root, and pip runs out of the wheel.
    """
    python = str(python_of(root))
    if any((root / ".venv" / "lib").glob("python*/site-packages/pip")):
        yield [python, "-m", "pip"]
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            apt.extract("python3-pip-whl", Path(folder) / "pip", lambda _: None)
        except BinaryAbsent:
            yield []
            return
        wheels = sorted(Path(folder).glob("pip/usr/share/python-wheels/pip-*.whl"))
        yield [python, str(wheels[-1] / "pip")] if wheels else []


@dataclass(frozen=True, slots=True)
class Runner:
    """Runs the steps of an installation one after the other, with their errors and their progress visible."""

    root: Path
    say: Say
    environ: Mapping[str, str]
    free_bytes: Callable[[Path], int]

    def step(self, what: str, command: Sequence[str], progress: Callable[[], str] | None = None) -> None:
        """Run a command to its end, with `progress` beside its time; raises StackError when it fails."""
        ignored = {"VIRTUAL_ENV", "PYTHONHOME", "PYTHONPATH"}
        clean = {key: value for key, value in self.environ.items() if key not in ignored}
        terminal = sys.stderr.isatty()
        started, before = time.monotonic(), self.free_bytes(self.root)
        with subprocess.Popen(command, cwd=self.root, env=clean, stdin=subprocess.DEVNULL) as child:
            code = None
            while code is None:
                try:
                    code = child.wait(TERMINAL_SECONDS if terminal else HEARTBEAT_SECONDS)
                except subprocess.TimeoutExpired:
                    written = max(0, before - self.free_bytes(self.root)) / 1e6
                    counted = f"{progress()}, " if progress else ""
                    line = f"  {what}: {time.monotonic() - started:.0f} s, {counted}about {written:.0f} MB written"
                    if terminal:
                        print(f"\r{line}", end="", file=sys.stderr, flush=True)
                    else:
                        self.say(line)
        if terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
        self.say(f"  {what}: {'done' if code == 0 else 'failed'} after {time.monotonic() - started:.1f} s")
        if code:
            raise StackError(
                f"{what} failed (`{Path(command[0]).name}` ended with {code}; its words are above)",
                "Check the network and the room on the disk, then type the same again",
            )


@contextmanager
def _locked(root: Path, say: Say) -> Iterator[None]:
    """Hold the checkout itself as a lock: no file of it is left, in any case."""
    lock = Lock(root)
    if not lock.acquire():
        say("Another start is making the Python environment; waiting for it.")
        lock.acquire(wait=True)
    try:
        yield
    finally:
        lock.release()


def _read_stamp(root: Path) -> Stamp | None:
    try:
        body = json.loads((root / ".venv" / STAMP).read_bytes())
        return Stamp(str(body["runtime"]), str(body["development"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _sum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _count(lock: Path) -> int:
    return sum("==" in line and not line.lstrip().startswith("#") for line in lock.read_text("utf-8").splitlines())


def _installed(venv: Path, lock: Path) -> Callable[[], str]:
    """How many of a lock's packages are there, as a sentence. Only of an environment that begins empty."""
    whole = _count(lock)

    def words() -> str:
        # Written when the files of a package are all in place; the folder itself is there from the beginning.
        there = sum(1 for _ in venv.glob("lib/python*/site-packages/*.dist-info/INSTALLER"))
        return f"{min(there, whole)} of {whole} packages unpacked"

    return words


def _has(module: str) -> bool:
    """Ask the interpreter that will make the environment (Debian removes ensurepip from its venv)."""
    base = getattr(sys, "_base_executable", None) or sys.executable
    answer = subprocess.run([base, "-c", f"import {module}"], check=False, capture_output=True, timeout=ANSWER_SECONDS)
    return answer.returncode == 0


def _venv_hint() -> str:
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    return f"Type `sudo apt-get install python{version}-venv` (Debian, Ubuntu), then the same again"
