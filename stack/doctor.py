"""`stack doctor`: everything a start needs, each with what was found. Downloads and starts nothing."""

import shutil
import sys
from collections.abc import Mapping

from app.base.home import ROOT, Home, attached_to
from app.base.processes import LINUX
from stack import apis, binaries, environment, launch, places, services, state
from stack.state import State


def report(home: Home, environ: Mapping[str, str]) -> None:
    """Print one line a finding: `ok` when it is as a start wants it, `--` when the start goes another way."""
    version = ".".join(map(str, sys.version_info[:3]))
    rows = [
        ("python", True, f"{version} at {sys.executable}"),
        ("environment", *_environment_finding()),
        ("disk", *_disk_finding()),
        ("home", True, f"{home.path} (logs in {home.logs})"),
        ("death signal", *_death_signal_finding()),
    ]
    attached = attached_to(environ)
    rows.append(("mode", True, "attached to your Prometheus: nothing is started" if attached else "embedded stack"))
    for program in binaries.PROGRAMS.values():
        rows += [
            (f"{program.name}: {step.place}", step.present, step.text)
            for step in binaries.steps(program, home, environ)
        ]
    ports = {system: api.port for system, api in apis.APIS.items()}
    own_ports = {"console": launch.CONSOLE_PORT, "prometheus": services.PROMETHEUS_PORT, **ports}
    for name, port in {**own_ports, "node_exporter": services.NODE_EXPORTER_PORT}.items():
        free = places.port_is_free(port)
        rows.append(
            (f"port {port}", free, f"free for {name}" if free else f"taken: {name} will take the next free one")
        )
    rows.append(("stack", *_stack_finding(home)))
    width = max(len(row[0]) for row in rows)
    for name, good, text in rows:
        print(f"{'ok' if good else '--'}  {name.ljust(width)}  {text}")


def _environment_finding() -> tuple[bool, str]:
    if environment.is_current(ROOT):
        return True, f"{ROOT / '.venv'} holds what requirements.txt says"
    return False, "not made, or other than requirements.txt says: `python3 -m stack run` makes it"


def _disk_finding() -> tuple[bool, str]:
    needed = environment.LATER_BYTES if environment.is_current(ROOT) else environment.FIRST_BYTES
    free = shutil.disk_usage(ROOT).free
    return free >= needed, f"{free / 1e9:.1f} GB free, {needed / 1e9:.1f} GB wanted"


def _death_signal_finding() -> tuple[bool, str]:
    if LINUX:
        return True, "children end with the stack, also when it is killed"
    return False, "not on this system: after a `kill -9` the next start ends what was left behind"


def _stack_finding(home: Home) -> tuple[bool, str]:
    snapshot = state.read(home)
    if not snapshot.live:
        return False, "not running"
    words = ", ".join(f"{name} {service.state}" for name, service in snapshot.services.items())
    return all(service.state is State.UP for service in snapshot.services.values()), words
