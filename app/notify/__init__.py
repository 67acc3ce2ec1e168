"""Hooks: commands and URLs of a system file that are told of a decision, after it was made and written down.

Whoever ran a comparison (job host, command line, Prefect flow) calls its hooks once, in a process of their own
(`python -m app.notify RUN`) whose standard input it holds: when the owner ends, however it ends, so do its hooks. A
hook changes no decision; how it fared goes into the ledger. Nothing is called for other policies than the system's
own, for captured requests and for what-if.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from app.base import child_process
from app.base.files import read
from app.base.home import ROOT
from app.base.variables import HOME
from app.config import Settings, System, load_systems
from app.drift.result import Policy, Result
from app.errors import VigieError
from app.runs import reports
from app.runs.opening import opened
from app.runs.progress import directory, read_progress
from app.runs.run import State
from app.runs.source import source_of
from app.services import address, public_url

if TYPE_CHECKING:
    from app.config.drift import Hook
    from app.egress import Credentials

Say = Callable[[str], None]

VERSION: Final = 1
# An owner that ends gives its hooks this long to be ended and written down: the console gives the host three.
END_SECONDS: Final = 1.5
LOST: Final = "unknown: no outcome was written down"
STOPPED: Final = "the process that ran the comparison was stopped"
# Files in a run's folder: its owner is about to call the hooks, and somebody has begun (a run calls them once).
PROMISE: Final = "hooks.due"
CLAIM: Final = "hooks.called"
# Names of at most eight hooks.
MAX_PROMISE_BYTES: Final = 10_000
# Promises of a host that was killed are among its newest runs.
RECENT_RUNS: Final = 200


@dataclass(frozen=True, slots=True)
class Due:
    """A finished run and those of its system's hooks that its decision calls."""

    settings: Settings
    system: System
    result: Result
    hooks: tuple[Hook, ...]


def called_on(system: System, outcome: str) -> tuple[Hook, ...]:
    """The hooks of a system that a decision calls."""
    return () if system.drift is None else tuple(hook for hook in system.drift.hooks if outcome in hook.on)


def due(settings: Settings, run: str) -> Due | None:
    """What is to be called for a run; None for most. Raises VigieError when its result cannot be read."""
    found = read_progress(settings, run)
    if found is None or found.kind != "drift" or found.state != "done":
        return None
    system = load_systems(settings).by_id.get(found.system)
    if system is None or system.drift is None:
        return None
    hooks = called_on(system, found.outcome)
    if not hooks:
        return None
    result = Result.from_json(reports.read_file(Path(found.path), "result.json"))
    if result.policy != Policy.of(system.drift) or result.captured:
        return None
    if result.source is not None and not result.source.same(source_of(settings, system)):
        # Compared from other data than the system's: nothing was decided for it.
        return None
    return Due(settings, system, result, hooks)


# --- for the owner of a run ------------------------------------------------------------------------------------------


def promise(found: Due, say: Say) -> None:
    """Leave a trace of the hooks that are to be called, for `settle` should this process be killed before the end."""
    try:
        names = json.dumps([hook.name for hook in found.hooks])
        (directory(found.settings, found.result.run) / PROMISE).write_text(names, encoding="utf-8")
    except OSError as error:
        say(f"{found.result.run}: {error}")


def settle(settings: Settings, before: float, say: Say) -> None:
    """Write down what became of hooks promised before that moment (epoch seconds) by processes that are gone."""
    try:
        with opened(settings) as ledger:
            for run in ledger.runs(kind="drift", states=(State.DONE,), limit=RECENT_RUNS):
                names = _promised(settings, run.id, before)
                told = {one.hook for one in ledger.hooks(run.id)} if names else set()
                for name in names:
                    if name not in told:
                        ledger.hook(run.id, name, LOST, 0.0)
                        say(f"{run.id} hook {name}: {LOST}")
    except VigieError as error:
        say(error.text)


def _promised(settings: Settings, run: str, before: float) -> list[str]:
    """The hooks promised for a run before that moment whose owner is gone."""
    path = directory(settings, run) / PROMISE
    try:
        if path.stat().st_mtime >= before:
            return []
        names = json.loads(read(path, MAX_PROMISE_BYTES))
    except (OSError, ValueError, RecursionError):
        return []
    found = read_progress(settings, run)
    alive = found is not None and found.owner is not None and found.owner.alive
    return [str(name) for name in names] if isinstance(names, list) and not alive else []


