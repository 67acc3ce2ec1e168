"""The job host: one process per VIGIE_HOME that owns the workers and answers on a Unix socket.

Each line it reads is one JSON object, each line it writes one answer: `start`, `cancel`, `warm`, `ping`. It ends with
its parent (pipe on standard input, pid and start time) or on a signal, and takes every worker with it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from app.base.logs import log_jobs
from app.base.processes import Owner, heeded, myself, owner_of, watch_pipe
from app.base.version import VERSION
from app.config import Settings, load_systems
from app.errors import JobError, VigieError
from app.jobs import place, protocol
from app.jobs.child import Child
from app.jobs.execute import HOST_STOPPED, Stop, carry_out
from app.notify import due
from app.notify.calls import END_SECONDS, Calls
from app.runs import keep, tidy
from app.runs.active import ActiveRun
from app.runs.kinds import KINDS, Kind
from app.runs.locks import KeyHeld, Request
from app.runs.progress import read_progress
from app.runs.run import Ending, State
from app.words.message import t, tn

LOG = logging.getLogger("vigie.jobs")
_Given = TypeVar("_Given")
# A warm worker holds some 400 MB: after this long without a run it gives them back.
IDLE_SECONDS = 1800.0
# Libraries keep a little memory with each comparison; a fresh process now and then costs a few seconds.
JOBS_PER_WORKER = 40
TICK_SECONDS = 1.0
# The console gives its companions three seconds to end.
STOP_GRACE = 1.5
# Each is a small process that mostly waits for someone's answer.
HOOKS_AT_ONCE = 4
# Processes that call hooks outlive a killed host by less than this.
SETTLE_SECONDS = 5.0
# A run whose command line was killed is corrected within this time; the look costs a query and a few folders.
TIDY_SECONDS = 30.0
# A client sends its line at once; one that does not is no client.
LINE_SECONDS = 30.0


@dataclass(slots=True)
class _Entry:
    """A run this host answers for."""

    active: ActiveRun
    kind: Kind
    stop: Stop = field(default_factory=Stop)
    running: bool = False
    task: asyncio.Task[None] | None = None


@dataclass(slots=True)
class _Idle:
    """A warm worker between two runs."""

    child: Child
    since: float


class Host:
    """Runs, workers and bounds of one host; every method runs in its event loop."""

    def __init__(self, settings: Settings, kinds: Mapping[str, Kind] = KINDS) -> None:
        self.settings = settings
        self.kinds = kinds
        self._entries: dict[str, _Entry] = {}
        self._idle: dict[str, _Idle] = {}
        self._slots = {kind.name: asyncio.Semaphore(kind.at_once) for kind in kinds.values()}
        # Ledger and disk may wait: one thread keeps their order and the loop free for `cancel`.
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="disk")
        self._ended = asyncio.Event()
        self._background: set[asyncio.Task[None]] = set()
        self._warming: set[asyncio.Task[None]] = set()
        self._hooking: set[asyncio.Task[None]] = set()
        self._calls: set[Calls] = set()
        self._hook_slots = asyncio.Semaphore(HOOKS_AT_ONCE)

    # -- serving --------------------------------------------------------------------------------------------------

    async def serve(self, parent: Owner | None) -> None:
        """Answer until `end` is called or the parent is gone."""
        listener = place.listen(self.settings)
        server = await asyncio.start_unix_server(self._client, sock=listener, limit=protocol.MAX_LINE)
        LOG.info("job host %d serves %s", os.getpid(), self.settings.home)
        self._spawn_task(self._tidy())
        self._spawn_task(self._settle(time.time()))
        try:
            while not self._ended.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._ended.wait(), TICK_SECONDS)
                if parent is not None and not parent.alive:
                    LOG.info("the parent %d is gone", parent.pid)
                    self.end()
                await self._expire()
        finally:
            server.close()
            await self._stop()
            place.leave(self.settings)

    def end(self) -> None:
        """Stop serving; what runs becomes `interrupted`."""
        self._ended.set()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: answer each line; nothing it sends can end the host."""
        try:
            while True:
                try:
                    line = await asyncio.wait_for(reader.readline(), LINE_SECONDS)
                except ValueError:
                    long = JobError(t("A line has at most {most} bytes.", most=protocol.MAX_LINE))
                    writer.write(protocol.refusal(long))
                    await writer.drain()
                    return
                if not line:
                    return
                writer.write(await self._answer(line))
                await writer.drain()
        except (ConnectionError, TimeoutError):
            return
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> bytes:
        try:
            match protocol.parse(line, self.kinds):
                case protocol.Start() as asked:
                    return protocol.answer(await self._start(asked))
                case protocol.Cancel(run):
                    return protocol.answer(self._cancel(run))
                case protocol.Warm(kind):
                    self._keep_warm(self.kinds[kind])
                    return protocol.answer({})
                case protocol.Ping():
                    return protocol.answer(self._ping())
        except VigieError as error:
            return protocol.refusal(error)
        except Exception:
            LOG.exception("a request failed")
            return protocol.refusal(JobError(t("The job host failed on this request."), hint=t("See logs/jobs.log.")))

    # -- the four requests ----------------------------------------------------------------------------------------

    async def _start(self, asked: protocol.Start) -> dict[str, Any]:
        kind = self.kinds[asked.kind]
        request = Request(asked.kind, asked.system, asked.key, asked.args)
        if self._ended.is_set():
            raise JobError(t("The job host is ending."), hint=t("Try again in a few seconds."))
        mine = [entry for entry in self._entries.values() if entry.kind is kind]
        for entry in mine:
            if entry.active.request.lock_name == request.lock_name and not entry.stop.asked.is_set():
                return {"run": entry.active.id, "joined": True}
        if len(mine) >= kind.at_once + kind.waiting:
            message = tn(
                "{n} run of kind {kind} is going already; no more are taken.",
                "{n} runs of kind {kind} are going already; no more are taken.",
                len(mine),
                kind=kind.name,
            )
            raise JobError(message, hint=t("Wait for one to end, or stop one."))
        try:
            active = await self._on_disk(lambda: ActiveRun(self.settings, request))
        except KeyHeld as held:
            return {"run": held.run, "joined": True}
        entry = self._entries[active.id] = _Entry(active, kind)
        entry.task = asyncio.create_task(self._carry(entry))
        LOG.info("%s %s started", active.id, asked.key)
        return {"run": active.id, "joined": False}

    def _cancel(self, run: str) -> dict[str, Any]:
        entry = self._entries.get(run)
        if entry is not None:
            entry.stop.ask()
            return {"state": "stopping"}
        progress = read_progress(self.settings, run)
        if progress is None:
            raise JobError(t("There is no run {run}.", run=run), hint=t("Reload the list of runs."))
        if not progress.final and progress.owner is not None:
            message = t("Run {run} belongs to a command line (process {pid}).", run=run, pid=progress.owner.pid)
            raise JobError(message, hint=t("End it there, with Ctrl-C."))
        return {"state": progress.state}

    def _ping(self) -> dict[str, Any]:
        me = myself()
        running = [run for run, entry in self._entries.items() if entry.running]
        waiting = [run for run, entry in self._entries.items() if not entry.running]
        warm = [name for name, idle in self._idle.items() if idle.child.alive]
        about = {"pid": me.pid, "started": me.started, "home": self.settings.home_id, "version": VERSION}
        return {**about, "running": running, "waiting": waiting, "warm": warm}

    def _keep_warm(self, kind: Kind) -> None:
        self._spawn_task(self._warm(kind), self._warming)

    async def _warm(self, kind: Kind) -> None:
        busy = any(entry.kind is kind for entry in self._entries.values())
        idle = self._idle.get(kind.name)
        if not kind.warm or busy or self._ended.is_set() or (idle is not None and idle.child.alive):
            return
        async with self._slots[kind.name]:
            # A run may have brought a worker, or the host may have begun to end, while this one waited.
            if self._ended.is_set() or (kind.name in self._idle and self._idle[kind.name].child.alive):
                return
            try:
                self._idle[kind.name] = _Idle(await Child.spawn(kind, self.settings), time.monotonic())
            except OSError as error:
                LOG.warning("no %s worker could be started: %s", kind.name, error)

    # -- one run --------------------------------------------------------------------------------------------------

    async def _carry(self, entry: _Entry) -> None:
        """Wait for a slot, run, write the final state. In any case, the run gets an end."""
        ending = Ending(State.FAILED, reason=t("the job host failed; see logs/jobs.log"))
        held = False
        try:
            held = await self._slot(entry)
            ending = await self._run(entry) if held else Ending(entry.stop.state, reason=entry.stop.reason)
        except Exception:
            LOG.exception("%s failed in the host", entry.active.id)
        finally:
            if held:
                self._slots[entry.kind.name].release()
            await self._on_disk(lambda: entry.active.end(ending))
            del self._entries[entry.active.id]
            LOG.info("%s %s %s %s", entry.active.id, ending.state, ending.outcome, ending.reason)
        if ending.state is State.DONE:
            self._spawn_task(self._retain())
            self._spawn_task(self._hook(entry.active.id), self._hooking)
        elif entry.kind.warm and ending.state is State.CANCELLED:
            self._keep_warm(entry.kind)

    async def _slot(self, entry: _Entry) -> bool:
        """True with a slot taken; False when the run was stopped while it waited."""
        turn = asyncio.create_task(self._slots[entry.kind.name].acquire())
        wish = asyncio.create_task(entry.stop.asked.wait())
        await asyncio.wait({turn, wish}, return_when=asyncio.FIRST_COMPLETED)
        wish.cancel()
        if turn.done() and not entry.stop.asked.is_set():
            return True
        if turn.done():
            self._slots[entry.kind.name].release()
        turn.cancel()
        return False

    async def _run(self, entry: _Entry) -> Ending:
        kind, active = entry.kind, entry.active
        entry.running = True
        idle = self._idle.pop(kind.name, None)
        try:
            if idle is not None and idle.child.alive:
                child = idle.child
            else:
                if idle is not None:
                    await idle.child.end()
                child = await Child.spawn(kind, self.settings)
        except OSError as error:
            return Ending(State.FAILED, reason=t("no worker could be started ({why})", why=error.strerror))
        keep = False
        try:
            await self._on_disk(lambda: active.running(t("starting the worker") if child.jobs == 0 else t("starting")))
            ending = await carry_out(active, kind, child, entry.stop)
            keep = kind.warm and child.alive and not entry.stop.asked.is_set() and child.jobs < JOBS_PER_WORKER
        finally:
            if keep:
                self._idle[kind.name] = _Idle(child, time.monotonic())
            else:
                await child.end()
        return ending

    async def _hook(self, run: str) -> None:
        """Run the hooks configured for this decision; no one waits for them, and they change nothing."""
        try:
            pending = await self._on_disk(lambda: due.due(self.settings, run))
            if pending is None:
                return
            await self._on_disk(lambda: due.promise(pending, LOG.info))
            async with self._hook_slots:
                if self._ended.is_set():
                    await self._on_disk(lambda: due.skip(self.settings, run, LOG.info))
                    return
                calls = Calls(self.settings, run)
                self._calls.add(calls)
                try:
                    await asyncio.to_thread(calls.follow, LOG.info)
                finally:
                    self._calls.discard(calls)
        except (VigieError, OSError) as error:
            LOG.warning("the hooks of %s were not called: %s", run, error)
        except Exception:
            LOG.exception("the hooks of %s failed in the host", run)

    # -- housekeeping ---------------------------------------------------------------------------------------------

    async def _expire(self) -> None:
        for name, idle in list(self._idle.items()):
            if not idle.child.alive or time.monotonic() - idle.since > IDLE_SECONDS:
                del self._idle[name]
                await idle.child.end()

    async def _tidy(self) -> None:
        """The directories are read once; runs of command lines and flows can end silently at any time."""
        await self._quietly(lambda: tidy.tidy(self.settings))
        while True:
            await asyncio.sleep(TIDY_SECONDS)
            await self._quietly(lambda: tidy.tidy(self.settings, scan=False))

    async def _settle(self, started: float) -> None:
        """Hooks that the last host did not live to call, once its own helpers have had their time to write."""
        await asyncio.sleep(SETTLE_SECONDS)
        await self._quietly(lambda: due.settle(self.settings, started, LOG.info))

    async def _retain(self) -> None:
        await self._quietly(lambda: keep.retain(self.settings, load_systems(self.settings)))

    async def _quietly(self, work: Callable[[], object]) -> None:
        """Upkeep: a failure is a line in the log, the host goes on."""
        try:
            await self._on_disk(work)
        except VigieError as error:
            LOG.warning("%s", error.text)
        except Exception:
            LOG.exception("upkeep failed")

    async def _stop(self) -> None:
        for entry in self._entries.values():
            entry.stop.ask(State.INTERRUPTED, HOST_STOPPED, STOP_GRACE)
        for calls in self._calls:
            calls.ask_to_end()
        tasks = [entry.task for entry in self._entries.values() if entry.task is not None]
        if tasks:
            await asyncio.wait(tasks)
        if self._hooking:
            await asyncio.wait(self._hooking, timeout=END_SECONDS)
        for calls in self._calls:
            calls.end(0)
        if self._warming:
            # asyncio never returns from a process start that is cancelled halfway (Python 3.11).
            await asyncio.wait(self._warming)
        for idle in self._idle.values():
            await idle.child.end()
        LOG.info("job host %d ended", os.getpid())

    async def _on_disk(self, work: Callable[[], _Given]) -> _Given:
        return await asyncio.get_running_loop().run_in_executor(self._disk, work)

    def _spawn_task(self, work: Coroutine[Any, Any, None], group: set[asyncio.Task[None]] | None = None) -> None:
        """Start work and keep hold of it in a group, which the end of the host may wait for."""
        tasks = self._background if group is None else group
        task = asyncio.create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)


