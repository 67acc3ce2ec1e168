"""The process that calls the hooks of one run, as the owner of the run holds it."""

from __future__ import annotations

import subprocess
from typing import Final

from app.base import child_process
from app.base.home import ROOT
from app.base.variables import HOME
from app.config import Settings
from app.errors import VigieError
from app.notify.due import Say, due, promise, skip

# An owner that ends gives its hooks this long to be ended and written down: the console gives the host three.
END_SECONDS: Final = 1.5


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
            # no catalogue: kept in English
            how = f"was killed (signal {-status})" if status < 0 else f"failed (exit {status})"
            # no catalogue: kept in English
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
        pending = due(settings, run)
        if pending is None:
            return
        promise(pending, say)
        calls = Calls(settings, run)
    except (VigieError, OSError) as error:
        say(f"the hooks of {run} were not called: {error}")  # no catalogue: a log line
        return
    try:
        calls.follow(say)
    except BaseException:
        calls.end()
        raise
