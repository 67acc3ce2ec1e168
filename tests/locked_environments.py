"""Environments of their own for what cannot live in ours, made from the locks under stack/ and kept for the next run.

They lie in `var/envs/<name>-<sum of the lock>`, outside the folders that `make clean` empties: a changed lock makes a new
one and removes the old. The packages come through uv, so a second machine with a filled cache needs no network.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import absent
from tests.console_world import FOREIGN

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENTS = ROOT / "var" / "envs"
# Written last: an environment without it was interrupted and is made again.
COMPLETE = "complete"
# 180 packages of which some are large; a slow network, not a slow machine, is what takes long.
INSTALL_SECONDS = 600


def environment(name: str) -> Path:
    """The interpreter of the environment that `stack/<name>/requirements.txt` describes; skips when it cannot be had."""
    lock = ROOT / "stack" / name / "requirements.txt"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    digest = hashlib.sha256(version.encode() + lock.read_bytes()).hexdigest()[:12]
    folder = ENVIRONMENTS / f"{name}-{digest}"
    ENVIRONMENTS.mkdir(parents=True, exist_ok=True)
    with (ENVIRONMENTS / f"{name}.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not (folder / COMPLETE).exists():
            _make(name, lock, folder)
    return folder / "bin" / "python"


def _make(name: str, lock: Path, folder: Path) -> None:
    for old in ENVIRONMENTS.glob(f"{name}-*"):
        shutil.rmtree(old, ignore_errors=True)
    uv = Path(sys.executable).with_name("uv")
    commands = [
        [uv, "venv", "--quiet", "--no-project", "--python", sys.executable, folder],
        [uv, "pip", "install", "--quiet", "--require-hashes", "--python", folder / "bin" / "python", "-r", lock],
    ]
    for command in commands:
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, cwd=ROOT)
        except (OSError, subprocess.SubprocessError) as error:
            absent(f"no environment for {name}: {error}")
        if done.returncode:
            absent(f"no environment for {name}: {done.stderr.strip()[-600:]}")
    (folder / COMPLETE).touch()


def environ(home: Path, **more: str) -> dict[str, str]:
    """The environment of a program that works on this home, without what the caller's shell says."""
    strange = (*FOREIGN, "PREFECT_", "MLFLOW_", "STREAMFLOW_", "PYTHON", "VIRTUAL_ENV", "DO_NOT_TRACK")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(strange)}
    quiet = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "FEAST_USAGE": "False"}
    return {**kept, **quiet, "VIGIE_HOME": str(home), **more}
