"""The console's two companion processes: the stack supervisor and the job host.

Both hold the read end of a pipe on standard input and end by themselves when the console is gone, in every case. The
console never waits for them to be ready and never dies with them: one that ends is started again, with back-off.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from app import jobs
from app.base import child_process, variables
from app.base.home import Home
from app.base.redaction import redacted
from app.config import Settings
from app.doors.access import VARIABLE
from app.errors import JobError
from app.runs.kinds import DRIFT
from app.services import read_state
from app.words.message import t

LOG = logging.getLogger("vigie.children")
# The companions know where the console answers, as they know any service's address: VIGIE_<SERVICE>_URL.
CONSOLE = "CONSOLE"
# A companion that ends at once would otherwise be started hundreds of times a minute.
BACK_OFF_SECONDS = (1.0, 2.0, 5.0, 15.0, 60.0)
# One that lived this long was healthy: the next back-off starts small again.
HEALTHY_SECONDS = 60.0
POLL_SECONDS = 0.5
# `python -m stack down` ended it on purpose: starting it again would undo what a person asked for.
TOLD_TO_STOP = 4
# The supervisor promises to stop within 2 s; the server then ends in well under 5 s.
STOP_SECONDS = 3.0
# Addresses that mean "every one of this machine"; a link needs one.
EVERY_ADDRESS = ("0.0.0.0", "::", "")  # noqa: S104 - compared, not bound
# How long the first lines on the terminal wait for the services to come up.
ANNOUNCE_SECONDS = 120.0
# Tasks of the stack in these states have work to do, on a core each. A small machine has two cores, so the drift worker
# loads while the last of them works.
UNDER_WAY = ("waiting", "running")
LAST_TASKS = 1


@dataclass(slots=True)
class _Child:
    name: str
    command: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    failures: int = 0
    due: float = 0.0


@dataclass(slots=True)
class Children:
    """Starts, watches and ends the companions of one console on `host`:`port`."""

    settings: Settings
    host: str
    port: int
    base: str = ""
    _rows: list[_Child] = field(default_factory=list)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def start(self) -> None:
        """Spawn both and return at once; call inside a running event loop."""
        jobs = ["-m", "app.jobs", "--parent-pipe"]
        self._rows = [_Child("job host", jobs)]  # no catalogue: a name in log lines
        if not self.settings.attached:
            console = f"{self.host}:{self.port}"
            stack = ["-m", "stack", "up", "--parent-pipe", "--console", console]
            self._rows.insert(0, _Child("stack", stack))
        self._note_port()
        self._tasks = [asyncio.create_task(self._watch()), asyncio.create_task(self._announce())]

    @property
    def link(self) -> str:
        """Where a browser on this machine finds the console."""
        host = "127.0.0.1" if self.host in EVERY_ADDRESS else f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/{self.base}".rstrip("/")

    def _note_port(self) -> None:
        """Write the port that was bound where `stack run`, which became this process, has noted its pid."""
        path = self.settings.home / "stack" / "console.lock"
        try:
            noted = json.loads(path.read_bytes())
            if noted["pid"] == os.getpid():
                # In place: the file itself is the lock.
                path.write_text(json.dumps({**noted, "port": self.port}), encoding="utf-8")
        except FileNotFoundError:
            return  # started without `stack run`
        except (OSError, ValueError, KeyError, TypeError) as error:
            LOG.warning("the port cannot be noted in %s: %s", path, error)

    async def _watch(self) -> None:
        while True:
            for row in self._rows:
                self._tend(row)
            await asyncio.sleep(POLL_SECONDS)

    def _tend(self, row: _Child) -> None:
        now = time.monotonic()
        if row.process is not None:
            status = row.process.poll()
            if status is None:
                return
            self._close(row)
            if status == TOLD_TO_STOP:
                row.due = float("inf")
                LOG.info("%s was told to stop; it stays stopped until the console is started again", row.name)
                return
            # Status 0 means that another console's companion serves this home: look again later, in case it ends.
            healthy = now - row.started > HEALTHY_SECONDS
            row.failures = 0 if healthy else row.failures + 1
            wait = BACK_OFF_SECONDS[min(row.failures, len(BACK_OFF_SECONDS) - 1)]
            row.due = now + wait
            if status != 0:
                LOG.warning("%s ended with status %s; started again in %g s", row.name, status, wait)
        if now >= row.due:
            self._spawn(row, now)

    def _spawn(self, row: _Child, now: float) -> None:
        try:
            # The token opens the console and nothing below it: services and hooks never see it.
            environ = {name: value for name, value in os.environ.items() if name != VARIABLE}
            environ |= {variables.SERVICE_URL.for_service(CONSOLE).name: self.link}
            environ = Home(self.settings.home).environment(environ)
            row.process = child_process.start_held(row.command, env=environ, cwd=self.settings.root)
            row.started = now
        except OSError:
            row.failures += 1
            row.due = now + BACK_OFF_SECONDS[min(row.failures, len(BACK_OFF_SECONDS) - 1)]
            LOG.exception("%s cannot be started", row.name)

    @staticmethod
    def _close(row: _Child) -> None:
        if row.process is not None:
            child_process.close_pipe(row.process)
        row.process = None

    async def stop(self) -> None:
        """Close the pipes and wait, bounded, for both to end; what is left is killed."""
        for task in self._tasks:
            task.cancel()
        running = [row.process for row in self._rows if row.process is not None]
        await asyncio.to_thread(child_process.let_go, running, STOP_SECONDS)

    async def _announce(self) -> None:
        """Print where the console answers, and each service once its state is final."""
        print(f"\nVigie  {self.link}\n  {t('logs  {folder}', folder=self.settings.home / 'logs')}", flush=True)
        if self.settings.attached:
            watched = redacted(str(self.settings.prometheus_url))
            print(f"  {t('watching  {address} (nothing is started here)', address=watched)}", flush=True)
            return
        announced: set[str] = set()
        warmed = False
        deadline = time.monotonic() + ANNOUNCE_SECONDS
        while time.monotonic() < deadline:
            state = read_state(self.settings)
            if state.owner is None or not state.owner.alive:
                await asyncio.sleep(POLL_SECONDS)  # what a supervisor that has ended left behind is no news
                continue
            for name, row in state.services.items():
                if name not in announced and row.state in ("up", "down", "absent"):
                    announced.add(name)
                    why = f" ({row.reason})" if row.reason else ""
                    print(f"  {name:<14} {row.state:<7} {row.url or '-'}{why}", flush=True)
            under_way = sum(task.state in UNDER_WAY for task in state.tasks)
            if not warmed and state.services and under_way <= LAST_TASKS:
                warmed = await self._warm()
            if warmed and len(announced) == len(state.services):
                return
            await asyncio.sleep(POLL_SECONDS)

    async def _warm(self) -> bool:
        """Load Evidently and Feast while the last data are made; False when the job host does not answer yet."""
        try:
            await asyncio.to_thread(jobs.warm, self.settings, DRIFT)
        except JobError as error:
            LOG.info("the drift worker was not warmed: %s", error)
            return False
        return True
