"""The real plan: Prometheus, node exporter and the prediction APIs of the sample systems."""

import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from app.base.files import replace
from app.base.home import ROOT, Home
from app.base.phrase import Phrase
from app.base.processes import LINUX, PS_SECONDS
from stack import binaries, state
from stack.apis import APIS, Api
from stack.errors import BinaryRefused
from stack.health import open_files
from stack.places import HOST
from stack.plan import Addition, CannotStart, Plan, Service, Task
from stack.wanted import Wanted

PROMETHEUS_PORT = 9090
NODE_EXPORTER_PORT = 9100

# rate() needs two scrapes: with 2 s a curve moves while one looks at it.
SCRAPE_SECONDS = 2
# A demonstration on a laptop: a month of it, and never more than a film's worth of disk.
RETENTION_TIME = "30d"
RETENTION_SIZE = "1GB"
# One unbounded query held a server for 11 s (`count_over_time(vector(1)[1d:1ms])`); the console asks for 1500 points.
QUERY_LIMITS = ("--query.timeout=10s", "--query.max-samples=5000000", "--query.max-concurrency=4")

# `--help` answers in 50 ms.
HELP_SECONDS = 20.0

# Files of targets that the console writes, one for each of your own systems.
OWN_TARGETS = "own-*.json"
# The jobs next to those of the APIs.
CONSOLE_JOB = "console"
OWN_JOBS = ("node-exporter", CONSOLE_JOB)
# In `<home>/stack`: what opens the console's /metrics.
CONSOLE_TOKEN = "console.token"  # noqa: S105 - the name of a file
# Alerts of all systems, made from the system files (`python -m app export rules`); the same file as under compose.
RULES = ROOT / "stack" / "prometheus" / "alerts.yml"


def build(
    home: Home,
    environ: Mapping[str, str],
    console: str,
    systems: Sequence[str],
    *,
    offered: Mapping[str, Api] = APIS,
) -> Plan:
    """Return the plan for a home: which tasks are due, which services to run, which more can be asked for.

    Without any system the console is offered none: anyone who starts the stack so wants no API (one that is asked for
    by name still starts).
    """
    tasks = [task for program in binaries.PROGRAMS.values() for task in _fetch_tasks(program, home, environ)]
    fetched = {task.name for task in tasks}
    tasks += [offered[system].task(home) for system in systems]
    services = [_prometheus(home, environ, fetched), _node_exporter(home, environ, fetched)]
    services += [offered[system].service(home) for system in systems]
    jobs = [api.job for api in offered.values()]
    write_prometheus_config(home, jobs)
    forget_own_targets(home)
    requests = Wanted(home, list(offered))
    requests.begin()

    def more(say: Callable[[str], None]) -> list[Addition]:
        asked = (offered[system] for system in requests.new(say) if system not in systems)
        return [Addition([api.task(home)], api.service(home)) for api in asked]

    return Plan(
        home=home,
        root=ROOT,
        environ=environ,
        tasks=tasks,
        services=services,
        publish=lambda addresses: write_targets(home, addresses, console, offered),
        more=more,
        offers=list(offered) if systems else [],
    )


def write_prometheus_config(home: Home, jobs: Sequence[str]) -> None:
    """Write prometheus.yml: the rules, and a job each whose targets are in a file that Prometheus watches.

    The jobs of APIs that do not run are there from the start, without targets: nothing has to be loaded again. Paths
    are patterns to Prometheus; relative ones, read where the file is, are safe for any names of the folders above.
    """
    every = f"{SCRAPE_SECONDS}s"
    lines = [
        "# Written by the stack at each start; changes here are lost.",
        f"global: {{scrape_interval: {every}, scrape_timeout: {every}, evaluation_interval: {every}}}",
    ]
    if RULES.is_file():
        replace(home.stack / RULES.name, RULES.read_text(encoding="utf-8"))
        lines.append(f"rule_files: [{RULES.name}]")
    lines.append("scrape_configs:")
    for job in dict.fromkeys([*jobs, *OWN_JOBS]):
        lines += [
            f"  - job_name: {job}",
            "    metrics_path: /metrics",
            f"    file_sd_configs: [{{files: [targets/{job}.json], refresh_interval: 5s}}]",
        ]
        if job == CONSOLE_JOB and (home.stack / CONSOLE_TOKEN).is_file():
            # Written by a console that asks for a token; read at each scrape, and on no command line.
            lines.append(f"    authorization: {{credentials_file: {CONSOLE_TOKEN}}}")
    lines += [
        "  # Services of one's own: the console writes a file for each when it saves its system file.",
        "  - job_name: own",
        f"    file_sd_configs: [{{files: [targets/{OWN_TARGETS}], refresh_interval: 5s}}]",
    ]
    replace(home.stack / "prometheus.yml", "\n".join(lines) + "\n")


def forget_own_targets(home: Home) -> None:
    """Remove the target files of your own services whose system file is gone."""
    for path in (home.stack / "targets").glob(OWN_TARGETS):
        try:
            groups = json.loads(path.read_bytes())
            files = [group["labels"]["__meta_vigie_system_file"] for group in groups]
        except (OSError, ValueError, KeyError, TypeError):
            continue  # not one the console wrote: anyone who did keeps it
        if files and not any(Path(file).is_file() for file in files):
            path.unlink(missing_ok=True)


