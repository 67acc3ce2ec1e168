"""From a bare checkout to a console: what is checked first, how the environment is made, which port is taken."""

import ast
import contextlib
import hashlib
import http.server
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import tomllib
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.base.files import Lock
from app.base.home import ROOT, Home
from app.base.processes import myself, start_of
from stack import apis, apt, environment, launch, places, state, wanted
from stack.__main__ import objection
from stack.errors import StackError
from tests.waiting import until

PATIENCE = 240.0


def ignore(_: str) -> None:
    """A `say` that nobody reads."""


# -- the interpreter ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["__init__.py", "__main__.py"])
def test_the_first_files_parse_on_python_3_8_so_that_the_message_is_seen(file: str) -> None:
    ast.parse((ROOT / "stack" / file).read_text(), feature_version=(3, 8))


@pytest.mark.parametrize(
    ("version", "system", "words"),
    [
        ((3, 8), "posix", "python3.12 -m stack run"),
        ((3, 10), "posix", "python3.12 -m stack run"),
        ((3, 14), "posix", "this is Python 3.14"),
        ((3, 12), "nt", "WSL2"),
    ],
)
def test_an_interpreter_that_cannot_run_it_is_told_in_one_line_what_to_type(
    version: tuple[int, int], system: str, words: str
) -> None:
    line = objection(*version, system)
    assert words in line
    assert "\n" not in line


def test_the_versions_that_are_accepted_are_those_of_the_project_file() -> None:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert wanted == ">=3.11,<3.14"
    assert [minor for minor in range(6, 20) if not objection(3, minor, "posix")] == [11, 12, 13]


def test_the_stack_imports_nothing_outside_the_standard_library_before_the_environment_exists() -> None:
    code = (
        "import sys; import stack.commands; "
        "print([n for n in {m.split('.')[0] for m in sys.modules} - sys.stdlib_module_names if n not in "
        "('app', 'stack', '__main__', 'sitecustomize', 'usercustomize') and not n.startswith('_')])"
    )
    answer = subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


# -- the environment ----------------------------------------------------------------------------------------------

FAKE_UV = """#!/bin/sh
echo "$@" >> "{calls}"
test ! -e "{fails}" || exit 3
"""


