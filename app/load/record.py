"""What the files of a load run say: it writes its result while it sends, so a killed run says how far it came."""

from __future__ import annotations

from pathlib import Path

from app.errors import VigieError
from app.load.result import Result
from app.runs.kinds import LOAD
from app.runs.record import Record
from app.runs.result import read_result_in
from app.runs.run import Ending, State
from app.words.message import sentences, t
from app.words.shared import capital

# The outcome: everything was sent; a limit ended it; a person did.
COMPLETE = "COMPLETE"
LIMIT = "LIMIT"
STOPPED = "STOPPED"


class Traffic(Record):
    """A run that sent requests to a prediction service."""

    def left(self, folder: Path, cause: str) -> Ending | None:
        """A whole result is the ending; one that was cut says how far the run came."""
        try:
            result = read_result_in(folder, LOAD, Result)
        except VigieError:
            return None
        if result.cut or result.cancelled:
            reason = sentences([result.sentence, t("{cause}.", cause=capital(cause))])
            return Ending(State.INTERRUPTED, "", reason, folder)
        return Ending(State.DONE, LIMIT if result.stopped_by else COMPLETE, result.sentence, folder)
