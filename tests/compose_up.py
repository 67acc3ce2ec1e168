"""`make test-compose`: the full stack in containers, every service asked for what it promises.

Not collected by `make test`: it needs a Docker engine, builds images and takes minutes. It uses ports and a project of
its own and removes its volumes at the end; a stack that already runs on this machine is left alone, and is in the way
(two containers have fixed names).
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stack import compose as env_file
from tests.conftest import free_port
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[1]
PROJECT = "vigie-test"
PORTS = {
    "console": "CONSOLE_PORT",
    "api": "API_PORT",
    "diabetes-api": "DIABETES_PORT",
    "f1pa-api": "F1PA_PORT",
    "prometheus": "PROMETHEUS_PORT",
    "node-exporter": "NODE_EXPORTER_PORT",
    "grafana": "GRAFANA_PORT",
    "mlflow": "MLFLOW_PORT",
    "prefect": "PREFECT_PORT",
    "postgres": "POSTGRES_PORT",
}
# A first build downloads some GB; a start makes the sample data and trains three models.
UP_SECONDS = 3600
READY_SECONDS = 300.0
FLOW_SECONDS = 600


class Stack:
    """The running stack: addresses on this machine, passwords, and commands in its containers."""

    def __init__(self, folder: Path) -> None:
        self.env = folder / ".env"
        env_file.write(self.env, env_file.wanted(os.getuid(), os.getgid()))
        self.values = env_file.read(self.env.read_text())
        self.ports = {service: free_port() for service in PORTS}
        with self.env.open("a") as file:
            file.writelines(f"{PORTS[service]}={port}\n" for service, port in self.ports.items())

    def compose(self, *arguments: str, seconds: float = READY_SECONDS) -> subprocess.CompletedProcess[str]:
        command = [
            "docker",
            "compose",
            "-p",
            PROJECT,
            "--env-file",
            str(self.env),
            "-f",
            str(ROOT / "docker-compose.yml"),
        ]
        return subprocess.run([*command, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=seconds)

    def ask(self, service: str, path: str, body: Any = None, user: str = "") -> Any:
        """The JSON that a service answers on its port of this machine."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.ports[service]}{path}")
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        if user:
            request.add_header("Authorization", f"Basic {base64.b64encode(user.encode()).decode()}")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)


@pytest.fixture(scope="module")
def stack(tmp_path_factory) -> Iterator[Stack]:
    if shutil.which("docker") is None or subprocess.run(["docker", "info"], capture_output=True).returncode:
        pytest.skip("no Docker engine answers on this machine")
    found = Stack(tmp_path_factory.mktemp("compose"))
    env_file.give_reports(ROOT / "reports", found.values)
    try:
        done = found.compose("up", "-d", "--build", "--wait", seconds=UP_SECONDS)
        # One-shot services that have ended count as failed to `--wait` in some versions: what runs is asked below.
        logs = found.compose("logs", "--tail", "30").stdout
        assert done.returncode == 0 or "exited (0)" in done.stderr, f"{done.stderr[-3000:]}\n{logs[-6000:]}"
        yield found
    finally:
        found.compose("down", "--volumes", "--timeout", "20", seconds=READY_SECONDS)


def poll(ask, seconds: float = READY_SECONDS) -> Any:
    """Ask until the answer is true; returns it."""
    return until(ask, "the answer to be true", seconds=seconds, every=2, despite=(OSError,))


@pytest.mark.timeout(UP_SECONDS + 600)
def test_every_service_is_up_and_healthy(stack):
    def rows() -> list[dict[str, Any]]:
        lines = stack.compose("ps", "--all", "--format", "json").stdout.splitlines()
        return [row for line in lines for row in (json.loads(line) if line.startswith("[") else [json.loads(line)])]

    def settled() -> bool:
        return all(row["Health"] == "healthy" or row["ExitCode"] == 0 == (row["State"] == "running") for row in rows())

    poll(settled)
    state = {row["Service"]: (row["State"], row["Health"], row["ExitCode"]) for row in rows()}
    assert state.pop("world")[::2] == ("exited", 0)
    assert state.pop("f1pa-tables")[::2] == ("exited", 0)
    assert {one[:2] for one in state.values()} == {("running", "healthy")}, state


