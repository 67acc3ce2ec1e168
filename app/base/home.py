"""The home directory (VIGIE_HOME) and what is in it, attach mode, and the environment of every child process."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from app.base.files import private_folder
from app.base.variables import ANY_PROMETHEUS_URL, HOME, PROMETHEUS_URL

ROOT = Path(__file__).resolve().parents[2]

# Reports leave the machine only when the user sends them; libraries report nothing on their own. One thread each
# for numeric code: the services share a laptop's cores with the console.
QUIET = {
    "DO_NOT_TRACK": "1",
    "FEAST_USAGE": "False",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONUNBUFFERED": "1",
}


@dataclass(frozen=True, slots=True)
class Home:
    """The home directory and the names inside it (contracts: home layout)."""

    path: Path

    @classmethod
    def of(cls, environ: Mapping[str, str], root: Path = ROOT) -> Home:
        """The home that VIGIE_HOME names; `var` in the checkout when it is unset or blank."""
        named = HOME.of(environ).strip()
        return cls((Path(named).expanduser() if named else root / "var").absolute())

    @property
    def id(self) -> str:
        """16 hex digits that tell one home from another without naming its path; `/healthz` answers with them."""
        return hashlib.sha256(str(self.path.resolve()).encode()).hexdigest()[:16]

    @property
    def bin(self) -> Path:
        """The cache of fetched programs."""
        return self.path / "bin"

    @property
    def stack(self) -> Path:
        """State, lock and generated configuration of the supervisor."""
        return self.path / "stack"

    @property
    def logs(self) -> Path:
        """One log file a child."""
        return self.path / "logs"

    @property
    def state_file(self) -> Path:
        """What runs where, for the console."""
        return self.stack / "state.json"

    @property
    def prometheus(self) -> Path:
        """The time series database."""
        return self.path / "prometheus"

    def log(self, name: str) -> Path:
        """The log file of one child."""
        return self.logs / f"{name}.log"

    def make(self) -> None:
        """Create the directories, readable by the owner alone. Raises OSError when the place cannot be written."""
        private_folder(self.path)
        for folder in (self.stack, self.logs, self.bin):
            folder.mkdir(mode=0o700, exist_ok=True)
        if not os.access(self.path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self.path))

    def environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """The environment of a child: the caller's, libraries quiet, the home by its absolute path."""
        return {**environ, **QUIET, HOME.name: str(self.path)}


def attached_to(environ: Mapping[str, str]) -> tuple[str, str] | None:
    """The variable and the address of attach mode; None when the embedded stack is wanted. Blank counts as unset."""
    variables = (PROMETHEUS_URL, ANY_PROMETHEUS_URL)
    return next(((one.name, one.of(environ).strip()) for one in variables if one.of(environ)), None)