class Checkout:
    """A checkout with locks and an environment whose uv only notes what it was asked."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.calls = root / "calls.txt"
        self.fails = root / "uv-fails"
        for name in ("requirements.txt", "requirements-dev.txt", "requirements-uv.txt"):
            (root / name).write_text(f"# {name}\n")

    def with_environment(self) -> "Checkout":
        scripts = self.root / ".venv" / "bin"
        scripts.mkdir(parents=True)
        (scripts / "python").symlink_to(sys.executable)
        (scripts / "uv").write_text(FAKE_UV.format(calls=self.calls, fails=self.fails))
        (scripts / "uv").chmod(0o755)
        return self

    def ensure(self, *, development: bool = False) -> list[str]:
        """Ensure the environment; return the locks that uv was asked to install by this call."""
        before = self.asked()
        environment.ensure(self.root, ignore, os.environ, development=development, free_bytes=lambda _: 10**12)
        return self.asked()[len(before) :]

    def asked(self) -> list[str]:
        lines = self.calls.read_text().splitlines() if self.calls.exists() else []
        return [Path(line.removesuffix(" --compile-bytecode").split()[-1]).name for line in lines]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_a_second_start_installs_nothing(checkout: Checkout) -> None:
    checkout.with_environment()
    assert checkout.ensure() == ["requirements.txt"]
    assert checkout.ensure() == []


def test_run_leaves_the_packages_for_tests_in_place_also_when_the_runtime_lock_changes(checkout: Checkout) -> None:
    checkout.with_environment()
    assert checkout.ensure(development=True) == ["requirements-dev.txt"]
    assert checkout.ensure() == []
    (checkout.root / "requirements.txt").write_text("# changed\n")
    assert checkout.ensure() == ["requirements-dev.txt"]
    assert checkout.ensure(development=True) == []


def test_tests_install_their_packages_over_a_runtime_environment(checkout: Checkout) -> None:
    checkout.with_environment()
    checkout.ensure()
    assert checkout.ensure(development=True) == ["requirements-dev.txt"]


def test_a_failed_install_is_said_and_not_taken_for_a_whole_environment(checkout: Checkout) -> None:
    checkout.with_environment()
    checkout.fails.touch()

    with pytest.raises(StackError, match="installing the packages failed") as failure:
        checkout.ensure()

    assert "type the same again" in failure.value.hint
    assert not environment.is_current(checkout.root)
    assert (checkout.root / ".venv" / environment.MARKER).exists()


def test_no_room_on_the_disk_is_said_before_anything_is_written(checkout: Checkout) -> None:
    with pytest.raises(StackError, match=r"0\.9 GB free and 2\.5 GB are needed"):
        environment.ensure(checkout.root, ignore, os.environ, free_bytes=lambda _: 900_000_000)

    assert not (checkout.root / ".venv").exists()


def test_of_two_starts_at_once_one_installs_and_the_other_waits(checkout: Checkout) -> None:
    checkout.with_environment()
    code = (
        "import os, sys; from pathlib import Path; from stack import environment; "
        "environment.ensure(Path(sys.argv[1]), print, os.environ)"
    )
    starts = [
        subprocess.Popen([sys.executable, "-c", code, str(checkout.root)], cwd=ROOT, stdout=subprocess.DEVNULL)
        for _ in range(3)
    ]

    assert [start.wait(PATIENCE) for start in starts] == [0, 0, 0]
    assert checkout.asked() == ["requirements.txt"]


def test_the_locks_name_no_package_index_and_no_machine() -> None:
    for name in ("requirements.txt", "requirements-dev.txt", "requirements-uv.txt"):
        text = (ROOT / name).read_text()
        assert "--hash=sha256:" in text
        assert "http" not in text.split("==")[0]
        assert "--index-url" not in text
        assert "--find-links" not in text
        assert "file://" not in text


def real_checkout(root: Path) -> Path:
    """Write the locks of a very small project: the real uv, and one package whose sum stands in the real lock."""
    text = (ROOT / "requirements-dev.txt").read_text()
    start = text.index("\niniconfig==") + 1
    lines = text[start:].splitlines()
    package = [lines[0], *(line for line in lines[1:4] if line.strip().startswith("--hash"))]
    (root / "requirements.txt").write_text("\n".join(package).rstrip(" \\") + "\n")
    shutil.copy(ROOT / "requirements-uv.txt", root)
    return root


def ensure_really(root: Path) -> None:
    try:
        environment.ensure(root, print, os.environ, free_bytes=lambda _: 10**12)
    except StackError as failure:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no package index is reached here: {failure}")


def test_an_environment_is_made_from_nothing_and_a_half_made_one_is_made_again(tmp_path: Path) -> None:
    root = real_checkout(tmp_path)
    half = root / ".venv"
    half.mkdir()
    (half / environment.MARKER).touch()
    (half / "leftover").touch()

    ensure_really(root)

    assert environment.is_current(root)
    assert not (half / "leftover").exists()
    code = "import iniconfig, sys; print(sys.prefix)"
    answer = subprocess.run([environment.python_of(root), "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == str(half)


@pytest.mark.skipif(bool(apt.missing()), reason=apt.missing() or "apt is here")
def test_without_ensurepip_the_environment_is_made_by_way_of_the_package_of_pips_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = real_checkout(tmp_path)
    monkeypatch.setattr(environment, "_has", lambda module: module == "venv")

    ensure_really(root)

    assert environment.is_current(root)
    assert not list((root / ".venv").glob("lib/python*/site-packages/pip"))


def test_without_any_pip_the_line_says_which_package_to_install(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "_has", lambda module: module == "venv")
    monkeypatch.setattr(apt, "missing", lambda: "apt-get is not on PATH")

    with pytest.raises(StackError) as failure:
        environment.ensure(checkout.root, ignore, {"PATH": "/nowhere"}, free_bytes=lambda _: 10**12)

    assert "sudo apt-get install python3" in failure.value.line()


# -- the console's port -------------------------------------------------------------------------------------------


class Answerer:
    """Something that answers /healthz on loopback."""

    def __init__(self, body: str) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    it = Home(tmp_path / "home")
    it.make()
    return it


@pytest.fixture
def ours(home: Home) -> Iterator[Answerer]:
    it = Answerer(json.dumps({"service": "vigie", "version": "0", "home": home.id, "pid": 1}))
    yield it
    it.close()


def test_a_second_run_prints_the_address_of_the_first_and_ends_well(home: Home, ours: Answerer) -> None:
    said: list[str] = []

    code = launch.run(home, {"PATH": ""}, said.append, port=ours.port)

    assert code == 0
    assert f"http://127.0.0.1:{ours.port}" in said[0]


def test_a_console_that_had_to_take_another_port_is_found_by_its_note(home: Home, ours: Answerer) -> None:
    (home.stack / "console.lock").write_text(json.dumps({"pid": 1, "started": "1", "port": ours.port}))

    assert launch.find_ours(home) == ours.port


@pytest.mark.parametrize("body", ["hello", "[]", '{"service": "vigie", "home": "another"}', "{"])
def test_what_answers_otherwise_is_somebody_elses(home: Home, body: str) -> None:
    stranger = Answerer(body)
    try:
        assert not launch.ours(home, stranger.port)
        with pytest.raises(StackError) as taken:
            launch.run(home, {"PATH": ""}, ignore, port=stranger.port)
    finally:
        stranger.close()
    assert str(stranger.port) in taken.value.line()
    assert "next free" in taken.value.line()


def test_the_next_free_port_is_taken_when_the_preferred_one_is_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not places.port_is_free(port)
        assert places.free_port(port) > port
        assert places.free_port(port, taken={port + 1}) > port + 1


FAKE_CONSOLE = """
import hashlib, http.server, json, os, pathlib, sys, time
assert sys.argv[1:5] == ["-m", "streamlit", "run", "streamlit_app.py"], sys.argv
assert "--server.port" not in sys.argv
assert sys.argv[sys.argv.index("--server.address") + 1] == "127.0.0.1"
home = hashlib.sha256(os.environ["VIGIE_HOME"].encode()).hexdigest()[:16]
said = {"service": "vigie", "home": home, "pid": os.getpid(), "start": os.environ.get("VIGIE_START")}
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(said).encode())
    def log_message(self, *_):
        pass
