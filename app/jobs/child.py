"""One worker process as its host sees it: start, hand over a job, end. Asyncio; no orphan in any case."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from app.base.child_process import REAP_SECONDS, signal_group
from app.base.home import ROOT, Home
from app.runs.kinds import Kind
from app.runs.locks import Request
from app.words.message import kept, t

if TYPE_CHECKING:
    from app.config import Settings

LOG = logging.getLogger("vigie.jobs")
# The longest line a worker may answer with: a reason is 2,000 characters.
MAX_LINE = 1_000_000
# A library that prints its data does not fill our log.
MAX_LOGGED = 2_000


@dataclass(frozen=True, slots=True)
class Died:
    """The worker ended without an answer; the sentence says how."""

    reason: str


class Child:
    """A running worker process of one kind."""

    def __init__(self, kind: Kind, process: asyncio.subprocess.Process) -> None:
        self.kind = kind
        self.process = process
        self.jobs = 0
        self.broken = ""
        self._log = asyncio.create_task(self._drain())

    @classmethod
    async def spawn(cls, kind: Kind, settings: Settings) -> Self:
        """Start a worker; OSError when the machine cannot."""
        options = ["--graceful"] if kind.graceful else []
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "app.jobs.worker",
            kind.name,
            kind.module,
            str(os.getpid()),
            "--grace",
            str(kind.grace),
            *options,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=ROOT,
            env=Home(settings.home).environment(settings.environ),
            # A separate process group: Ctrl-C does not reach it, and what it starts can be ended with it.
            process_group=0,
            limit=MAX_LINE,
        )
        LOG.info("%s worker %d started", kind.name, process.pid)
        return cls(kind, process)

    @property
    def alive(self) -> bool:
        """True until the process has been reaped."""
        return self.process.returncode is None and not self.broken

    async def run(self, run: str, request: Request) -> dict[str, Any] | Died:
        """Hand over a job and wait for its answer, without its own deadline."""
        line = {"run": run, "kind": request.kind, "system": request.system, "key": request.key, "args": request.args}
        assert self.process.stdin is not None
        # A worker that has ended may have written why: that is read like any answer.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.process.stdin.write(json.dumps(line).encode() + b"\n")
            await self.process.stdin.drain()
        self.jobs += 1
        while True:
            answer = await self._line()
            if isinstance(answer, Died):
                return answer
            if answer.get("event") == "broken":
                self.broken = kept(str(answer.get("reason")), answer.get("reason_code"))
                return Died(self.broken)
            if answer.get("event") == "done":
                return answer

    async def _line(self) -> dict[str, Any] | Died:
        assert self.process.stdout is not None
        try:
            line = await self.process.stdout.readline()
        except ValueError:
            return Died(t("the worker answered with a line that is too long"))
        if not line:
            return await self._died()
        try:
            answer = json.loads(line)
        except ValueError:
            return Died(t("the worker answered with something that is not JSON"))
        return answer if isinstance(answer, dict) else Died(t("the worker answered with something that is no object"))

    async def _died(self) -> Died:
        """Wait for the process whose pipe has closed and say how it ended."""
        try:
            status = await asyncio.wait_for(self.process.wait(), REAP_SECONDS)
        except TimeoutError:
            return Died(t("the worker closed its pipe and did not end"))
        if status < 0:
            return Died(t("the worker was killed (signal {signal})", signal=-status))
        return Died(t("the worker ended with exit status {status} and no answer", status=status))

    def ask_to_stop(self) -> None:
        """SIGTERM: a graceful worker finishes what it had, any other ends."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGTERM)

    async def end(self) -> None:
        """Kill the process and everything it started, and reap it."""
        signal_group(self.process.pid, signal.SIGKILL)
        if self.process.stdin is not None:
            self.process.stdin.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.process.wait(), REAP_SECONDS)
        self._log.cancel()

    async def _drain(self) -> None:
        """Copy what the worker and its libraries print into the log, line by line."""
        assert self.process.stderr is not None
        while True:
            try:
                line = await self.process.stderr.readline()
            except ValueError:
                continue  # longer than the buffer: dropped, the next line is read
            if not line:
                return
            text = line.decode("utf-8", "replace").rstrip()
            LOG.info("%s[%d] %s", self.kind.name, self.process.pid, text[:MAX_LOGGED])
