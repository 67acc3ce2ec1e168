"""The real plan: configuration files, and a real Prometheus and node exporter under the real command line."""

import json
import os
import signal
import subprocess
import sys
import tomllib
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.base.home import ROOT, Home
from app.base.processes import Owner
from stack import apis, binaries, services, state
from stack.errors import BinaryAbsent
from stack.places import free_port
from stack.state import State
from tests.waiting import until

PATIENCE = 240.0


@pytest.fixture(scope="module")
def programs() -> dict[str, str]:
    """Both real programs, fetched once into the checkout's own cache."""
    cache = Home(ROOT / "var")
    cache.make()
    environ = {key: value for key, value in os.environ.items() if not key.startswith("VIGIE_")}
    found = {}
    for program in binaries.PROGRAMS.values():
        try:
            found[program.variable] = str(binaries.fetch(program, cache, environ, lambda _: None).path)
        except BinaryAbsent as absence:
            if os.environ.get("CI"):
                raise
            pytest.skip(f"no real {program.name} can be had here: {absence}")
    return found


@pytest.fixture
def home(tmp_path: Path) -> Home:
    it = Home(tmp_path / "home")
    it.make()
    return it


class Command:
    """`python -m stack` for one home, ended with the test."""

    def __init__(self, home: Home, programs: dict[str, str]) -> None:
        clean = {key: value for key, value in os.environ.items() if "PROMETHEUS_URL" not in key}
        self.environ = {**clean, **programs, "VIGIE_HOME": str(home.path)}
        self.children: list[subprocess.Popen[str]] = []

    def run(self, *arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "stack", *arguments]
        return subprocess.run(
            command, cwd=ROOT, env={**self.environ, **environ}, capture_output=True, text=True, timeout=PATIENCE
        )

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        child = subprocess.Popen(
            [sys.executable, "-m", "stack", *arguments], cwd=ROOT, env=self.environ, stdout=subprocess.PIPE, text=True
        )
        self.children.append(child)
        return child


@pytest.fixture
def command(home: Home, programs: dict[str, str]) -> Iterator[Command]:
    it = Command(home, programs)
    yield it
    for child in it.children:
        child.terminate()
        child.wait(PATIENCE)


def up(home: Home, *names: str) -> Callable[[], bool]:
    def there() -> bool:
        shown = state.read(home)
        return shown.live and all(name in shown.services and shown.services[name].state is State.UP for name in names)

    return there


def ask(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)["data"]


def test_a_real_stack_scrapes_its_jobs_joins_a_second_start_and_stops_when_asked(home: Home, command: Command) -> None:
    owner = command.start("up", "--systems", "", "--console", "127.0.0.1:9")
    until(up(home, "prometheus", "node_exporter"), lambda: state.read(home))
    url = state.read(home).services["prometheus"].url

    second = command.run("up", "--systems", "")
    assert (second.returncode, second.stdout.split(":")[0]) == (0, "joined")

    def healths() -> dict[str, str]:
        return {target["labels"]["job"]: target["health"] for target in ask(f"{url}/api/v1/targets")["activeTargets"]}

    until(lambda: healths() == {"node-exporter": "up", "console": "down"}, healths)
    flags = ask(f"{url}/api/v1/status/flags")
    assert flags["query.timeout"] == "10s"
    assert flags["query.max-samples"] == "5000000"
    assert flags["query.max-concurrency"] == "4"
    assert flags["web.listen-address"].startswith("127.0.0.1:")
    assert flags["web.enable-lifecycle"] == "false"
    assert flags["storage.tsdb.path"] == str(home.prometheus)

    def rules() -> dict[str, str]:
        groups = ask(f"{url}/api/v1/rules")["groups"]
        return {f"{group['name']} {rule['name']}": rule["health"] for group in groups for rule in group["rules"]}

    committed = yaml.safe_load(services.RULES.read_text())["groups"]
    wanted = {f"{group['name']} {rule['alert']}" for group in committed for rule in group["rules"]}
    until(lambda: rules() == dict.fromkeys(wanted, "ok"), rules)

    table = command.run("status").stdout
    assert str(url) in table
    assert "prometheus.log" in table
    pids = [(s.pid, s.started) for s in state.read(home).services.values()]
    down = command.run("down")
    assert down.stdout == f"stopped: stack (pid {owner.pid})\n"
    assert owner.wait(PATIENCE) == 4
    assert not any(Owner(pid, since).alive for pid, since in pids)
    assert command.run("status", "--json").returncode == 3
    assert command.run("down").stdout.startswith("nothing runs")