time.sleep(1.0)
for port in range(8501, 8551):
    try:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        break
    except OSError:
        pass
lock = pathlib.Path(os.environ["VIGIE_HOME"], "stack", "console.lock")
lock.write_text(json.dumps({**json.loads(lock.read_text()), "port": port}))
server.serve_forever()
"""


@pytest.fixture
def whole_checkout(tmp_path: Path) -> Path:
    """A copy of the stack beside an environment that is whole and whose console is a fake."""
    root = tmp_path.resolve() / "checkout"
    shutil.copytree(ROOT / "stack", root / "stack", ignore=shutil.ignore_patterns("__pycache__", "world", "api"))
    shutil.copytree(ROOT / "app" / "base", root / "app" / "base", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "app" / "__init__.py", root / "app")
    Checkout(root).with_environment()
    (root / "console.py").write_text(FAKE_CONSOLE)
    python = environment.python_of(root)
    python.unlink()
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{root}/console.py" "$@"\n')
    python.chmod(0o755)
    locks = {"runtime": environment._sum(root / "requirements.txt"), "development": ""}
    (root / ".venv" / environment.STAMP).write_text(json.dumps(locks))
    return root


def test_of_two_runs_at_once_one_becomes_the_console_and_the_other_prints_its_address(whole_checkout: Path) -> None:
    environ = {key: value for key, value in os.environ.items() if not key.startswith("VIGIE_")}
    command = [sys.executable, "-u", "-m", "stack"]
    runs = [
        subprocess.Popen([*command, "run"], cwd=whole_checkout, env=environ, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        until(lambda: any(run.poll() is not None for run in runs), "one of the two ends", every=0.05)
        second, console = sorted(runs, key=lambda run: run.poll() is None)
        said = second.communicate(timeout=PATIENCE)[0]
        assert second.returncode == 0, said
        assert console.poll() is None
        note = json.loads((whole_checkout / "var" / "stack" / "console.lock").read_text())
        assert note["pid"] == console.pid
        assert f"runs already: http://127.0.0.1:{note['port']}" in said

        down = subprocess.run([*command, "down", "--console"], cwd=whole_checkout, env=environ, check=True)
        assert down.returncode == 0
        assert console.wait(PATIENCE) == -signal.SIGTERM
        # Its address is the console's to say, once it has bound one.
        assert "http://" not in console.communicate()[0]
    finally:
        for run in runs:
            run.kill()
            run.wait()


def test_two_homes_started_at_once_print_the_addresses_that_they_have_bound(tmp_path: Path) -> None:
    """With 8501 taken, both take the next free ones, whoever comes first; a second start finds each by its note."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("VIGIE_", "STREAMLIT_"))}
    environ = {**kept, "VIGIE_PROMETHEUS_URL": "http://127.0.0.1:9", "HOME": str(tmp_path)}
    homes = [Home(tmp_path / name) for name in ("one", "two")]
    code = "import sys; from stack import launch, places; from pathlib import Path; import os\n"
    code += "launch.environment.ensure = lambda *_: Path(sys.executable)\n"
    code += "launch.run(places.Home.of(os.environ), os.environ, print)"
    logs = [(tmp_path / f"{home.path.name}.log").open("w") for home in homes]
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):  # somebody else has it: as good
            held.enter_context(socket.create_server(("127.0.0.1", 8501)))
        consoles = [
            subprocess.Popen(
                [sys.executable, "-u", "-c", code],
                cwd=ROOT,
                env={**environ, "VIGIE_HOME": str(home.path)},
                stdout=log,
                stderr=log,
            )
            for home, log in zip(homes, logs, strict=True)
        ]
        try:

            def noted():
                assert all(console.poll() is None for console in consoles)
                return all(launch.console_of(home).get("port") for home in homes)

            until(noted, "the consoles note their ports", every=0.05)
            ports = [launch.console_of(home)["port"] for home in homes]
            assert len({*ports, 8501}) == 3
            for home, port in zip(homes, ports, strict=True):
                until(
                    lambda home=home, port=port: launch.find_ours(home) == port,
                    "the console answers where it has noted",
                    every=0.05,
                )
                printed = (tmp_path / f"{home.path.name}.log").read_text()
                assert re.findall(r"http://127.0.0.1:(?!9 )(\d+)", printed) == [str(port)], printed
        finally:
            for console, log in zip(consoles, logs, strict=True):
                console.terminate()
                console.wait(PATIENCE)
                log.close()


