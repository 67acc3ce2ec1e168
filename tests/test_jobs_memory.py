"""What is free for a run: the machine's, a container's, or not known; and a bound that ends a run, not the machine."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from app.base import memory

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A /proc and a /sys/fs/cgroup of our own, to be filled."""
    proc, groups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    groups.mkdir()
    (proc / "meminfo").write_text("MemTotal:       16000000 kB\nMemAvailable:    8000000 kB\n")
    monkeypatch.setattr(memory, "PROC", proc)
    monkeypatch.setattr(memory, "CGROUPS", groups)
    return proc, groups


def group(folder, names, limit, used, cache):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in zip((*names, "memory.stat"), (limit, used, cache), strict=True):
        (folder / name).write_text(text)


V1, V2 = ("memory.limit_in_bytes", "memory.usage_in_bytes"), ("memory.max", "memory.current")


def test_the_machine_says_what_is_free(machine):
    assert memory.available() == 8_000_000 * 1024
    assert memory.usable() == int(8_000_000 * 1024 * memory.USABLE)


def test_a_container_has_less_and_its_file_cache_is_free(machine):
    proc, groups = machine
    (proc / "self" / "cgroup").write_text("0::/box/worker\n")
    group(groups / "box" / "worker", V2, "max\n", "1\n", "inactive_file 0\n")
    group(groups / "box", V2, "2000000000\n", "1500000000\n", "anon 1\ninactive_file 300000000\n")
    assert memory.available() == 800_000_000


def test_older_control_groups_too_and_inside_a_container_its_own_is_the_root(machine):
    proc, groups = machine
    (proc / "self" / "cgroup").write_text("9:cpu:/x\n4:memory:/docker/abc\n0::/\n")
    group(groups / "memory", V1, "1000000000", "400000000", "total_inactive_file 100000000\n")
    assert memory.available() == 700_000_000


def test_a_container_that_is_over_its_limit_has_nothing_free(machine):
    proc, groups = machine
    (proc / "self" / "cgroup").write_text("0::/\n")
    group(groups, V2, "1000", "2000", "inactive_file 0\n")
    assert memory.available() == 0


@pytest.mark.parametrize("text", ["", "MemAvailable: many kB", "MemAvailable:", "\x00\xff"])
def test_what_cannot_be_read_is_not_known_and_bounds_nothing(machine, text):
    proc, _ = machine
    (proc / "meminfo").write_text(text, encoding="latin-1")
    assert memory.available() is None
    before = resource.getrlimit(resource.RLIMIT_DATA)
    with memory.bounded() as bound:
        assert bound is None
        assert resource.getrlimit(resource.RLIMIT_DATA) == before


@pytest.mark.parametrize(("count", "said"), [(2_449_000_000, "2.4 GB"), (100_000_000, "0.1 GB"), (99_400_000, "99 MB")])
def test_bytes_are_said(count, said):
    assert memory.words(count) == said


SCRIPT = """
import resource
import numpy as np
from app.base import memory
before = resource.getrlimit(resource.RLIMIT_DATA)
try:
    with memory.bounded() as bound:
        small = np.ones(1000)
        np.empty(bound + 100_000_000, dtype="uint8")
        print("granted")
except MemoryError:
    print("refused")
print(resource.getrlimit(resource.RLIMIT_DATA) == before, len(np.empty(bound // 2, dtype="uint8")) > 0)
with memory.bounded():
    held = np.ones(40_000_000)
    del held
    high = memory.peak()
with memory.bounded():
    print(high - memory.peak() > 250_000_000)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs the /proc of Linux")
def test_a_bound_refuses_what_is_not_there_is_lifted_afterwards_and_each_run_has_a_peak_of_its_own():
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["refused", "True", "True", "True"], done.stderr
