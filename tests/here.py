"""A run with the drift worker in this process, warm for all of a file; no test in here."""

import threading
from pathlib import Path
from types import SimpleNamespace

from app.drift import worker
from app.jobs import worker as process
from app.runs.active import ActiveRun
from app.runs.locks import Request
from app.runs.progress import as_run
from app.runs.run import Ending, State


def run(settings, kind, system, key, args, _on_progress=None, *, after=None):
    """What the host does with a run; everything else is that of `run_and_wait`."""
    active = ActiveRun(settings, Request(kind, system, key, dict(args)))
    active.running("starting")
    request = {"run": active.id, "kind": kind, "system": system, "key": key, "args": dict(args)}
    answer = process._serve(worker, request, SimpleNamespace(event=threading.Event(), busy=False))
    path = Path(answer["path"]) if answer["path"] else None
    last = active.end(Ending(State(answer["state"]), answer["outcome"], answer["reason"], path))
    run = as_run(last)
    if after is not None:
        after(run)
    return run