def test_the_systems_of_run_reach_the_console_and_a_second_run_asks_for_its_own(whole_checkout: Path) -> None:
    environ = {key: value for key, value in os.environ.items() if not key.startswith("VIGIE_")}
    command = [sys.executable, "-u", "-m", "stack", "run"]
    console = subprocess.Popen(
        [*command, "--systems", "none"], cwd=whole_checkout, env=environ, stdout=subprocess.PIPE, text=True
    )
    home = Home(whole_checkout / "var")
    try:

        def answering():
            assert console.poll() is None
            return launch.find_ours(home)

        port = until(answering, "the console answers", every=0.05)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz") as answer:
            assert json.load(answer)["start"] == "none"

        plain = subprocess.run(command, cwd=whole_checkout, env=environ, check=True, capture_output=True, text=True)
        assert "asked" not in plain.stdout
        asking = [*command, "--systems", "f1pa,diabetes"]
        second = subprocess.run(asking, cwd=whole_checkout, env=environ, check=True, capture_output=True, text=True)
        assert second.stdout.splitlines()[-1].startswith("asked it for diabetes, f1pa;")
        asked = {file.name: json.loads(file.read_text()) for file in wanted.folder(home).iterdir()}
        who = {"pid": console.pid, "started": start_of(console.pid)}
        assert asked == {"diabetes": who, "f1pa": who}
    finally:
        console.kill()
        console.communicate()


def test_a_home_is_readable_by_its_owner_alone_and_has_the_id_of_the_contract(tmp_path: Path) -> None:
    home = Home.of({"VIGIE_HOME": str(tmp_path / "new")})
    home.make()

    assert home.path.stat().st_mode & 0o777 == 0o700
    assert home.id == hashlib.sha256(str((tmp_path / "new").resolve()).encode()).hexdigest()[:16]
    assert Home.of({}).path == ROOT / "var"


# -- the command line ---------------------------------------------------------------------------------------------