def main(argv: Sequence[str] | None = None, kinds: Mapping[str, Kind] = KINDS) -> int:
    """Serve this VIGIE_HOME until asked to stop; 0 also when another host already does."""
    parser = argparse.ArgumentParser(prog="python -m app.jobs", description=t("The job host of one VIGIE_HOME."))
    parser.add_argument("--parent-pipe", action="store_true", help=t("end when standard input ends"))
    options = parser.parse_args(argv)
    # The parent process may die while we import and read: look at it first.
    parent = owner_of(os.getppid()) if options.parent_pipe else None
    try:
        settings = Settings.from_env()
        lock = place.take_host_lock(settings)
        if lock is None:
            print(t("joined: a job host already serves {home}", home=settings.home))
            return 0
        log_jobs(settings.home)
        # What was running when the last host ended is interrupted before anyone asks; a sick ledger stops nothing.
        tidy.tidy(settings, scan=False)
        asyncio.run(_serve(settings, kinds, parent))
    except VigieError as error:
        print(error.text, file=sys.stderr)
        return 1
    return 0


async def _serve(settings: Settings, kinds: Mapping[str, Kind], parent: Owner | None) -> None:
    host = Host(settings, kinds)
    loop = asyncio.get_running_loop()
    # Without a pipe to the console, Ctrl-C is for us.
    for number in (signal.SIGTERM, *heeded(signal.SIGHUP, *([signal.SIGINT] if parent is None else []))):
        loop.add_signal_handler(number, host.end)
    if parent is not None:
        # Ctrl-C in a terminal reaches the whole group; the console decides, and its pipe tells us.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        watch_pipe(lambda: _end_from_thread(loop, host))
    await host.serve(parent)


def _end_from_thread(loop: asyncio.AbstractEventLoop, host: Host) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended for another reason
        loop.call_soon_threadsafe(host.end)
