"""A real PostgreSQL for tests: binaries from PyPI (pgserver) or Debian, a cluster of its own, a port of its own."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from stack.postgres.connection import place
from tests.conftest import absent
from tests.test_ingest import FILES

# A cluster is ready in half a second; a busy machine takes longer.
READY_SECONDS = 180.0
USER = "streamflow"
# What a YAML file, a URL and a connection string each treat as special.
PASSWORD = "p@ss: w/rd#%41'é"
SETTINGS = (
    "fsync=off",
    "full_page_writes=off",
    "shared_buffers=32MB",
    # Anything that takes the server's zone for UTC shows.
    "timezone=Asia/Tokyo",
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "max_connections=40",
)


class NoServer(Exception):
    """No PostgreSQL can be started here; the message says why."""


@dataclass
class Server:
    """One cluster. `start`, `stop`, `freeze` and `thaw` do to it what happens to servers."""

    binaries: Path
    folder: Path
    port: int
    password: str = PASSWORD
    process: subprocess.Popen[bytes] | None = None

    def environ(self, database: str = USER, **more: str) -> dict[str, str]:
        """POSTGRES_* for this server."""
        known = {"POSTGRES_HOST": "127.0.0.1", "POSTGRES_PORT": str(self.port), "POSTGRES_DB": database}
        return known | {"POSTGRES_USER": USER, "POSTGRES_PASSWORD": self.password} | more

    def url(self, database: str = USER) -> str:
        """The SQLAlchemy address of a database of this server."""
        import sqlalchemy as sa

        made = sa.URL.create("postgresql+psycopg", USER, self.password, "127.0.0.1", self.port, database)
        return made.render_as_string(hide_password=False)

    def connect(self, database: str = USER, **options):
        """A psycopg connection in autocommit."""
        import psycopg

        known = {"host": "127.0.0.1", "port": self.port, "user": USER, "password": self.password, "dbname": database}
        return psycopg.connect(**known, autocommit=True, connect_timeout=5, client_encoding="utf8", **options)

    def create(self, name: str, options: str = "") -> str:
        """A new database; its name."""
        with self.connect("postgres") as connection:
            connection.execute(f'drop database if exists "{name}" with (force)')
            connection.execute(f'create database "{name}" template template0 {options}')
        return name

    def start(self) -> None:
        command = [str(self.binaries / "postgres"), "-D", str(self.folder / "data"), "-p", str(self.port)]
        for setting in SETTINGS:
            command += ["-c", setting]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/", env=_environ(), **_as_user())
        until = time.monotonic() + READY_SECONDS
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise NoServer(f"postgres ended at once: {(self.folder / 'log').read_text()[-800:]}")
            try:
                self.connect("postgres").close()
            except Exception:
                time.sleep(0.1)
            else:
                return
        raise NoServer(f"postgres does not answer: {(self.folder / 'log').read_text()[-800:]}")

    def stop(self) -> None:
        """Immediate shutdown, as when the machine of the database goes away."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(120)
            self.process = None

    def kick(self) -> None:
        """End every other connection, as a restart of the server does."""
        with self.connect("postgres") as connection:
            query = "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()"
            connection.execute(f"{query} and backend_type = 'client backend'")


def _as_user() -> dict[str, object]:
    """PostgreSQL refuses root: hand the process to an unprivileged account."""
    if os.geteuid() != 0:
        return {}
    account = _account()
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _account() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise NoServer("neither an account postgres nor nobody to run PostgreSQL as")


def _environ() -> dict[str, str]:
    return {**{key: value for key, value in os.environ.items() if not key.startswith("PG")}, "LC_ALL": "C.UTF-8"}


def _candidates() -> Iterator[Path]:
    spec = importlib.util.find_spec("pgserver")
    if spec is not None and spec.origin is not None:
        yield Path(spec.origin).parent / "pginstall" / "bin"
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = shutil.which("initdb")
    if found:
        yield Path(found).resolve().parent


def _cluster(binaries: Path, encoding: str, locale: str) -> Server:
    folder = Path(tempfile.mkdtemp(prefix="vigie-pg-"))
    try:
        secret = folder / "secret"
        secret.write_text(PASSWORD + "\n", encoding="utf-8")
        if os.geteuid() == 0:
            account = _account()
            for path in (folder, secret):
                os.chown(path, account.pw_uid, account.pw_gid)
        command = [str(binaries / "initdb"), "-D", str(folder / "data"), "-U", USER, "-E", encoding]
        command += [f"--locale={locale}", "-A", "scram-sha-256", f"--pwfile={secret}", "--no-sync"]
        done = subprocess.run(command, capture_output=True, cwd="/", env=_environ(), timeout=120, **_as_user())
        if done.returncode:
            raise NoServer(f"initdb of {binaries}: {done.stderr.decode(errors='replace').strip()[-400:]}")
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = int(probe.getsockname()[1])
        server = Server(binaries, folder, port)
        server.start()
        server.create(USER)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return server


@contextmanager
def running(encoding: str = "UTF8", locale: str = "C.UTF-8") -> Iterator[Server]:
    """A cluster that goes away afterwards; NoServer when none of the binaries here can make one."""
    failures = []
    for binaries in _candidates():
        if not (binaries / "initdb").exists():
            continue
        try:
            server = _cluster(binaries, encoding, locale)
        except (NoServer, OSError, subprocess.SubprocessError) as error:
            failures.append(f"{binaries}: {error}")
            continue
        try:
            yield server
        finally:
            server.stop()
            shutil.rmtree(server.folder, ignore_errors=True)
        return
    raise NoServer("; ".join(failures) or "no PostgreSQL: neither the package pgserver nor /usr/lib/postgresql")


NUMBERS = count()


@pytest.fixture(scope="module")
def server():
    try:
        with running() as made:
            yield made
    except NoServer as error:
        absent(f"no PostgreSQL: {error}")


@pytest.fixture
def fresh(server):
    """A new, empty database."""
    return server.create(f"t{next(NUMBERS)}")


@pytest.fixture
def small(tmp_path):
    """A month of three accounts."""
    folder = tmp_path / "small"
    folder.mkdir()
    for name, lines in FILES.items():
        (folder / name).write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def where(server, fresh):
    return place(server.environ(fresh))
