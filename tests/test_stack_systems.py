"""All three systems under the real command line: asked for while it runs, scraped by a real Prometheus, gone with it."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.base.home import ROOT, Home
from app.base.processes import start_of
from app.config import Settings, load_systems
from app.services import want
from stack import apis, state
from stack.state import State
from tests.conftest import sample_home
from tests.waiting import until

# Three sample worlds are made and two models trained on a machine that may be busy; nothing is asserted about speed.
PATIENCE = 500.0
# After so long somebody else has a port for good, and it is taken as well as by us.
TAKE_SECONDS = 30.0
SYSTEMS = ("streamflow", "diabetes", "f1pa")


class Running:
    """One `python -m stack up` on a home of its own, and what it shows."""

    def __init__(self, home: Home, programs: dict[str, str]) -> None:
        self.home = home
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("VIGIE_", "PROMETHEUS_URL"))}
        self.environ = {**clean, **programs, "VIGIE_HOME": str(home.path), "HOME": str(home.path)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "stack", "up", "--systems", "diabetes"], cwd=ROOT, env=self.environ
        )
        # Reasons of each service in the order in which they were seen.
        self.seen: dict[str, list[str]] = {}

    def state_of(self, name: str) -> State | None:
        snapshot = state.read(self.home)
        shown = snapshot.services.get(name) if snapshot.live else None
        if shown is not None and shown.reason not in self.seen.setdefault(name, []):
            self.seen[name].append(shown.reason)
        return shown.state if shown else None

    def url(self, name: str) -> str:
        url = state.read(self.home).services[name].url
        assert url is not None
        return url

    def wait_up(self, *names: str) -> None:
        until(lambda: {self.state_of(name) for name in names} == {State.UP}, self.words)

    def words(self) -> str:
        logs = "".join(
            f"\n--- {log.name}\n{log.read_text(errors='replace')[-800:]}" for log in self.home.logs.glob("*")
        )
        return f"{state.read(self.home).services}{logs}"

    def processes(self) -> set[int]:
        return {self.process.pid, *(child.pid for child in psutil.Process(self.process.pid).children(recursive=True))}

    def health(self) -> dict[str, str]:
        targets = ask(f"{self.url('prometheus')}/api/v1/targets")["data"]["activeTargets"]
        return {target["labels"]["job"]: target["health"] for target in targets}


def ask(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


def take(squatter: socket.socket) -> tuple[apis.Api, bool]:
    """An API whose preferred port is taken, and whether it is by us; otherwise its holder may let it go again."""
    deadline = time.monotonic() + TAKE_SECONDS
    while time.monotonic() < deadline:
        for system in ("diabetes", "f1pa"):
            with contextlib.suppress(OSError):
                squatter.bind(("127.0.0.1", apis.APIS[system].port))
                squatter.listen()
                return apis.APIS[system], True
        time.sleep(0.2)
    return apis.APIS["diabetes"], False


@pytest.fixture
def taken() -> Iterator[tuple[apis.Api, bool]]:
    """An API whose preferred port somebody else has."""
    with socket.socket() as squatter:
        yield take(squatter)


@pytest.fixture
def running(tmp_path: Path, stack_binaries: dict[str, str]) -> Iterator[Running]:
    home = Home(tmp_path / "home")
    home.make()
    it = Running(home, stack_binaries)
    yield it
    it.process.kill()
    it.process.wait()


def test_systems_are_started_when_they_are_picked_and_all_are_scraped_where_they_are(
    taken: tuple[apis.Api, bool], running: Running, tmp_path_factory: pytest.TempPathFactory
) -> None:
    # The largest world is made already, the others are made here: what is asked is how they start.
    shutil.copytree(sample_home(tmp_path_factory) / "world", running.home.path / "world")
    settings = Settings.from_env({**running.environ})
    systems = load_systems(settings).by_id
    running.wait_up("prometheus", "diabetes")
    assert set(state.read(running.home).services) == {"prometheus", "node_exporter", "diabetes"}

    # As the console does when a reader picks them, one after the other and one of them twice.
    assert want(settings, systems["f1pa"])
    assert not want(settings, systems["f1pa"])
    assert not want(settings, systems["diabetes"])
    until(lambda: running.state_of("f1pa") is State.STARTING, running.words)
    assert want(settings, systems["streamflow"])
    running.wait_up(*SYSTEMS)

    making = [reason for reason in running.seen["f1pa"] if reason.startswith("making the sample data")]
    assert making, running.seen
    jobs = {apis.APIS[system].job for system in SYSTEMS}
    until(lambda: {running.health().get(job) for job in jobs} == {"up"}, running.health)
    with (running.home.log("stack")).open() as log:
        assert sum("f1pa: asked for" in line for line in log) == 1
    # An answer of the real service, behind its generated password.
    assert (running.home.path / "f1pa" / "password").stat().st_mode & 0o077 == 0
    assert ask(f"{running.url('diabetes')}/health")

    # One could not have its port: it has moved, and Prometheus was told where to.
    api, ours = taken
    port = int(re.findall(r"\d+$", running.url(api.system))[0])
    assert port != api.port or not ours
    targets = json.loads((running.home.stack / "targets" / f"{api.job}.json").read_text())
    assert targets == [{"targets": [f"127.0.0.1:{port}"]}]

    pids = running.processes()
    assert len(pids) == 6
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(PATIENCE) == 4
    until(lambda: not any(map(start_of, pids)), lambda: f"left: {pids}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_nothing_is_left_of_an_api_that_was_being_made(running: Running, number: signal.Signals) -> None:
    until(lambda: running.state_of("diabetes") is State.STARTING, running.words)
    until((running.home.path / ".world.lock").exists, running.words)
    pids = running.processes()

    running.process.send_signal(number)
    running.process.wait(PATIENCE)

    until(lambda: not any(map(start_of, pids)), lambda: f"left: {pids}")