def test_a_database_that_another_prometheus_has_open_is_refused_in_words(
    home: Home, command: Command, programs: dict[str, str]
) -> None:
    config = home.path / "other.yml"
    config.write_text("scrape_configs: []\n")
    flags = [f"--config.file={config}", f"--storage.tsdb.path={home.prometheus}", "--web.listen-address=127.0.0.1:0"]
    with subprocess.Popen([programs["VIGIE_PROMETHEUS_BIN"], *flags], stderr=subprocess.DEVNULL) as other:
        try:
            until(lambda: other.pid in services.users_of(home.prometheus), lambda: "the other one did not start")
            command.start("up", "--systems", "")
            until(up(home, "node_exporter"), lambda: state.read(home))
            shown = state.read(home).services["prometheus"]
        finally:
            other.send_signal(signal.SIGKILL)

    assert shown.state is State.DOWN
    assert f"pid {other.pid}" in shown.reason
    assert "VIGIE_HOME" in shown.reason


def test_a_killed_prometheus_starts_again_on_its_own_database(home: Home, command: Command) -> None:
    command.start("up", "--systems", "")
    until(up(home, "prometheus"), lambda: state.read(home))
    before = state.read(home).services["prometheus"]
    assert before.pid is not None

    os.kill(before.pid, signal.SIGKILL)
    until(lambda: state.read(home).services["prometheus"].pid not in {before.pid, None}, lambda: "no new one")

    until(up(home, "prometheus"), lambda: state.read(home))


def test_a_wrong_path_to_prometheus_makes_it_absent_and_the_rest_runs(home: Home, command: Command) -> None:
    command.environ["VIGIE_PROMETHEUS_BIN"] = str(home.path / "nowhere")
    command.start("up", "--systems", "")
    until(up(home, "node_exporter"), lambda: state.read(home))

    shown = state.read(home).services["prometheus"]
    assert shown.state is State.ABSENT
    assert "VIGIE_PROMETHEUS_BIN" in shown.reason
    assert command.run("fetch", "prometheus").returncode == 2


def test_the_written_configuration_names_the_job_of_every_api_before_it_runs(home: Home) -> None:
    services.build(home, {}, "", [])
    config = yaml.safe_load((home.stack / "prometheus.yml").read_text())

    jobs = [job["job_name"] for job in config["scrape_configs"]]
    assert jobs == ["api", "fastapi", "f1pa_api", "node-exporter", "console", "own"]
    assert config["global"]["scrape_interval"] == "2s"


