"""The F1PA API as a process of its own, for its tests; no test in here."""

import json
import os
import re
import socket
from pathlib import Path

import requests

from tests import warm
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "stack" / "api" / "f1pa"
LAP = {
    "driver_number": 1, "circuit_key": 7, "st_speed": 308, "i1_speed": 325, "i2_speed": 274, "temp": 21.4, "rhum": 58,
    "pres": 972.1, "lap_number": 12, "year": 2025,
}  # fmt: skip


class Server:
    """A uvicorn of our own on a free port, started as the stack starts it."""

    def __init__(self, folder, log, **environment):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = log
        self.folder = folder
        known = {name: value for name, value in os.environ.items() if not name.startswith(("F1PA_", "MLFLOW_"))}
        env = {**known, "OMP_NUM_THREADS": "1", **environment}
        if folder is not None:
            env["F1PA_DATA_DIR"] = str(folder)
        self.auth = ("f1pa", environment.get("F1PA_PASSWORD") or self._generated())
        self.process = warm.service(self.port, "--app-dir", str(FOLDER), log=log, env=env)

    def _generated(self):
        path = self.folder / "password" if self.folder else None
        return path.read_text() if path and path.exists() else "none"

    def health(self):

        def ask():
            assert self.process.poll() is None, self.log.read_text()
            # A bad status is an answer, too, and false.
            return [requests.get(f"{self.url}/health", timeout=10)]

        return until(ask, self.log.read_text, every=0.1, despite=(requests.ConnectionError,))[0]

    def wait(self, accept):
        def accepted():
            answer = self.health()
            return [answer] if accept(answer) else None

        return until(accepted, lambda: self.health().text + self.log.read_text(), every=0.1)[0]

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=120)

    def get(self, path, **kwargs):
        return requests.get(self.url + path, **{"auth": self.auth, "timeout": 20} | kwargs)

    def post(self, body, path="/predict/lap", **kwargs):
        data = json.dumps(body) if isinstance(body, dict) else body
        return requests.post(self.url + path, data=data, **{"auth": self.auth, "timeout": 20} | kwargs)

    def metrics(self):
        return requests.get(f"{self.url}/metrics", timeout=10).text

    def value(self, name, labels=""):
        text = self.metrics()
        found = re.search(rf"^{re.escape(name + labels)} (\S+)$", text, re.MULTILINE)
        assert found, f"{name}{labels} is not in /metrics"
        return float(found[1])

    def counted(self):
        """(method, endpoint, status) -> requests so far."""
        pattern = r'^http_requests_total\{endpoint="([^"]*)",method="([^"]*)",status="([^"]*)"\} (\S+)$'
        found = re.findall(pattern, self.metrics(), re.MULTILINE)
        return {(method, endpoint, status): float(value) for endpoint, method, status, value in found}

    def settled(self, name, wanted):
        """Wait until a gauge has a value; the background looks every second."""
        until(lambda: self.value(name) == wanted, lambda: f"{name} is {wanted}: {self.health().text}", every=0.1)
