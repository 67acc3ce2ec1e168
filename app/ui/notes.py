"""What people wrote on a run, what its hooks answered, and the place to write: a note or an acknowledgement."""

from __future__ import annotations

import time

import streamlit as st

from app.errors import VigieError
from app.notify.channel import in_words
from app.notify.due import called_on
from app.runs.index import MAX_NOTE
from app.runs.run import HookOutcome, Note, Run
from app.ui import cache, widgets
from app.ui.access import act
from app.words.message import t, tn
from app.words.units import format_time

# The latest notes are on the banner; a run with more of them is a discussion, and the older ones fold away.
SHOWN = 3
# How often a verdict looks for the answers of its hooks, and how long beyond their own time limits, in seconds.
LOOK_EVERY, GRACE = 2.0, 10.0
_PROBLEM = "note_problem"
_SAVED = "note_saved"


def notes(run: Run) -> None:
    """Notes and acknowledgement of one run with their times, and a line to write the next one."""
    waiting = _hooks_to_come(run)

    @st.fragment(run_every=LOOK_EVERY if waiting else None)
    @widgets.guarded
    def draw() -> None:
        if st.session_state.pop(_SAVED, False):
            # A list elsewhere on the page says whether this run is noted.
            st.rerun()
        if waiting and not _hooks_to_come(run):
            # All have answered, or none will: there is nothing to look for any more.
            st.rerun()
        ledger = cache.ledger()
        written = ledger.notes(run.id)
        with st.container(key="notes", gap="small"):
            for outcome in ledger.hooks(run.id):
                st.markdown(_hook_words(outcome))
            lines = [_note_words(note, before) for note, before in zip(written, [None, *written], strict=False)]
            if earlier := lines[:-SHOWN]:
                with st.expander(tn("{n} earlier note", "{n} earlier notes", len(earlier))):
                    st.markdown("\n\n".join(earlier))
            for line in lines[-SHOWN:]:
                st.markdown(line)
            _write(run.id, len(written), acknowledged=bool(written) and written[-1].acknowledged)

    draw()


def _hooks_to_come(run: Run) -> bool:
    """Whether a hook may still answer: hooks are called once the verdict is there, and the run does not wait."""
    system = cache.systems().by_id.get(run.system)
    if run.kind != "drift" or run.own is False or run.finished is None or system is None:
        return False
    due = called_on(system, run.outcome)
    late = time.time() - run.finished > GRACE + sum(hook.timeout for hook in due)
    return bool(due) and not late and len(cache.ledger().hooks(run.id)) < len(due)


def _hook_words(outcome: HookOutcome) -> str:
    when = format_time(outcome.at, widgets.clock())
    text = t(
        "Hook {hook}: {outcome} ({when}, {took:seconds})",
        hook=outcome.hook,
        outcome=in_words(outcome.outcome),
        when=when,
        took=outcome.seconds,
    )
    return f":material/webhook: {widgets.plain(text)}"


def _note_words(note: Note, before: Note | None) -> str:
    """`✓ Acknowledged 14:05:32 · text`: a later note keeps an acknowledgement, or takes it back."""
    was = before is not None and before.acknowledged
    if note.acknowledged and not was:
        colour, icon, what = "green", ":material/check_circle:", t("Acknowledged")
    elif was and not note.acknowledged:
        colour, icon, what = "gray", ":material/undo:", t("Acknowledgement withdrawn")
    else:
        colour, icon, what = "gray", ":material/edit_note:", t("Note")
    text = f" · {widgets.plain(note.text)}" if note.text else ""
    return f":{colour}[{icon} **{widgets.plain(what)}**] {format_time(note.at, widgets.clock())}{text}"


def _write(run_id: str, written: int, *, acknowledged: bool) -> None:
    key = f"note-{run_id}"
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small", key="note-form"):
        st.text_input(
            t("Note on this decision"),
            key=key,
            max_chars=MAX_NOTE,
            placeholder=t("Note: what was seen, what was done"),
            label_visibility="collapsed",
        )
        st.button(
            t("Withdraw acknowledgement") if acknowledged else t("Acknowledge"),
            key=f"acknowledge-{run_id}",
            icon=":material/undo:" if acknowledged else ":material/check:",
            help=t("Writes down that somebody has seen to this decision, with the time and the note."),
            on_click=_save,
            args=(run_id, key, written, not acknowledged),
        )
        st.button(
            t("Add note"),
            key=f"add-{run_id}",
            icon=":material/edit_note:",
            on_click=_save,
            args=(run_id, key, written, None),
        )
    problem = st.session_state.pop(_PROBLEM, None)
    if isinstance(problem, VigieError):
        widgets.problem(problem, title=t("Nothing was written."))


def _save(run_id: str, key: str, written: int, acknowledged: bool | None) -> None:
    """Runs before the page is drawn again: what fails is reported there. None writes a note and leaves the rest.

    `written` notes were there when the button was drawn: Streamlit may hand in one press twice when the run that it
    began was interrupted, and the second one finds its note there.
    """
    text = str(st.session_state.get(key) or "").strip()
    if acknowledged is None and not text:
        st.session_state[_PROBLEM] = VigieError(t("The note is empty."), hint=t("Write it into the line first."))
        return
    try:
        ledger = cache.ledger()
        since = ledger.notes(run_id)[written:]
        if not any(note.text == text and acknowledged in (None, note.acknowledged) for note in since):
            act(ledger.note, run_id, text, acknowledged=acknowledged)
    except VigieError as error:
        st.session_state[_PROBLEM] = error
        return
    st.session_state[key] = ""
    st.session_state[_SAVED] = True