def promtool(programs: dict[str, str], *arguments: "str | Path") -> str:
    """What promtool says about a good file; fails on a bad one."""
    program = Path(programs["VIGIE_PROMETHEUS_BIN"]).with_name("promtool")
    if not program.exists():
        if os.environ.get("CI"):
            pytest.fail(f"{program} is missing")
        pytest.skip("this Prometheus comes without promtool")
    answer = subprocess.run([program, *arguments], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout + answer.stderr


RULE = "groups: [{name: test, rules: [{alert: Always, expr: vector(1), for: 0s}]}]"


def test_the_written_configuration_is_valid_with_the_rules_of_the_checkout(
    home: Home, programs: dict[str, str]
) -> None:
    services.build(home, {}, "127.0.0.1:9", ["streamflow"])
    config = home.stack / "prometheus.yml"

    promtool(programs, "check", "config", config)
    assert ("rule_files" in yaml.safe_load(config.read_text())) == services.RULES.is_file()
    assert "authorization" not in config.read_text()


def test_the_console_alone_is_scraped_with_its_token_and_from_a_file(home: Home, programs: dict[str, str]) -> None:
    (home.stack / "console.token").write_text("a-token-of-the-tests")
    services.build(home, {}, "127.0.0.1:9", ["streamflow"])
    config = home.stack / "prometheus.yml"
    promtool(programs, "check", "config", config)
    jobs = {job["job_name"]: job.get("authorization") for job in yaml.safe_load(config.read_text())["scrape_configs"]}
    assert jobs.pop("console") == {"credentials_file": "console.token"}
    assert set(jobs.values()) == {None}
    assert "a-token-of-the-tests" not in config.read_text()


def test_rules_and_targets_are_found_in_a_home_whose_name_reads_like_a_pattern(
    tmp_path: Path, programs: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path / 'a [b] *?"\\ home')
    home.make()
    rules = tmp_path / "it's [one] *" / "alerts.yml"
    rules.parent.mkdir()
    rules.write_text(RULE)
    monkeypatch.setattr(services, "RULES", rules)
    plan = services.build(home, home.environment(programs), "127.0.0.1:9", [])
    plan.publish({})
    server = plan.services[0]
    port = free_port(22000 + os.getpid() % 10000)
    with subprocess.Popen(server.command(port), cwd=server.folder, stderr=subprocess.DEVNULL) as child:
        try:
            url = f"http://127.0.0.1:{port}/api/v1"
            until(lambda: bool(quiet(f"{url}/targets", "activeTargets")), lambda: "no target")
            groups = quiet(f"{url}/rules", "groups")
        finally:
            child.terminate()

    assert [rule["name"] for group in groups for rule in group["rules"]] == ["Always"]


def quiet(url: str, key: str) -> list[Any]:
    """A list of an answer; empty while nobody listens."""
    try:
        return list(ask(url)[key])
    except OSError:
        return []


def test_the_jobs_are_those_that_the_system_files_select() -> None:
    for system, api in apis.APIS.items():
        with (ROOT / "app" / "systems" / f"{system}.toml").open("rb") as file:
            selector = tomllib.load(file)["prometheus"]["selector"]
        assert selector == f'job="{api.job}"'


def test_targets_are_written_for_what_has_an_address_only(home: Home) -> None:
    addresses = {"prometheus": "http://127.0.0.1:9090", "streamflow": "http://127.0.0.1:8003"}
    services.write_targets(home, addresses, "127.0.0.1:8501", apis.APIS)
    folder = home.stack / "targets"

    read = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
    assert read == {
        "api": [{"targets": ["127.0.0.1:8003"]}],
        "fastapi": [],
        "f1pa_api": [],
        "node-exporter": [],
        "console": [{"targets": ["127.0.0.1:8501"]}],
    }


def test_the_compose_configuration_is_the_one_of_the_course(programs: dict[str, str]) -> None:
    file = ROOT / "stack" / "prometheus" / "prometheus.yml"
    config = yaml.safe_load(file.read_text())
    api = config["scrape_configs"][0]

    assert config["global"]["scrape_interval"] == "10s"
    assert (api["job_name"], api["metrics_path"], api["static_configs"]) == (
        "api",
        "/metrics",
        [{"targets": ["api:8000"]}],
    )
    # The file with the token is in the container alone.
    promtool(programs, "check", "config", "--syntax-only", file)


def test_the_api_gets_its_model_and_features_from_the_home(home: Home) -> None:
    plan = services.build(home, home.environment({}), "", ["streamflow"])
    api = next(service for service in plan.services if service.name == "streamflow")

    assert api.environ["STREAMFLOW_MODEL_DIR"] == str(home.path / "world" / "streamflow" / "model")
    assert api.environ["FEAST_REPO"] == str(home.path / "feast")
    assert plan.environ["DO_NOT_TRACK"] == "1"
    assert (api.needs, api.beside) == ((), ("world",))
    assert "127.0.0.1" in api.command(8123)


def test_an_api_waits_for_data_that_may_be_made_again(home: Home) -> None:
    """What has the old files open would go on with them."""
    (home.path / "feast").mkdir(parents=True)
    for system in ("streamflow", "f1pa"):
        api = apis.APIS[system].service(home)
        assert (api.needs, api.beside) == ((apis.APIS[system].task_name,), ())


def test_services_of_ones_own_are_scraped_and_forgotten_with_their_system_file(home: Home, tmp_path: Path) -> None:
    services.write_prometheus_config(home, ["api"])
    assert "targets/own-*.json" in (home.stack / "prometheus.yml").read_text()
    folder = home.stack / "targets"
    folder.mkdir(parents=True, exist_ok=True)
    kept, gone = tmp_path / "kept.toml", tmp_path / "gone.toml"
    kept.write_text("title = 'Kept'")
    for file in (kept, gone):
        group = {"targets": ["127.0.0.1:1"], "labels": {"job": file.stem, "__meta_vigie_system_file": str(file)}}
        (folder / f"own-{file.stem}.json").write_text(json.dumps([group]))
    (folder / "own-byhand.json").write_text('[{"targets": ["127.0.0.1:2"]}]')
    (folder / "own-torn.json").write_text("[{")
    services.forget_own_targets(home)
    assert sorted(path.name for path in folder.glob("own-*")) == ["own-byhand.json", "own-kept.json", "own-torn.json"]