def stack(home: Home, *arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("VIGIE_", "PROMETHEUS_URL"))}
    return subprocess.run(
        [sys.executable, "-m", "stack", *arguments],
        cwd=ROOT,
        env={**clean, "VIGIE_HOME": str(home.path), **environ},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


@pytest.mark.parametrize("variable", ["VIGIE_PROMETHEUS_URL", "PROMETHEUS_URL"])
def test_in_attach_mode_up_says_so_and_starts_nothing(home: Home, variable: str) -> None:
    answer = stack(home, "up", **{variable: "http://prometheus.example:9090"})

    assert answer.returncode == 0
    assert "attach mode" in answer.stdout
    assert not home.state_file.exists()


def test_a_wrong_binary_is_said_before_anything_is_installed(home: Home) -> None:
    answer = stack(home, "run", VIGIE_PROMETHEUS_BIN="/nowhere/prometheus")

    assert answer.returncode == 2
    assert answer.stderr.count("\n") == 1
    assert "VIGIE_PROMETHEUS_BIN=/nowhere/prometheus is not a file" in answer.stderr


def test_a_home_that_cannot_be_written_is_said_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()

    answer = stack(Home(file / "home"), "run")

    assert answer.returncode == 1
    assert answer.stderr.count("\n") == 1
    assert "VIGIE_HOME" in answer.stderr


@pytest.mark.parametrize("command", ["up", "run"])
def test_an_api_that_does_not_exist_is_a_usage_error_wherever_it_is_named(home: Home, command: str) -> None:
    for answer in (stack(home, command, "--systems", "netflix"), stack(home, command, VIGIE_START="f1pa, netflix")):
        assert answer.returncode == 2
        assert answer.stderr.count("\n") == 1
        assert "'netflix'" in answer.stderr
        assert "streamflow, diabetes, f1pa" in answer.stderr


@pytest.mark.parametrize(
    ("text", "systems"),
    [
        ("all", ("streamflow", "diabetes", "f1pa")),
        ("none", ()),
        ("", ()),
        ("f1pa", ("f1pa",)),
        (" diabetes , streamflow,diabetes,", ("streamflow", "diabetes")),
    ],
)
def test_systems_are_named_by_all_none_or_a_list(text: str, systems: tuple[str, ...]) -> None:
    assert apis.chosen(text) == systems


@pytest.mark.parametrize("text", ["all,f1pa", "none,f1pa", "../x", "STREAMFLOW", "streamflow f1pa"])
def test_what_names_no_system_is_refused(text: str) -> None:
    with pytest.raises(StackError, match="no such API"):
        apis.chosen(text)


def make(*arguments: str, **environ: str) -> str:
    """What `make` would run."""
    # The tests may themselves run under make, which hands its flags on.
    plain = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    answer = subprocess.run(
        ["make", "-n", *arguments], cwd=ROOT, env={**plain, **environ}, capture_output=True, text=True, check=True
    )
    return answer.stdout.strip()


@pytest.mark.skipif(not shutil.which("make"), reason="there is no make")
def test_make_passes_the_systems_on_that_are_given_as_its_argument() -> None:
    assert make("run") == "python3 -m stack run"
    assert make("run", "SYSTEMS=all") == "python3 -m stack run --systems 'all'"
    assert make("run", "SYSTEMS=") == "python3 -m stack run --systems ''"
    assert make("dev", "SYSTEMS=none") == "python3 -m stack run --watch --systems 'none'"
    assert make("run", SYSTEMS="of another program") == "python3 -m stack run"


def test_status_and_down_without_a_stack_say_so(home: Home) -> None:
    status = stack(home, "status")
    assert status.returncode == 3
    assert "make run" in status.stdout
    assert json.loads(stack(home, "status", "--json").stdout)["running"] is False
    assert stack(home, "down").stdout.startswith("nothing runs")


def test_down_stops_the_console_that_run_started(home: Home) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as console:
        note = {"pid": console.pid, "started": start_of(console.pid), "port": 1}
        (home.stack / "console.lock").write_text(json.dumps(note))
        stopper = threading.Thread(target=console.wait)
        stopper.start()

        answer = stack(home, "down", "--console")
        stopper.join(PATIENCE)

    assert answer.stdout == f"stopped: console (pid {console.pid})\n"
    assert console.returncode == -signal.SIGTERM


def test_doctor_looks_at_everything_and_starts_nothing(home: Home) -> None:
    answer = stack(home, "doctor")

    assert answer.returncode == 0, answer.stderr
    for words in ("python", "environment", "disk", "prometheus: PATH", "node_exporter: apt", "port 9090", "stack"):
        assert words in answer.stdout
    assert not home.state_file.exists()


def test_a_stack_that_is_stopping_is_waited_for_and_not_joined(home: Home) -> None:
    from stack import commands

    old = Lock(home.stack / "lock")
    assert old.acquire()
    me = myself()
    state.write(home, state.Snapshot(me))
    assert commands._take_over(Lock(home.stack / "lock"), home) == me

    state.write(home, state.Snapshot(me, stopping=True))
    threading.Timer(0.3, old.release).start()
    assert commands._take_over(Lock(home.stack / "lock"), home) is None


def test_the_makefile_names_commands_that_exist() -> None:
    text = (ROOT / "Makefile").read_text()
    asked = {line.split("-m stack ")[1].split()[0] for line in text.splitlines() if "$(PYTHON) -m stack " in line}
    assert asked == {"run", "down", "env"}
    for command in sorted(asked):
        answer = subprocess.run([sys.executable, "-m", "stack", command, "--help"], cwd=ROOT, capture_output=True)
        assert answer.returncode == 0