class Calls:
    """The process that calls the hooks of one run, as the owner of the run holds it."""

    def __init__(self, settings: Settings, run: str) -> None:
        self._settings, self._run = settings, run
        self._process = child_process.start_held(
            ["-m", "app.notify", run],
            env={**settings.environ, HOME.name: str(settings.home)},
            cwd=ROOT,
            errors=subprocess.PIPE,
        )

    def follow(self, say: Say) -> None:
        """Wait for the end; `say` gets a line for each hook."""
        assert self._process.stderr is not None
        for line in self._process.stderr:
            say(line.decode("utf-8", "replace").rstrip())
        status = self._process.wait()
        if status:
            how = f"was killed (signal {-status})" if status < 0 else f"failed (exit {status})"
            skip(self._settings, self._run, say, f"unknown: the process that called it {how}")

    def ask_to_end(self) -> None:
        """The hook that runs is ended, the others are not called; returns at once."""
        child_process.close_pipe(self._process)

    def end(self, seconds: float = END_SECONDS) -> None:
        """As `ask_to_end`, and wait for it that long."""
        child_process.let_go([self._process], seconds)


def call(settings: Settings, run: str, say: Say) -> None:
    """Call the hooks of a run that this process has just ended, and wait for them. Never raises for their sake."""
    try:
        found = due(settings, run)
        if found is None:
            return
        promise(found, say)
        calls = Calls(settings, run)
    except (VigieError, OSError) as error:
        say(f"the hooks of {run} were not called: {error}")
        return
    try:
        calls.follow(say)
    except BaseException:
        calls.end()
        raise


def skip(settings: Settings, run: str, say: Say, why: str = f"not called: {STOPPED}") -> None:
    """Write down why those hooks of a run have no outcome that have none."""
    try:
        found = due(settings, run)
        if found is None:
            return
        with opened(settings) as ledger:
            known = {one.hook for one in ledger.hooks(run)}
            for hook in found.hooks:
                if hook.name not in known:
                    ledger.hook(run, hook.name, why, 0.0)
                    say(f"hook {hook.name}: {why}")
    except VigieError as error:
        say(f"{run}: {error.text}")


# --- the note --------------------------------------------------------------------------------------------------------


def note(found: Due) -> dict[str, Any]:
    """What a hook is told; None for unknown. `text` is the same as a sentence, for services that show a line."""
    result = found.result
    return {
        "version": VERSION,
        "system": result.system,
        "run": result.run,
        "decision": str(result.decision),
        "reason": result.reason,
        "share": result.share,
        "threshold": result.policy.threshold,
        "k": result.k,
        "n": result.n,
        "ref": result.ref.key,
        "cur": result.cur.key,
        "target_drift": result.target_drift.value,
        "simulated": True,
        "link": link(found.settings, result),
        "text": f"{found.system.title}: {result.decision} (simulated), {result.cur.key} against {result.ref.key}: "
        f"{result.reason}",
    }


def link(settings: Settings, result: Result) -> str | None:
    """The run in the console, as a browser reaches it; None when nobody said where that is."""
    where = public_url(settings, None, "console") or address(settings, None, "console").url
    return f"{where}/drift?system={quote(result.system)}&run={quote(result.run)}" if where else None


def program(settings: Settings, hook: Hook) -> str | None:
    """The program of a command: by its name on PATH, a path from the checkout on; None when it cannot be run."""
    name = hook.command[0]
    return shutil.which(str(settings.root / name) if "/" in name else name, path=settings.environ.get("PATH"))


@dataclass(frozen=True, slots=True)
class Bearer:
    """The credentials of a hook in the words of `[api]` and `[prometheus]`."""

    secret: str | None
    auth: str = "bearer"
    user: str | None = None


def bearer(settings: Settings, system: System, hook: Hook) -> Credentials | None:
    """The token of a hook, None without `secret`. Raises ConfigError when it is not set."""
    if hook.secret is None:
        return None
    from app.egress import credentials

    where = f"{system.id}.toml [[drift.hooks]] {hook.name}"
    return credentials(Bearer(hook.secret), settings.environ, settings.root, where=where)
