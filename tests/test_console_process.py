"""The console and what it starts: however it ends, nothing is left; attach mode starts nothing; a second one joins."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.conftest import diabetes_home, free_port
from tests.console_world import (
    END_SECONDS,
    ROOT,
    Console,
    get,
    nothing_left,
    processes_of,
    running,
    wait_until,
)
from tests.http_fakes import answer, serve

# What a full console consists of, by a part of the command line.
PARTS = {
    "console": "streamlit run",
    "supervisor": "-m stack up",
    "job host": "-m app.jobs --parent-pipe",
    "Prometheus": "--storage.tsdb.path=",
    "node exporter": "prometheus-node-exporter",
    "API": "uvicorn",
}
# Of the three APIs the one that starts with the least work; all three are for test_stack_systems.
API = "diabetes"


def parts(console: Console) -> set[str]:
    """Which parts run for the home of this console."""
    commands = list(processes_of(console.home).values())
    return {name for name, words in PARTS.items() if any(words in command for command in commands)}


def host(console: Console) -> int:
    """The process id of the job host that takes, or last took, orders."""
    return int(json.loads((console.home / "jobs.json").read_bytes())["pid"])


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """A home with a copy of the API's data: how a console makes them is another test's question."""
    home: Path = tmp_path_factory.mktemp("process") / "home"
    shutil.copytree(diabetes_home(tmp_path_factory), home)
    return home


@pytest.fixture
def full(world, stack_binaries) -> Iterator[Console]:
    """A console with everything up."""
    with running(Console(world, free_port(), {**stack_binaries, "VIGIE_START": API})) as console:
        console.wait_up({"prometheus", "node_exporter", API})
        wait_until("every part runs", lambda: parts(console) == set(PARTS))
        yield console


def test_a_console_ended_while_the_world_is_being_made_leaves_nothing(tmp_path, stack_binaries):
    console = Console(tmp_path / "home", free_port(), stack_binaries)
    with running(console):
        wait_until(
            "the world is being made", lambda: any("stack.world" in c for c in processes_of(console.home).values())
        )
        console.end(signal.SIGTERM)
    assert not (tmp_path / "home" / "world" / "world.json").exists()


@pytest.mark.parametrize(
    ("environ", "arguments", "words"),
    [
        ({}, ["--server.address", "0.0.0.0"], "listen on 0.0.0.0 and let everybody in"),
        ({"VIGIE_TOKEN": "short"}, [], "VIGIE_TOKEN has 5 characters"),
        ({"VIGIE_ALLOWED_ORIGINS": "vigie.example"}, [], "VIGIE_ALLOWED_ORIGINS has 'vigie.example'"),
    ],
)
def test_an_open_door_and_a_wrong_key_end_the_start_in_words(tmp_path, environ, arguments, words):
    console = Console(tmp_path / "home", free_port(), environ)
    command = [sys.executable, "-m", "streamlit", "run", "streamlit_app.py", "--server.port", str(console.port)]
    done = subprocess.run(
        [*command, *arguments], cwd=ROOT, env=console.environ, capture_output=True, text=True, timeout=120
    )
    assert done.returncode != 0
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert "\nVigie " not in done.stdout  # no address is announced


def test_a_killed_companion_is_started_again_a_second_console_stops_nothing_and_ctrl_c_ends_everything(full):
    full.wait_job_host()
    killed = host(full)
    os.kill(killed, signal.SIGKILL)
    wait_until("another job host", lambda: host(full) != killed and host(full) in processes_of(full.home))
    before = processes_of(full.home)
    owner = json.loads((full.home / "stack" / "state.json").read_bytes())["owner"]
    second = Console(full.home, free_port(), {key: full.environ[key] for key in full.environ if key.endswith("_BIN")})
    second.log = full.home / "second.out"
    process = second.start().process
    assert process is not None
    try:
        seen: set[int] = set()

        def companions() -> set[int]:
            now = {child.pid for child in psutil.Process(process.pid).children()}
            seen.update(now)
            return now

        # Its companions look, find an owner, and end.
        wait_until("both companions were started", lambda: companions() is not None and len(seen) >= 2, every=0.02)
        wait_until("both have ended", lambda: not companions())
        commands = list(processes_of(full.home).values())
        for name in ("supervisor", "job host", "Prometheus", "API"):
            assert sum(PARTS[name] in command for command in commands) == 1, (name, commands)
        assert json.loads((full.home / "stack" / "state.json").read_bytes())["owner"] == owner
        homes = {json.loads(get(f"{url}/healthz")[2])["home"] for url in (full.url, second.url)}
        assert len(homes) == 1
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(END_SECONDS)
    # Still the same ones; a worker may have been warmed meanwhile.
    assert set(before) <= set(processes_of(full.home))
    assert get(f"{full.service(API)}/health")[0] == 200

    assert full.process is not None
    os.killpg(full.process.pid, signal.SIGINT)
    full.process.wait(END_SECONDS)
    nothing_left(full.home)


def test_a_killed_console_leaves_no_process(full):
    assert full.process is not None
    full.process.kill()
    full.process.wait()
    nothing_left(full.home)


def test_a_new_console_runs_after_a_killed_one_and_ends_on_a_hangup(full):
    assert full.query("up") is not None
    assert full.process is not None
    full.process.send_signal(signal.SIGHUP)
    full.process.wait(END_SECONDS)
    nothing_left(full.home)


def test_attach_mode_starts_nothing_but_the_job_host(tmp_path, stack_binaries):
    with serve(answer(b'{"status":"success","data":{"activeTargets":[]}}')) as prometheus:
        environ = {**stack_binaries, "VIGIE_PROMETHEUS_URL": prometheus.url}
        with running(Console(tmp_path / "home", free_port(), environ)) as console:
            console.wait_job_host()
            wait_until("it says what it watches", lambda: prometheus.url in console.log.read_text())
            assert parts(console) == {"console", "job host"}
            assert not (console.home / "stack" / "state.json").exists()
            assert "nothing is started here" in console.log.read_text()
            rights = {path.name: path.stat().st_mode & 0o077 for path in (console.home, *console.home.iterdir())}
            assert not any(rights.values()), rights


def test_a_wrong_variable_ends_the_start_in_one_sentence(tmp_path, stack_binaries):
    console = Console(tmp_path / "home", free_port(), {"VIGIE_PROMETHEUS_URL": "localhost:9090"})
    with pytest.raises(AssertionError, match=r"VIGIE_PROMETHEUS_URL is 'localhost:9090'; accepted: http://HOST:PORT"):
        console.start()