def write_targets(home: Home, addresses: Mapping[str, str], console: str, offered: Mapping[str, Api]) -> None:
    """Write the targets of each job; a job without an address has none."""
    folder = home.stack / "targets"
    folder.mkdir(mode=0o700, exist_ok=True)
    jobs: dict[str, list[str]] = {api.job: [] for api in offered.values()}
    for system, api in offered.items():
        if system in addresses:
            jobs[api.job].append(_host_port(addresses[system]))
    jobs["node-exporter"] = [_host_port(addresses["node_exporter"])] if "node_exporter" in addresses else []
    jobs["console"] = [console] if console else []
    for job, targets in jobs.items():
        replace(folder / f"{job}.json", json.dumps([{"targets": targets}] if targets else []) + "\n")


def users_of(folder: Path) -> list[int]:
    """Return the processes of this user, other than this one, that have a file open under a folder."""
    if not LINUX:
        return _users_by_command(str(folder.resolve()))
    inside = str(folder.resolve()) + os.sep
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in pids if pid != os.getpid() and any(file.startswith(inside) for file in open_files(pid))]


def _users_by_command(folder: str) -> list[int]:
    answer = subprocess.run(
        ["ps", "-axo", "pid=,command="], capture_output=True, text=True, check=False, timeout=PS_SECONDS
    )
    rows = [line.strip().partition(" ") for line in answer.stdout.splitlines()]
    return [int(pid) for pid, _, command in rows if f"--storage.tsdb.path={folder}" in command]


def _fetch_tasks(program: binaries.Program, home: Home, environ: Mapping[str, str]) -> list[Task]:
    """Return the task that fetches a program; none when it is here, or when the user named a wrong one."""
    try:
        if binaries.locate(program, home, environ) is not None:
            return []
    except BinaryRefused:
        return []
    command = [sys.executable, "-m", "stack", "fetch", program.name]
    return [
        Task(
            f"fetch-{program.name}",
            Phrase("fetching {program}", program=program.name),
            command,
            failure=state.State.ABSENT,
        )
    ]


def _located(program: binaries.Program, home: Home, environ: Mapping[str, str]) -> binaries.Binary:
    try:
        binary = binaries.locate(program, home, environ)
    except BinaryRefused as error:
        raise CannotStart(state.State.ABSENT, error.line()) from error
    if binary is None:
        reason = Phrase("no {program} on this machine. {hint}", program=program.name, hint=binaries.how_to_install())
        raise CannotStart(state.State.ABSENT, reason)
    return binary


def _prometheus(home: Home, environ: Mapping[str, str], fetched: set[str]) -> Service:
    def command(port: int) -> list[str]:
        path = _located(binaries.PROMETHEUS, home, environ).path.absolute()
        flags = [
            str(path),
            "--config.file=prometheus.yml",
            f"--storage.tsdb.path={home.prometheus}",
            f"--storage.tsdb.retention.time={RETENTION_TIME}",
            f"--storage.tsdb.retention.size={RETENTION_SIZE}",
            f"--web.listen-address={HOST}:{port}",
            # By default every web page in the user's browser may read the server: let none.
            "--web.cors.origin=none",
            *QUERY_LIMITS,
        ]
        listed = _help(path)
        assets = path.parent.parent / "share" / "prometheus" / "web"
        if "--web.local-assets" in listed and assets.is_dir():
            # Debian's build looks for its pages under /usr/share, where an unpacked package has none.
            flags.append(f"--web.local-assets={assets}/")
        if "--storage.tsdb.use-lockfile" in listed:
            flags.append("--storage.tsdb.use-lockfile")
        return flags

    def in_the_way() -> str:
        users = users_of(home.prometheus)
        if not users:
            return ""
        pids = ", ".join(map(str, users))
        return Phrase(
            "another program (pid {pids}) has {folder} open, and two servers on one database destroy it. End it "
            "(`kill {pid}`) and start again, or set VIGIE_HOME to another folder",
            pids=pids,
            folder=home.prometheus,
            pid=users[0],
        )

    needs = [task for task in ("fetch-prometheus",) if task in fetched]
    return Service(
        "prometheus", PROMETHEUS_PORT, "/-/ready", command, needs=needs, in_the_way=in_the_way, folder=home.stack
    )


def _node_exporter(home: Home, environ: Mapping[str, str], fetched: set[str]) -> Service:
    def command(port: int) -> list[str]:
        path = _located(binaries.NODE_EXPORTER, home, environ).path
        return [str(path), f"--web.listen-address={HOST}:{port}"]

    needs = [task for task in ("fetch-node_exporter",) if task in fetched]
    return Service("node_exporter", NODE_EXPORTER_PORT, "/", command, needs=needs)


@functools.cache
def _help(path: Path) -> str:
    answer = subprocess.run(
        [str(path), "--help"], capture_output=True, text=True, errors="replace", check=False, timeout=HELP_SECONDS
    )
    return answer.stdout + answer.stderr


def _host_port(address: str) -> str:
    return address.split("://", 1)[-1].rstrip("/")
