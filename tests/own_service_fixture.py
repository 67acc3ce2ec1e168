"""The service of `own_service.py` as a real process, for the tests that add it."""

from __future__ import annotations

import contextlib
import urllib.request
from collections.abc import Iterator

from tests import warm
from tests.conftest import free_port
from tests.waiting import until

START_SECONDS = 180.0


@contextlib.contextmanager
def running_service() -> Iterator[str]:
    """Its address; the process ends with the block."""
    port = free_port()
    command = ["uvicorn", "tests.own_service:app", "--host", "127.0.0.1", "--port", str(port), "--no-access-log"]
    process = warm.Command(*command, "--log-level", "warning", libraries=warm.SERVICE)
    url = f"http://127.0.0.1:{port}"
    try:

        def answers() -> bool:
            assert process.poll() is None, "the service ended"
            with urllib.request.urlopen(f"{url}/healthz", timeout=2):
                return True

        until(answers, "the service answers", seconds=START_SECONDS, every=0.1, despite=(OSError,))
        yield url
    finally:
        process.terminate()
        process.wait(120)
