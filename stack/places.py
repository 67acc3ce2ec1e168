"""Where things are: the checkout, the home directory (VIGIE_HOME) and what lies in it."""

import hashlib
import os
import socket
import stat
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from stack.errors import StackError

ROOT = Path(__file__).resolve().parent.parent

HOST = "127.0.0.1"

# How far above the preferred port to look: more than one machine's worth of consoles, and still instant.
PORTS_TRIED = 50

# Reports leave the machine only when the user sends them; libraries report nothing on their own. One thread each
# for numeric code: the services share a laptop's cores with the console.
QUIET_ENVIRONMENT = {
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
    def from_environ(cls, environ: Mapping[str, str]) -> "Home":
        """Return the home that VIGIE_HOME names, `var` in the checkout without it."""
        named = environ.get("VIGIE_HOME", "")
        return cls(Path(named).expanduser().resolve() if named else ROOT / "var")

    @property
    def id(self) -> str:
        """The 16 hex digits that `/healthz` answers with."""
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
        """Return the log file of one child."""
        return self.logs / f"{name}.log"

    def make(self) -> None:
        """Create the directories, readable by the owner alone.

        Raises StackError when the place cannot be written.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (self.stack, self.logs, self.bin):
                folder.mkdir(mode=0o700, exist_ok=True)
            status = self.path.stat()
            if status.st_mode & 0o077 and status.st_uid == os.geteuid():
                # Made by an earlier version, or by hand: what lies in it is for its owner alone.
                self.path.chmod(stat.S_IMODE(status.st_mode) & ~0o077)
        except OSError as error:
            raise StackError(
                f"cannot write the home directory {self.path}: {error.strerror}",
                "Set VIGIE_HOME to a folder you may write, for example `VIGIE_HOME=~/vigie make run`",
            ) from error
        if not os.access(self.path, os.W_OK):
            raise StackError(f"cannot write in {self.path}", "Set VIGIE_HOME to a folder you may write")


def child_environment(home: Home, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of every child: the caller's, telemetry off, the home by its absolute path."""
    return {**environ, **QUIET_ENVIRONMENT, "VIGIE_HOME": str(home.path)}


def attached_to(environ: Mapping[str, str]) -> str:
    """Return the Prometheus address of attach mode, "" when the embedded stack is wanted."""
    return environ.get("VIGIE_PROMETHEUS_URL", "") or environ.get("PROMETHEUS_URL", "")


def port_is_free(port: int, host: str = HOST) -> bool:
    """Tell whether nothing listens on the port; both a connection and a bind are tried.

    The bind alone misses a listener on every interface on macOS, the connection alone one with a full backlog.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
        client.settimeout(0.5)
        if client.connect_ex((host, port)) == 0:
            return False
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind((host, port))
        except OSError:
            return False
    return True


def free_port(preferred: int, taken: Collection[int] = (), host: str = HOST) -> int:
    """Return the preferred port or the next free one; raises StackError when none of them is free."""
    for port in range(preferred, min(preferred + PORTS_TRIED, 65536)):
        if port not in taken and port_is_free(port, host):
            return port
    raise StackError(
        f"no free port from {preferred} to {preferred + PORTS_TRIED - 1}",
        "End a program that listens there (`ss -ltnp` names them)",
    )
