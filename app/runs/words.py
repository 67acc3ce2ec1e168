"""What lists say of a run; unknown is a word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from app.runs.run import Note, Run, State
from app.runs.source import APART
from app.words.message import t, tn
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
    """Why it ended so; of a run whose files are deleted, that first."""
    reason = t(run.reason)
    if not run.gone:
        return reason or ("" if run.live else t(NO_REASON))
    deleted = t("files deleted, the decision is kept") if run.done else t("files deleted")
    return t("{deleted}: {reason}", deleted=deleted, reason=reason) if reason else deleted


def months_of(run: Run) -> str:
    """`2024-01-31 → 2024-02-29`; of a run whose months are not known its files, else its key."""
    ref, cur = run.months
    return f"{ref} → {cur}" if ref and cur else run.source_address if run.source_kind in APART else run.key


def months(run: Run) -> str:
    """`2024-01-31 → 2024-02-29`; unknown is a word."""
    ref, cur = run.months
    return f"{ref or t('unknown')} → {cur or t('unknown')}" if ref or cur else t("unknown")


def share_words(run: Run) -> str:
    """`0.06 · 1 of 16`; unknown is a word."""
    if run.share is None:
        return t("unknown")
    if run.drifted is None or run.counted is None:
        return t("{share:.2f}", share=run.share)
    return t("{share:.2f} · {drifted} of {columns}", share=run.share, drifted=run.drifted, columns=run.counted)


def noted(notes: Sequence[Note]) -> str:
    """Whether someone has seen to the run, and how many notes there are."""
    written = sum(bool(note.text.strip()) for note in notes)
    parts = [t("✓ acknowledged")] if acknowledged(notes) else []
    parts += [tn("{n:count} note", "{n:count} notes", written)] if written else []
    return " · ".join(parts) or t("none")


def acknowledged(notes: Sequence[Note]) -> bool:
    """What the latest note says."""
    return bool(notes) and notes[-1].acknowledged
