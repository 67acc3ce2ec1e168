"""Memory of a worker: what is free on this machine, a bound on one run, and the most that a run held.

A run that needs more than is free fails with a reason; without a bound the machine would swap, or the kernel would
pick a process to kill, not always this one. Where a figure cannot be had (no /proc), nothing is bounded.
"""

from __future__ import annotations

import contextlib
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
CGROUPS: Final = Path("/sys/fs/cgroup")
# The services that are watched run on the same machine: a tenth of what is free stays free.
USABLE: Final = 0.9
# Writing 5 into clear_refs sets the high-water mark back to what is held now.
RESET_PEAK: Final = "5"
GIGA: Final = 1_000_000_000


def available() -> int | None:
    """Bytes that may be taken without swapping: the machine's, or less in a container; None when not known."""
    known = [found for found in (_machine(), *_containers()) if found is not None]
    return max(0, min(known)) if known else None


def usable() -> int | None:
    """The part of `available` that a run may take."""
    free = available()
    return None if free is None else int(free * USABLE)


def words(count: float) -> str:
    """Bytes for a sentence: `2.4 GB`."""
    return f"{count / GIGA:.1f} GB" if count >= GIGA / 10 else f"{count / 1e6:.0f} MB"


def peak() -> int:
    """The most memory held since `bounded` began (since the process began where that is unknown), in bytes."""
    since = _status("VmHWM")
    if since is not None:
        return since
    found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Kilobytes on Linux, bytes on macOS.
    return found if sys.platform == "darwin" else found * 1024


@contextmanager
def bounded() -> Iterator[int | None]:
    """Inside, this process gets no more than is usable now: a MemoryError instead. Gives the bound in bytes.

    The bound is on private memory that may be written (RLIMIT_DATA), which follows what is really held closely; the
    address space is no measure, for libraries reserve gigabytes that they never touch.
    """
    with contextlib.suppress(OSError):
        (PROC / "self" / "clear_refs").write_text(RESET_PEAK)
    more, held = usable(), _status("VmData")
    before = resource.getrlimit(resource.RLIMIT_DATA)
    if more is None or held is None:
        yield None
        return
    hard = before[1]
    soft = held + more if hard == resource.RLIM_INFINITY else min(held + more, hard)
    try:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
    except (OSError, ValueError):
        yield None
        return
    try:
        yield more
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def _machine() -> int | None:
    return _kilobytes(PROC / "meminfo", "MemAvailable")


def _status(name: str) -> int | None:
    return _kilobytes(PROC / "self" / "status", name)


def _kilobytes(path: Path, name: str) -> int | None:
    """A value of /proc that is written as `Name:  123 kB`, in bytes."""
    try:
        for line in path.read_text(encoding="ascii", errors="replace").splitlines():
            key, _, rest = line.partition(":")
            if key == name:
                return int(rest.split()[0]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None


def _containers() -> list[int | None]:
    """What every control group around this process leaves, in both versions of control groups."""
    try:
        lines = (PROC / "self" / "cgroup").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    found: list[int | None] = []
    for line in lines:
        number, names, path = (*line.split(":", 2), "", "")[:3]
        if number == "0":
            found += [_left(group, "memory.max", "memory.current") for group in _around(CGROUPS, path)]
        elif "memory" in names.split(","):
            files = ("memory.limit_in_bytes", "memory.usage_in_bytes")
            found += [_left(group, *files) for group in _around(CGROUPS / "memory", path)]
    return found


def _around(root: Path, path: str) -> list[Path]:
    """The group and those above it; inside a container its own group is the root that is seen."""
    group = root / path.lstrip("/")
    return [group, *(one for one in group.parents if one.is_relative_to(root))]


def _left(group: Path, limit: str, usage: str) -> int | None:
    try:
        text = (group / limit).read_text(encoding="ascii").strip()
        if text == "max":
            return None
        used = int((group / usage).read_text(encoding="ascii"))
        # Pages of files that no one has open are counted as used and given back when needed.
        kept = [line.split() for line in (group / "memory.stat").read_text(encoding="ascii").splitlines()]
        cache = next((int(row[1]) for row in kept if row[0] in ("total_inactive_file", "inactive_file")), 0)
        return int(text) - used + cache
    except (OSError, ValueError, IndexError):
        return None
