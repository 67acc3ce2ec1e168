"""Run a job and wait for its end: through the host when one answers, otherwise here, under the same lock."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from app.base.processes import heeded
from app.errors import HostUnavailable, JobError
from app.jobs import client
from app.runs.kinds import KINDS, Kind, unknown_kind
from app.runs.progress import Progress, as_run, read_progress
from app.runs.run import Ending, State
from app.words.message import t

if TYPE_CHECKING:
    from app.config import Settings
    from app.runs.active import ActiveRun
    from app.runs.run import Run

LOG = logging.getLogger("vigie.jobs")
# How often the progress of a run is looked at: a person sees no difference below this.
POLL_SECONDS = 0.2

Watcher = Callable[[Progress], None]
# What must be done after a run that this process has run itself.
After = Callable[["Run"], None]


def run_here(  # noqa: PLR0917 - a run is kind, system, key and args, in this order everywhere
    settings: Settings,
    kind: str,
    system: str,
    key: str,
    args: Mapping[str, Any],
    on_progress: Watcher | None = None,
    *,
    kinds: Mapping[str, Kind] = KINDS,
    after: After | None = None,
) -> Run:
    """Run the job in a worker of this process, without a host. When the key runs elsewhere, wait for that run.

    Ctrl-C and SIGTERM cancel the run (state `cancelled`). The result is the row as it ended; it never raises JobFailed.
    Hooks are called before this returns; with `after` that is left to the caller, who gets the row.
    """
    from app.notify import calls
    from app.runs.active import ActiveRun
    from app.runs.locks import KeyHeld, Request
    from app.runs.tidy import tidy

    job = kinds.get(kind)
    if job is None:
        raise JobError(unknown_kind(repr(kind), kinds))
    # No one else corrects what an earlier command line left when it was killed.
    tidy(settings)
    try:
        active = ActiveRun(settings, Request(kind, system, key, dict(args)))
    except KeyHeld as held:
        return _follow(settings, held.run, on_progress)
    run = asyncio.run(_carry(active, job, on_progress))
    if after is not None:
        after(run)
    else:
        calls.call(settings, run.id, LOG.info)
    return run


def run_and_wait(  # noqa: PLR0917 - as run_here
    settings: Settings,
    kind: str,
    system: str,
    key: str,
    args: Mapping[str, Any],
    on_progress: Watcher | None = None,
    *,
    after: After | None = None,
) -> Run:
    """Through the host when one answers (Ctrl-C cancels there too), otherwise `run_here`."""
    try:
        started = client.start(settings, kind, system, key, args)
    except HostUnavailable:
        return run_here(settings, kind, system, key, args, on_progress, after=after)
    try:
        return _follow(settings, started.run, on_progress)
    except KeyboardInterrupt:
        # A run that someone else started is theirs: leaving it is not ending it.
        if started.joined:
            raise
        client.cancel(settings, started.run)
        return _follow(settings, started.run, on_progress)


def _follow(settings: Settings, run: str, on_progress: Watcher | None) -> Run:
    """Look at a run's progress until it has ended."""
    seen: Progress | None = None
    while True:
        now = read_progress(settings, run)
        if now is None:
            raise JobError(
                t("The run {run} has lost its directory under {folder}.", run=run, folder=settings.home / "runs"),
                hint=t("Start it again."),
            )
        if now != seen and on_progress is not None:
            on_progress(now)
        seen = now
        if now.final:
            return as_run(now)
        time.sleep(POLL_SECONDS)


async def _carry(active: ActiveRun, kind: Kind, on_progress: Watcher | None) -> Run:
    from app.jobs.child import Child
    from app.jobs.execute import Stop, carry_out
    from app.runs import keep

    stop = Stop()
    loop = asyncio.get_running_loop()
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, *heeded(signal.SIGINT, signal.SIGHUP)):
            loop.add_signal_handler(number, stop.ask)
    watching = asyncio.create_task(_watch(active, on_progress)) if on_progress else None
    ending = Ending(State.INTERRUPTED, reason=t("the command that ran it ended"))
    try:
        active.running("starting")
        try:
            child = await Child.spawn(kind, active.settings)
        except OSError as error:
            ending = Ending(State.FAILED, reason=t("no worker could be started ({why})", why=error.strerror))
        else:
            try:
                ending = await carry_out(active, kind, child, stop)
            finally:
                await child.end()
    finally:
        if watching is not None:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching
        last = active.end(ending)
    if on_progress is not None:
        on_progress(last)
    if last.state is State.DONE:
        keep.bound(active.settings)
    return as_run(last)


async def _watch(active: ActiveRun, on_progress: Watcher) -> None:
    seen: Progress | None = None
    while True:
        now = read_progress(active.settings, active.id)
        if now is not None and now != seen:
            on_progress(now)
            seen = now
        await asyncio.sleep(POLL_SECONDS)
