"""What lists say of a run; unknown is a word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from app.runs.run import GONE, Note, Run, State
from app.runs.source import APART
from app.words.message import t
from app.words.numbers import counted
from app.words.shared import NO_REASON

_STATES: Final = {
    State.QUEUED: t("queued"),
    State.RUNNING: t("running"),
    State.DONE: t("done"),
    State.FAILED: t("failed"),
    State.CANCELLED: t("cancelled"),
    State.INTERRUPTED: t("interrupted"),
}


def state_word(state: str) -> str:
    """A state as lists and sentences show it."""
    return t(_STATES.get(State(state), state))


def why(run: Run) -> str:
    """The reason of a run for a list; of one whose directory is gone it says that first."""
    if not run.gone:
        return run.reason
    return GONE if run.reason in ("", GONE) else f"{GONE}; {run.reason}"


def months_of(run: Run) -> str:
    """`2024-01-31 → 2024-02-29`; of a run whose months are not known its files, else its key."""
    ref, cur = run.months
    return f"{ref} → {cur}" if ref and cur else run.source_address if run.source_kind in APART else run.key


def in_words(run: Run) -> str:
    """Why it was decided so; of a run whose files are deleted, that first."""
    if not run.gone:
        return run.reason or NO_REASON
    kept = "files deleted, the decision is kept" if run.done else "files deleted"
    return kept if run.reason in ("", GONE) else f"{kept}: {run.reason}"


def months(run: Run) -> str:
    """`2024-01-31 → 2024-02-29`; unknown is a word."""
    ref, cur = run.months
    return f"{ref or 'unknown'} → {cur or 'unknown'}" if ref or cur else "unknown"


def share_words(run: Run) -> str:
    """`0.06 · 1 of 16`; unknown is a word."""
    if run.share is None:
        return "unknown"
    of = f" · {run.drifted} of {run.counted}" if run.drifted is not None and run.counted is not None else ""
    return f"{run.share:.2f}{of}"


def noted(notes: Sequence[Note]) -> str:
    """Whether someone has seen to the run, and how many notes there are."""
    written = sum(bool(note.text.strip()) for note in notes)
    words = [] if not acknowledged(notes) else ["✓ acknowledged"]
    words += [] if not written else [counted(written, "note")]
    return " · ".join(words) or "none"


def acknowledged(notes: Sequence[Note]) -> bool:
    """What the latest note says."""
    return bool(notes) and notes[-1].acknowledged
