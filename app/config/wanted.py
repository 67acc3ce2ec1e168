"""Asking the embedded stack for the API of a system that it knows and does not run yet.

The request is a small file, `<home>/stack/wanted/<system id>`, that holds who asks. The stack looks for it twice a
second, accepts only names of its own table, and forgets it at its next start when the asker has ended.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from app.base.files import private_folder, read, replace
from app.base.processes import Owner, myself
from app.config.settings import Settings, address, read_state
from app.config.system import System
from app.errors import StorageFull

# A request is 40 bytes.
REQUEST_BYTES = 1000


def want(settings: Settings, system: System, asker: Owner | None = None) -> bool:
    """Ask the stack for a system's API unless it runs, is asked for already, or answers elsewhere; True when asked.

    Raises StorageFull when the request cannot be written.
    """
    if settings.attached or address(settings, system, "api").origin not in ("stack", "none"):
        return False
    state = read_state(settings)
    running = state.owner is not None and state.owner.alive and system.id in state.services
    if running or system.id not in state.offers:
        return False
    who = asker or myself()
    body = json.dumps({"pid": who.pid, "started": who.started})
    # The id of a system is lower case letters, digits, - and _ (checked when its file was read): no path.
    file = settings.home / "stack" / "wanted" / system.id
    if _read(file) == body:
        return False
    try:
        private_folder(file.parent)
        replace(file, body)
    except OSError as error:
        why = f"{file.parent} cannot be written ({error.strerror})"
        message = f"The stack cannot be asked to start {system.title}: {why}."
        raise StorageFull(message, hint="Free some room, or look at the rights of that folder.") from error
    return True


def _read(file: Path) -> str:
    """What stands in a request; "" when there is none."""
    with suppress(OSError, ValueError):
        return read(file, REQUEST_BYTES).decode()
    return ""
