"""The index of this home, opened for a short piece of work."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from app.config import Settings, load_systems
from app.errors import LedgerError
from app.runs.index import Ledger
from app.runs.rescan import rescan

LOG = logging.getLogger("vigie.jobs")


def ledger_of(settings: Settings) -> Ledger:
    """The index of this home, read from the run directories first when it is new."""
    return Ledger(settings.ledger_url, lambda ledger: rescan(ledger, settings, load_systems(settings)))


@contextmanager
def opened(settings: Settings) -> Iterator[Ledger]:
    """The ledger for one short piece of work; opened a second time when a damaged file was just put aside."""
    try:
        ledger = ledger_of(settings)
    except LedgerError as error:
        LOG.warning("%s", error.text)
        ledger = ledger_of(settings)
    with ledger:
        yield ledger
