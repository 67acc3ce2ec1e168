"""Systems that someone has asked the running stack for: one file a system in `stack/wanted`, named by its id.

A console writes the file when a reader picks a system whose API does not run yet. Only the *name* of the file counts
while the stack runs, and only names of the table of APIs: nothing that is written there can name a program. What
is inside (pid and start time of who asked) decides at the next start of the stack: a request holds as long as the
console that made it. So a stack that is started again under an open console brings back what its pages show, and a
new `make run` begins with the first system alone.
"""

import json
import os
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

from app.base.files import replace
from app.base.home import Home
from app.base.processes import Owner

Say = Callable[[str], None]

# Far more than there are systems; a folder that someone fills costs no more than this at each look.
MOST_ENTRIES = 100
# What is not known is reported once a name, and so many names at most: a log is no place for a flood.
MOST_SAID = 20
# A request is 40 bytes.
REQUEST_BYTES = 1000
# Of a strange name so much is shown.
NAME_CHARACTERS = 40


def folder(home: Home) -> Path:
    """Return where requests are."""
    return home.stack / "wanted"


def ask(home: Home, systems: Sequence[str], asker: Owner | None) -> None:
    """Ask the stack of this home for systems; without an asker the request ends with that stack. Raises OSError."""
    folder(home).mkdir(mode=0o700, parents=True, exist_ok=True)
    body = {"pid": asker.pid, "started": asker.started} if asker else {}
    for system in systems:
        replace(folder(home) / system, json.dumps(body) + "\n")


class Wanted:
    """The requests of one home, as its supervisor reads them."""

    def __init__(self, home: Home, offered: Collection[str]) -> None:
        self._folder = folder(home)
        self._offered = offered
        self._given: set[str] = set()
        self._said: set[str] = set()

    def begin(self) -> None:
        """Make the folder; forget what consoles that have ended asked for."""
        # What is in the way here is reported by `new`; it keeps no stack from starting.
        with suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name in self._names():
                if name in self._offered and not _asker_runs(self._folder / name):
                    (self._folder / name).unlink(missing_ok=True)

    def new(self, say: Say) -> list[str]:
        """Return the systems asked for since the last call, each once; say what is not known, each once."""
        systems = []
        try:
            names = self._names()
        except FileNotFoundError:
            # Removed by hand: the next request makes it again.
            return []
        except OSError as error:
            self._say_once(f"{self._folder} cannot be read ({error.strerror}): no system is started when picked", say)
            return []
        for name in names:
            if name not in self._offered:
                shown = ascii(name[:NAME_CHARACTERS])
                self._say_once(f"{shown} is no system of this stack ({', '.join(self._offered)}); ignored", say)
            elif name not in self._given:
                self._given.add(name)
                systems.append(name)
        return systems

    def _names(self) -> list[str]:
        """Return the names of plain files, without the drafts of an atomic write (a dot in front). Raises OSError."""
        with os.scandir(self._folder) as entries:
            seen = [entry for entry in islice(entries, MOST_ENTRIES) if entry.is_file(follow_symlinks=False)]
        return sorted(entry.name for entry in seen if not entry.name.startswith("."))

    def _say_once(self, text: str, say: Say) -> None:
        if text not in self._said and len(self._said) < MOST_SAID:
            self._said.add(text)
            say(f"wanted: {text}")


def _asker_runs(path: Path) -> bool:
    # Anything but a well-formed request counts as one whose asker has gone.
    with suppress(OSError, ValueError, KeyError, TypeError), path.open("rb") as file:
        body = json.loads(file.read(REQUEST_BYTES))
        return Owner(int(body["pid"]), str(body["started"])).alive
    return False
