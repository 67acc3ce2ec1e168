"""The compose stack without an engine: what its files promise each other, and `make env`."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from stack import compose as env_file

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "docker-compose.yml"
COMPOSE: dict[str, Any] = yaml.safe_load(FILE.read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
PROFILES = ("streamflow", "diabetes", "f1pa", "full")
# Services that do their work and end.
ONCE = {"world", "f1pa-tables", "registration"}
# Listens inside the network alone.
INSIDE = {"feast": 6566}
PORT = re.compile(r"127\.0\.0\.1:\$\{([A-Z0-9_]+):-(\d+)\}:(\d+)")
VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)(?::([-?])([^}]*))?\}")
# Where Python, wget or a client of its own is inside an image that is not built here.
TOOLS = {
    "postgres": "pg_isready",
    "ghcr.io/mlflow/mlflow": "python",
    "prom/prometheus": "wget",
    "quay.io/prometheus/node-exporter": "wget",
    "grafana/grafana": "wget",
}


def listens() -> dict[str, int]:
    """Service -> port inside the network."""
    found = dict(INSIDE)
    for name, service in SERVICES.items():
        for port in service.get("ports", []):
            hit = PORT.fullmatch(port)
            assert hit, f"{name}: {port}"
            found[name] = int(hit[3])
    return found


def dockerfile(service: dict[str, Any]) -> Path:
    build = service["build"]
    context = ROOT / build["context"]
    return context / build.get("dockerfile", "Dockerfile")


BUILT = {name: service for name, service in SERVICES.items() if "build" in service}


# --- what the documents name ------------------------------------------------------------------------------------------


def test_services_images_and_container_names_are_those_of_the_documents():
    assert {"api", "postgres", "feast", "mlflow", "prefect", "prometheus", "grafana"} <= set(SERVICES)
    assert {"diabetes-api", "f1pa-api", "node-exporter", "console"} <= set(SERVICES)
    assert SERVICES["postgres"]["image"] == "postgres:16"
    assert SERVICES["mlflow"]["image"] == "ghcr.io/mlflow/mlflow:v2.16.0"
    assert SERVICES["prometheus"]["image"] == "prom/prometheus:${PROMETHEUS_VERSION:-v2.55.1}"
    assert SERVICES["grafana"]["image"] == "grafana/grafana:${GRAFANA_VERSION:-11.2.0}"
    assert SERVICES["prometheus"]["container_name"] == "streamflow-prometheus"
    assert SERVICES["grafana"]["container_name"] == "streamflow-grafana"
    assert {"pgdata", "mlartifacts", "grafana-data"} <= set(COMPOSE["volumes"])
    assert "version" not in COMPOSE


def test_ports_are_variables_with_the_known_numbers_on_this_machine_alone():
    wanted = {
        "console": 8501,
        "api": 8000,
        "diabetes-api": 8001,
        "f1pa-api": 8002,
        "prometheus": 9090,
        "node-exporter": 9100,
        "grafana": 3000,
        "mlflow": 5000,
        "prefect": 4200,
        "postgres": 5432,
    }
    found = {name: int(PORT.fullmatch(port)[2]) for name, one in SERVICES.items() for port in one.get("ports", [])}
    assert found == wanted
    names = [PORT.fullmatch(port)[1] for one in SERVICES.values() for port in one.get("ports", [])]
    assert len(set(names)) == len(names)
    assert all("network_mode" not in one for one in SERVICES.values())


def test_prometheus_waits_for_the_api_and_grafana_for_prometheus():
    assert "api" in SERVICES["prometheus"]["depends_on"]
    assert "prometheus" in SERVICES["grafana"]["depends_on"]


def test_prometheus_scrapes_the_jobs_and_intervals_of_the_documents():
    config = yaml.safe_load((ROOT / "stack" / "prometheus" / "prometheus.yml").read_text())
    every = config["global"]["scrape_interval"]
    jobs = {
        job["job_name"]: (
            job["static_configs"][0]["targets"],
            job.get("scrape_interval", every),
            job.get("metrics_path", "/metrics"),
        )
        for job in config["scrape_configs"]
    }
    assert jobs == {
        "api": (["api:8000"], "10s", "/metrics"),
        "fastapi": (["diabetes-api:8000"], "5s", "/metrics"),
        "f1pa_api": (["f1pa-api:8000"], "10s", "/metrics"),
        "node-exporter": (["node-exporter:9100"], "5s", "/metrics"),
        "console": (["console:8501"], "10s", "/metrics"),
    }
    assert config["rule_files"] == ["alerts.yml"]
    mounts = dict(one.split(":")[:2] for one in SERVICES["prometheus"]["volumes"])
    assert mounts["./stack/prometheus"] == "/etc/prometheus"
    assert "--config.file=/etc/prometheus/prometheus.yml" in SERVICES["prometheus"]["command"]


def test_the_flow_finds_reports_where_the_document_says():
    # docker compose exec -e REPORT_DIR=/reports/evidently prefect python /opt/prefect/flows/monitor_flow.py
    assert "./reports:/reports" in SERVICES["prefect"]["volumes"]
    assert SERVICES["prefect"]["environment"]["REPORT_DIR"] == "/reports/evidently"
    # The index of runs holds absolute paths: both must see the same.
    assert "./reports:/reports" in SERVICES["console"]["volumes"]


# --- what the files promise each other --------------------------------------------------------------------------------


def named_addresses() -> Iterator[tuple[str, str, int]]:
    """(file, host, port) wherever a file of the stack names a service of the network."""
    ports = listens()
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    kinds = (".yml", ".yaml", ".py", ".toml", ".md", ".json", ".sql", ".sh", ".example", "Dockerfile")
    for name in listed:
        if name.startswith(("tests/", "benchmarks/")) or not name.endswith(kinds):
            continue
        for host, port in re.findall(r"(?<![\w.$/-])([a-z][a-z0-9-]*):(\d{4,5})\b", (ROOT / name).read_text("utf-8")):
            if host in ports:
                yield name, host, int(port)
        if name.startswith("stack/") or name == "docker-compose.yml":
            for host, port in re.findall(r"(?:://|@)([a-z][a-z0-9-]+):(\d+)", (ROOT / name).read_text("utf-8")):
                yield name, host, int(port)


def test_every_service_and_port_named_anywhere_exists():
    ports = listens()
    found = list(named_addresses())
    wrong = [one for one in found if one[1] != "localhost" and ports.get(one[1]) != one[2]]
    assert wrong == []
    assert {"api", "prometheus", "mlflow", "postgres", "f1pa-api"} <= {host for _, host, _ in found}


def test_every_system_is_scraped_under_the_job_it_selects_and_may_get_traffic():
    config = yaml.safe_load((ROOT / "stack" / "prometheus" / "prometheus.yml").read_text())
    hosts = {job["job_name"]: job["static_configs"][0]["targets"][0] for job in config["scrape_configs"]}
    environment = SERVICES["console"]["environment"]
    for path in (ROOT / "app" / "systems").glob("*.toml"):
        system = tomllib.loads(path.read_text())
        job = re.fullmatch(r'job="(\w+)"', system["prometheus"]["selector"])[1]
        assert environment[f"VIGIE_{path.stem.upper()}_URL"] == f"http://{hosts[job]}"
        assert hosts[job].partition(":")[0] in system["load"]["hosts"]


def test_the_console_answers_prometheus_under_the_name_it_is_asked_by():
    assert "console" in SERVICES["console"]["environment"]["VIGIE_ALLOWED_HOSTS"].split(",")
    assert SERVICES["console"]["environment"]["VIGIE_PROMETHEUS_URL"] == "http://prometheus:9090"


@pytest.mark.parametrize("name", ["api", "diabetes-api", "f1pa-api"])
def test_a_service_reads_the_variables_it_is_given(name):
    source = dockerfile(SERVICES[name]).with_name("service.py").read_text()
    system = {"api": "STREAMFLOW", "diabetes-api": "DIABETES", "f1pa-api": "F1PA"}[name]
    given = [one for one in SERVICES[name]["environment"] if one.startswith((system, "FEAST_REPO"))]
    assert given
    assert [one for one in given if one not in source] == []


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_holds_everything_its_services_wait_for(profile):
    chosen = {name for name, one in SERVICES.items() if profile in one["profiles"]}
    assert {"prometheus", "grafana", "console", "node-exporter"} <= chosen
    for name in chosen:
        for other, how in SERVICES[name].get("depends_on", {}).items():
            assert other in chosen or how.get("required") is False, f"{profile}: {name} waits for {other}"
            if how["condition"] == "service_completed_successfully":
                assert other in ONCE
            if how["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[other] or "HEALTHCHECK" in dockerfile(SERVICES[other]).read_text()


def test_full_is_everything_and_each_system_has_a_profile():
    assert all("full" in one["profiles"] for one in SERVICES.values())
    assert {profile for one in SERVICES.values() for profile in one["profiles"]} == set(PROFILES)


def test_mounted_files_exist_and_named_volumes_are_declared():
    for name, service in SERVICES.items():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            if source.startswith("./"):
                assert (ROOT / source).exists(), f"{name}: {source}"
            elif not source.startswith("/"):
                assert source in COMPOSE["volumes"], f"{name}: {source}"


# --- images -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(BUILT))
def test_an_image_has_its_dockerfile_and_every_file_it_copies(name):
    path = dockerfile(BUILT[name])
    assert path.is_file(), path
    context = ROOT / BUILT[name]["build"]["context"]
    ignored = (context / ".dockerignore").read_text().split() if (context / ".dockerignore").exists() else []
    for line in re.findall(r"^(?:COPY|ADD) (?!--from)(.+)$", path.read_text(), re.MULTILINE):
        *sources, _ = [word for word in line.split() if not word.startswith("--")]
        for source in sources:
            assert list(context.glob(source.rstrip("/"))), f"{path}: {source}"
            assert source.strip("./") not in ignored, f"{path}: {source} is left out by .dockerignore"


@pytest.mark.parametrize("name", ["api", "diabetes-api", "f1pa-api"])
def test_a_service_runs_on_what_its_image_copies_and_nothing_else(name, tmp_path):
    """The file that the services share is beside each of them; the rest of the repository is not."""
    path = dockerfile(BUILT[name])
    copied = re.findall(r"^COPY (.+) (\S+)$", path.read_text(), re.MULTILINE)
    for sources, target in copied:
        for source in sources.split():
            place = ROOT / BUILT[name]["build"]["context"] / source
            if place.is_dir():
                shutil.copytree(place, tmp_path / target)
            else:
                shutil.copy(place, tmp_path / target)
    assert (tmp_path / "common.py").is_file()
    code = "import service, common, sys; print(service.__file__, common.__file__, 'app' in sys.modules)"
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(tmp_path / "service.py"), str(tmp_path / "common.py"), "False"]


@pytest.mark.parametrize("name", list(BUILT))
def test_an_image_installs_from_a_lock_with_hashes_and_runs_as_nobody_special(name):
    text = dockerfile(BUILT[name]).read_text()
    assert "--require-hashes" in text
    user = re.findall(r"^USER (\S+)$", text, re.MULTILINE)[-1]
    assert user.partition(":")[0] not in ("root", "0")
    assert not re.search(r"curl|apt-get|https?://(?!127\.0\.0\.1)", re.sub(r"^#.*$", "", text, flags=re.MULTILINE))


def locks() -> list[Path]:
    return [*(ROOT / "stack").glob("*/requirements.txt"), *(ROOT / "stack" / "api").glob("*/requirements.txt")]


@pytest.mark.parametrize("lock", locks(), ids=lambda path: path.parent.name)
def test_a_lock_names_no_index_and_pins_every_package_with_a_hash(lock):
    text = lock.read_text()
    assert not re.search(r"https?://|--index|--find-links", text)
    pinned = re.findall(r"^([a-z0-9][a-z0-9._-]*)(?:\[[^\]]*\])?==\S+(?: ; .*)? \\$", text, re.MULTILINE)
    assert len(pinned) == len(re.findall(r"^[a-z0-9]", text, re.MULTILINE))
    wanted = re.findall(r"^([a-z0-9-]+)", lock.with_suffix(".in").read_text(), re.MULTILINE)
    assert set(wanted) <= set(pinned)


@pytest.mark.parametrize("name", ["feast", "api/streamflow", "api/diabetes", "api/f1pa"])
def test_a_model_is_read_by_the_libraries_that_wrote_it(name):
    # `world` trains, the services load: they refuse a model of another scikit-learn.
    def version(path: Path) -> str:
        return re.search(r"^scikit-learn==(\S+)", path.read_text(), re.MULTILINE)[1]

    assert version(ROOT / "stack" / name / "requirements.txt") == version(ROOT / "requirements.txt")
    # And of the same Python.
    texts = [dockerfile(BUILT[one]).read_text() for one in ("world", "api", "diabetes-api", "f1pa-api", "console")]
    assert len({re.search(r"^FROM (\S+)", text, re.MULTILINE)[1] for text in texts}) == 1


def test_a_build_sends_no_password_and_no_data_of_this_machine():
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {".env", ".env.*", ".git", ".venv", "var", "reports", ".streamlit/secrets.toml"} <= set(ignored)
    assert ".env" in (ROOT / ".gitignore").read_text().split()


# --- safety -----------------------------------------------------------------------------------------------------------


def test_images_from_elsewhere_have_a_version():
    for name, service in SERVICES.items():
        if name not in BUILT:
            tag = service["image"].partition(":")[2]
            assert re.search(r"\d", tag), f"{name}: {service['image']}"


def test_no_password_has_a_default_and_the_refusal_names_make_env():
    text = FILE.read_text()
    for name, kind, word in VARIABLE.findall(text):
        if "PASSWORD" in name:
            assert (kind, word) == ("?", "run make env first"), name
    for service, one in SERVICES.items():
        for key, value in one.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|TOKEN", key):
                assert str(value).startswith("${"), f"{service}: {key} is written down"
    for variable in re.findall(r"^([A-Z0-9_]*PASSWORD)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE):
        assert variable[1] == ""


@pytest.mark.parametrize("name", list(SERVICES))
def test_a_service_runs_without_root_without_rights_and_with_a_bounded_log(name):
    service = SERVICES[name]
    assert re.fullmatch(r"postgres|\d{2,}:\d+|\$\{VIGIE_UID:-10001\}:\$\{VIGIE_GID:-10001\}", service["user"])
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["logging"]["options"]["max-size"]
    assert not service.get("privileged")
    assert not any("docker.sock" in mount for mount in service.get("volumes", []))


@pytest.mark.parametrize("name", [name for name in SERVICES if name not in ONCE])
def test_a_health_check_uses_a_tool_that_the_image_has(name):
    service = SERVICES[name]
    if "healthcheck" not in service:
        command = re.search(r"^HEALTHCHECK .*\\\n\s+CMD (\[.*\])$", dockerfile(service).read_text(), re.MULTILINE)
        test = json.loads(command[1])
    else:
        test = [word for word in service["healthcheck"]["test"] if word not in ("CMD", "CMD-SHELL")]
    image = service["image"].partition(":")[0]
    assert test[0].split()[0] == TOOLS.get(image, "python")
    if test[0] == "python":
        ast.parse(test[2])
    port = listens()[name]
    assert f":{port}" in " ".join(test) or name == "postgres"


def test_a_service_that_ends_is_not_started_for_ever():
    for name in ONCE:
        assert SERVICES[name]["restart"] == "on-failure:3"


def test_nothing_reports_to_its_maker():
    grafana = SERVICES["grafana"]["environment"]
    for name in ("REPORTING_ENABLED", "CHECK_FOR_UPDATES", "CHECK_FOR_PLUGIN_UPDATES"):
        assert grafana[f"GF_ANALYTICS_{name}"] == "false"
    assert SERVICES["prefect"]["environment"]["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    for name in BUILT:
        assert SERVICES[name]["environment"]["DO_NOT_TRACK"] == "1"


# --- variables and make env -------------------------------------------------------------------------------------------


def test_the_example_lists_every_variable_with_its_default():
    used = {name: default if kind == "-" else "" for name, kind, default in VARIABLE.findall(FILE.read_text())}
    listed = dict(re.findall(r"^(?:# )?([A-Z0-9_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert listed.pop("COMPOSE_PROFILES") in PROFILES
    assert listed == used
    needed = {name for name, kind, _ in VARIABLE.findall(FILE.read_text()) if kind == "?"}
    assert set(env_file.PASSWORDS) == needed


def test_the_console_listens_inside_its_container_with_a_token_and_prometheus_has_it_as_a_file():
    console, prometheus = SERVICES["console"], SERVICES["prometheus"]
    assert console["environment"]["VIGIE_TOKEN"].startswith("${VIGIE_TOKEN:?")
    assert prometheus["secrets"] == ["vigie_token"]
    assert COMPOSE["secrets"] == {"vigie_token": {"environment": "VIGIE_TOKEN"}}
    config = yaml.safe_load((ROOT / "stack" / "prometheus" / "prometheus.yml").read_text())
    by_job = {job["job_name"]: job.get("authorization") for job in config["scrape_configs"]}
    assert by_job.pop("console") == {"credentials_file": "/run/secrets/vigie_token"}
    assert set(by_job.values()) == {None}
    # Nobody else is given it.
    named = [name for name, service in SERVICES.items() if "VIGIE_TOKEN" in json.dumps(service)]
    assert named == ["console"]
    assert "/healthz" in json.dumps(console["healthcheck"])


def make_env(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-S", "-c", CALL, str(ROOT), "--folder", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


# With the standard library alone, as on a machine where nothing is installed yet.
CALL = "import sys; sys.path.insert(0, sys.argv.pop(1)); from stack.compose import main; sys.exit(main(sys.argv[1:]))"


def test_make_env_writes_passwords_for_you_alone_and_says_where_not_what(tmp_path):
    done = make_env(tmp_path)
    assert done.returncode == 0, done.stderr
    path = tmp_path / ".env"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    values = env_file.read(path.read_text())
    assert str(path) in done.stdout
    for name in env_file.PASSWORDS:
        assert re.fullmatch(r"[0-9a-f]{32}", values[name])
        assert name in done.stdout
        assert values[name] not in done.stdout + done.stderr
    assert len({values[name] for name in env_file.PASSWORDS}) == len(env_file.PASSWORDS)
    assert values["VIGIE_UID"] != "0"
    assert (tmp_path / "reports").stat().st_uid == int(values["VIGIE_UID"])


def test_make_env_changes_nothing_that_is_there(tmp_path):
    (tmp_path / ".env").write_text("GRAFANA_PASSWORD=mine\nCOMPOSE_PROFILES=f1pa # a remark\nOTHER='x y'")
    done = make_env(tmp_path)
    text = (tmp_path / ".env").read_text()
    assert text.startswith("GRAFANA_PASSWORD=mine\nCOMPOSE_PROFILES=f1pa # a remark\nOTHER='x y'\n")
    assert text.count("GRAFANA_PASSWORD=") == text.count("COMPOSE_PROFILES=") == 1
    assert {"POSTGRES_PASSWORD", "F1PA_PASSWORD"} <= set(env_file.read(text))
    assert "added VIGIE_UID" in done.stdout
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    again = make_env(tmp_path)
    assert "nothing changed" in again.stdout
    assert (tmp_path / ".env").read_text() == text


def test_make_env_names_an_empty_password_and_leaves_the_file_alone(tmp_path):
    shutil.copy(ROOT / ".env.example", tmp_path / ".env")
    done = make_env(tmp_path)
    assert done.returncode == 1
    assert "POSTGRES_PASSWORD is empty" in done.stderr
    assert (tmp_path / ".env").read_text() == (ROOT / ".env.example").read_text()


def test_make_env_follows_no_link(tmp_path):
    (tmp_path / "elsewhere").write_text("")
    (tmp_path / ".env").symlink_to(tmp_path / "elsewhere")
    done = make_env(tmp_path)
    assert done.returncode == 1
    assert "cannot be written" in done.stderr
    assert (tmp_path / "elsewhere").read_text() == ""


# --- docker compose itself --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def docker_compose() -> list[str]:
    """`docker compose` 2.20 or later; it needs no engine to read the file."""
    if shutil.which("docker") is None:
        pytest.skip("no docker command on this machine")
    told = subprocess.run(["docker", "compose", "version", "--short"], capture_output=True, text=True, timeout=60)
    version = re.match(r"v?(\d+)\.(\d+)", told.stdout)
    if told.returncode or not version or (int(version[1]), int(version[2])) < (2, 20):
        pytest.skip(f"no Docker Compose 2.20 or later: {(told.stdout or told.stderr).strip()[:100]}")
    return ["docker", "compose", "--project-directory", str(ROOT), "-f", str(FILE)]


@pytest.mark.parametrize("profile", PROFILES)
def test_docker_compose_takes_the_file_in_every_profile(docker_compose, tmp_path, profile):
    make_env(tmp_path)
    command = [
        *docker_compose,
        "--env-file",
        str(tmp_path / ".env"),
        "--profile",
        profile,
        "config",
        "--format",
        "json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout)["services"]
    assert set(read) == {name for name, one in SERVICES.items() if profile in one["profiles"]}
    assert all(port["host_ip"] == "127.0.0.1" for one in read.values() for port in one.get("ports", []))


def test_docker_compose_refuses_an_empty_password_and_names_make_env(docker_compose, tmp_path):
    (tmp_path / ".env").write_text("POSTGRES_PASSWORD=x\nF1PA_PASSWORD=x\nGRAFANA_PASSWORD=\n")
    command = [*docker_compose, "--env-file", str(tmp_path / ".env"), "config", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "GRAFANA_PASSWORD" in done.stderr
    assert "run make env first" in done.stderr
