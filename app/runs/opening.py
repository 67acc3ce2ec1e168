"""The index of this home, opened for a short piece of work."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from app.config import Settings
from app.errors import LedgerError
from app.runs.index import Ledger

LOG = logging.getLogger("vigie.jobs")


@contextmanager
def opened(settings: Settings) -> Iterator[Ledger]:
    """The ledger for one short piece of work; opened a second time when a damaged file was just put aside."""
    try:
        ledger = Ledger.of(settings)
    except LedgerError as error:
        LOG.warning("%s", error.text)
        ledger = Ledger.of(settings)
    with ledger:
        yield ledger