def test_the_targets_of_all_jobs_are_up(stack):
    def up() -> dict[str, str] | None:
        targets = stack.ask("prometheus", "/api/v1/targets")["data"]["activeTargets"]
        found = {one["labels"]["job"]: f"{one['health']} {one['lastError']}".strip() for one in targets}
        return found if set(found.values()) == {"up"} else None

    assert set(poll(up) or {}) == {"api", "fastapi", "f1pa_api", "node-exporter", "console"}


def test_each_api_predicts(stack):
    said = poll(lambda: stack.ask("api", "/predict", {"user_id": "U0001"}))
    assert said["prediction"] in (0, 1)
    patient = {"Pregnancies": 1, "Glucose": 120, "BloodPressure": 70, "SkinThickness": 23, "Insulin": 94}
    patient |= {"BMI": 33.6, "DiabetesPedigreeFunction": 0.627, "Age": 50}
    assert poll(lambda: stack.ask("diabetes-api", "/predict", patient))["prediction"] in (0, 1)
    lap = {"driver_number": 1, "circuit_key": 7, "st_speed": 310, "i1_speed": 280, "i2_speed": 270, "temp": 24.0}
    lap |= {"rhum": 50, "pres": 1000.0, "lap_number": 10, "year": 2025}
    user = f"f1pa:{stack.values['F1PA_PASSWORD']}"
    said = poll(lambda: stack.ask("f1pa-api", "/predict/lap", {"features": lap}, user))
    assert any(isinstance(value, float) and 40 < value < 200 for value in said.values())


def test_the_wrong_password_is_refused(stack):
    with pytest.raises(urllib.error.HTTPError) as refused:
        stack.ask("f1pa-api", "/data/drivers", user="f1pa:f1pa")
    assert refused.value.code == 401


def test_a_drift_run_prints_the_decision(stack):
    flow = [
        "exec",
        "-T",
        "-e",
        "REPORT_DIR=/reports/evidently",
        "prefect",
        "python",
        "/opt/prefect/flows/monitor_flow.py",
    ]
    done = stack.compose(*flow, seconds=FLOW_SECONDS)
    assert done.returncode == 0, done.stderr[-3000:]
    line = next(line for line in done.stdout.splitlines() if line.startswith("[Evidently] report_html="))
    assert "drift_share=0.06 -> NO_ACTION drift_share=0.06 < 0.30" in line
    assert (ROOT / "reports" / "evidently" / "drift_2024-01-31_vs_2024-02-29.html").is_file()


def test_the_console_reaches_prometheus_and_sends_traffic(stack):
    run = ["exec", "-T", "console", "python", "-m", "app", "load", "--system", "streamflow", "--count", "20", "--json"]
    done = stack.compose(*run, seconds=FLOW_SECONDS)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout)["answered"] == 20


def test_grafana_is_healthy_and_has_data_source_and_dashboards(stack):
    user = f"admin:{stack.values['GRAFANA_PASSWORD']}"
    assert stack.ask("grafana", "/api/health")["database"] == "ok"
    (source,) = stack.ask("grafana", "/api/datasources", user=user)
    assert source["url"] == "http://prometheus:9090"
    health = stack.ask("grafana", f"/api/datasources/uid/{source['uid']}/health", user=user)
    assert health["status"] == "OK"
    titles = {one["title"] for one in stack.ask("grafana", "/api/search?type=dash-db", user=user)}
    assert {"StreamFlow churn", "Diabetes", "F1PA ML Model Monitoring"} <= titles


def test_nothing_listens_beyond_this_machine(stack):
    for service, port in stack.ports.items():
        told = stack.compose("port", service, str({"postgres": 5432}.get(service) or _inside(service))).stdout.strip()
        assert told == f"127.0.0.1:{port}", service


def _inside(service: str) -> int:
    known = {
        "console": 8501,
        "prometheus": 9090,
        "node-exporter": 9100,
        "grafana": 3000,
        "mlflow": 5000,
        "prefect": 4200,
    }
    return known.get(service, 8000)
