"""Every environment variable that Vigie reads: its name, what it does, its default, and the modules that use it.

The table is the one place that names them. Code reads a variable through its row (`HOME.of(environ)`), the README
prints the rows, and tests hold both to this file. Variables of the containers alone are in `.env.example`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Variable:
    """One environment variable. `default` is what the README prints, `fallback` what `of` returns when it is unset."""

    name: str
    does: str
    default: str
    used_in: tuple[str, ...]
    fallback: str = ""

    def of(self, environ: Mapping[str, str]) -> str:
        """The value as it was given; `fallback` when the variable is unset or blank."""
        value = environ.get(self.name, "")
        return value if value.strip() else self.fallback

    def for_service(self, service: str) -> Variable:
        """The variable of one service, for a row whose name holds `<SERVICE>`."""
        name = self.name.replace("<SERVICE>", service.upper().replace("-", "_"))
        return Variable(name, self.does, self.default, self.used_in, self.fallback)


HOME = Variable(
    "VIGIE_HOME",
    "folder of everything that is made or fetched",
    "`var` in the checkout",
    ("app/base/home.py", "app/notify/calls.py"),
)
SYSTEMS = Variable(
    "VIGIE_SYSTEMS",
    "more folders with system files, separated by `:`",
    "none; `~/.config/vigie/systems` is always read",
    ("app/config/settings.py",),
)
PROMETHEUS_URL = Variable(
    "VIGIE_PROMETHEUS_URL",
    "attach mode: watch this Prometheus, start nothing",
    "unset: the embedded stack",
    ("app/base/home.py",),
)
ANY_PROMETHEUS_URL = Variable(
    "PROMETHEUS_URL",
    "the same, when the one above is not set",
    "unset",
    ("app/base/home.py",),
)
SERVICE_URL = Variable(
    "VIGIE_<SERVICE>_URL",
    "address of one service, before system file and stack: a system's id (`VIGIE_STREAMFLOW_URL`), "
    "`VIGIE_NODE_EXPORTER_URL`, `VIGIE_GRAFANA_URL`",
    "unset",
    ("app/children.py", "app/services.py"),
)
SERVICE_PUBLIC_URL = Variable(
    "VIGIE_<SERVICE>_PUBLIC_URL",
    "what links to a service show when a browser reaches it under another address than the console does "
    "(`VIGIE_PROMETHEUS_PUBLIC_URL`, `VIGIE_GRAFANA_PUBLIC_URL`)",
    "the address the console uses",
    ("app/services.py",),
)
START = Variable(
    "VIGIE_START",
    "APIs that the stack starts with: `all`, `none`, or ids by comma",
    "`streamflow`; the others when first picked",
    ("stack/commands.py",),
)
LEDGER_URL = Variable(
    "VIGIE_LEDGER_URL",
    "SQLAlchemy URL of the index of runs",
    "SQLite file `ledger.db` in the home",
    ("app/config/settings.py",),
)
PROMETHEUS_BIN = Variable(
    "VIGIE_PROMETHEUS_BIN",
    "the Prometheus program to run; a wrong path is an error",
    "found on PATH, or fetched",
    ("stack/binaries.py",),
)
NODE_EXPORTER_BIN = Variable(
    "VIGIE_NODE_EXPORTER_BIN",
    "the node exporter to run",
    "found on PATH, or fetched",
    ("stack/binaries.py",),
)
TOKEN = Variable(
    "VIGIE_TOKEN",
    "the token that opens the console: at least 16 characters, or `file:PATH` of a file that holds it",
    "none: open to every account of this machine",
    ("app/doors/access.py", "stack/commands.py"),
)
ALLOWED_ORIGINS = Variable(
    "VIGIE_ALLOWED_ORIGINS",
    "origins of a proxy before the console, by comma, as the browser shows them: `https://vigie.example:8443`; "
    "their hosts need not be named again",
    "none",
    ("app/config/origin.py",),
)
ALLOWED_HOSTS = Variable(
    "VIGIE_ALLOWED_HOSTS",
    "host names, by comma, under which a browser reaches the console without a proxy; localhost is always allowed",
    "none",
    ("app/config/origin.py",),
)
KEEP_BYTES = Variable(
    "VIGIE_KEEP_BYTES",
    "disk for saved reports; the oldest go first",
    # Reports of Evidently are 4.5 MB each: 5 GB keeps about a thousand runs, and far more once gzipped at rest.
    "5000000000",
    ("app/config/settings.py",),
    fallback="5000000000",
)
PROPOSE_HOSTS = Variable(
    "VIGIE_PROPOSE_HOSTS",
    "hosts beyond this machine that may be asked when a system file is proposed, and named in one that a page saves",
    "none",
    ("app/config/settings.py",),
)
REPORT_DIR = Variable(
    "REPORT_DIR",
    "folder of the reports, as the decision line prints it",
    "`reports/<system>`, StreamFlow `reports/evidently`",
    ("app/config/settings.py",),
)
FEAST_REPO = Variable(
    "FEAST_REPO",
    "the feature repository, in place of the system file's",
    "unset",
    ("app/config/settings.py", "stack/ingest/__main__.py"),
)
POSTGRES_HOST = Variable(
    "POSTGRES_HOST",
    "any of these five set: months are read from Postgres, in place of the system file's database",
    "`postgres`",
    ("app/config/settings.py", "stack/postgres/connection.py"),
    fallback="postgres",
)
POSTGRES_PORT = Variable(
    "POSTGRES_PORT",
    "",
    "5432",
    ("app/config/settings.py", "stack/postgres/connection.py"),
    fallback="5432",
)
POSTGRES_DB = Variable(
    "POSTGRES_DB",
    "",
    "`streamflow`",
    ("app/config/settings.py", "stack/postgres/connection.py"),
    fallback="streamflow",
)
POSTGRES_USER = Variable(
    "POSTGRES_USER",
    "",
    "`streamflow`",
    ("app/config/settings.py", "stack/postgres/connection.py"),
    fallback="streamflow",
)
POSTGRES_PASSWORD = Variable(
    "POSTGRES_PASSWORD",
    "",
    "none",
    ("app/config/settings.py", "app/periods/store.py", "stack/feast/postgres.py", "stack/postgres/connection.py"),
)

POSTGRES = (POSTGRES_HOST, POSTGRES_PORT, POSTGRES_DB, POSTGRES_USER, POSTGRES_PASSWORD)
TABLE = (
    HOME,
    SYSTEMS,
    PROMETHEUS_URL,
    ANY_PROMETHEUS_URL,
    SERVICE_URL,
    SERVICE_PUBLIC_URL,
    START,
    LEDGER_URL,
    PROMETHEUS_BIN,
    NODE_EXPORTER_BIN,
    TOKEN,
    ALLOWED_ORIGINS,
    ALLOWED_HOSTS,
    KEEP_BYTES,
    PROPOSE_HOSTS,
    REPORT_DIR,
    FEAST_REPO,
    *POSTGRES,
)
