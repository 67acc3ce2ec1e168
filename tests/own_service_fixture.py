"""The service of `own_service.py` as a real process, for the tests that add it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator

from tests.conftest import ROOT, free_port

START_SECONDS = 180.0


@contextlib.contextmanager
def running_service() -> Iterator[str]:
    """Its address; the process ends with the block."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "tests.own_service:app", "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen([*command, "--no-access-log", "--log-level", "warning"], cwd=ROOT)
    url = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + START_SECONDS
        while True:
            assert process.poll() is None, "the service ended"
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/healthz", timeout=2):
                break
            assert time.monotonic() < until, "the service does not answer"
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(120)
