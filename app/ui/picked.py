"""What the reader has picked, a system and its run, kept in the address so that a bookmark and a link keep it."""

from __future__ import annotations

import streamlit as st
from streamlit.errors import StreamlitAPIException

from app.config import System, Systems
from app.jobs import Progress
from app.runs.run import Run
from app.runs.words import state_word
from app.ui import cache
from app.ui.language import language_params
from app.ui.widgets import empty, plain
from app.words.message import t

SYSTEM_KEY = "system"
# Parts of an address that mean something for one system only.
OF_SYSTEM = ("run", "ref", "cur")
# The system that the address named last: tells a new address from a new choice.
_ADDRESS_KEY = "system_in_address"
# What the address named and no system is called, and the system that is shown instead of it.
_MISSING_KEY = "system_missing"
# So much of an unknown name is shown.
_MISSING_CHARS = 40


def system_picker(systems: Systems) -> None:
    """The picker on top of the sidebar; its choice is part of the address, so a bookmark keeps it."""
    if not systems.by_id:
        return
    ids = list(systems.by_id)
    titles = {one.id: t(one.title) for one in systems.by_id.values()}
    # Not `bind="query-params"`: that writes the title into the address, and every link of the console names the id.
    asked = st.query_params.get(SYSTEM_KEY)
    named = asked or st.session_state.get(SYSTEM_KEY)
    if asked in ids and asked != st.session_state.get(_ADDRESS_KEY):
        # A bookmark, a link, or the browser's back button.
        st.session_state[SYSTEM_KEY] = asked
    elif st.session_state.get(SYSTEM_KEY) not in ids:
        st.session_state[SYSTEM_KEY] = ids[0]
    picked = st.selectbox(
        t("System"),
        ids,
        key=SYSTEM_KEY,
        format_func=titles.__getitem__,
        on_change=_move_address,
        label_visibility="collapsed",
        help=t("Everything on every page is about this one system."),
    )
    if picked != asked:
        st.query_params[SYSTEM_KEY] = picked
    st.session_state[_ADDRESS_KEY] = picked
    if named and named not in ids:
        st.session_state[_MISSING_KEY] = (named, picked)
    missing, instead = st.session_state.get(_MISSING_KEY, ("", ""))
    if instead == picked:
        # An old bookmark must not pass for another system's data.
        name = missing if len(missing) <= _MISSING_CHARS else f"{missing[:_MISSING_CHARS]}…"
        shown = titles[picked]
        text = t("No system is called **{name}**. This is {system}.", name=plain(name), system=plain(shown))
        st.warning(text)
    elif missing:
        del st.session_state[_MISSING_KEY]


def _move_address() -> None:
    """Run and months, in the address and picked, belong to the system that was picked before."""
    for name in OF_SYSTEM:
        st.session_state.pop(name, None)
    kept = {name: st.query_params.get_all(name) for name in st.query_params if name not in OF_SYSTEM}
    try:
        # At once: each single change would be its own step for the back button.
        st.query_params.from_dict({**kept, SYSTEM_KEY: st.session_state[SYSTEM_KEY]})
    except StreamlitAPIException:
        # The page has controls that keep themselves in the address; no one else may write those.
        for name in OF_SYSTEM:
            st.query_params.pop(name, None)


def until_listed(run: Run, progress: Progress | None) -> None:
    """In the fragment that looks at a run whose progress is over or unknown: draw the page anew once its row does, too.

    Not before: the page would find the same row and do it again without a pause.
    """
    row = cache.ledger().get(run.id)
    if row is None or row.state.final:
        cache.forget_runs()
        st.rerun()
    if progress is None:
        why = t("Its progress is not known here; the page shows its end when it comes.")
        empty(t("This run goes on elsewhere."), why)
    else:
        ended = t("This run has ended: {state}.", state=state_word(progress.state))
        empty(ended, t("The list of runs is about to be brought up to date."))


def system() -> System:
    """The system the reader has picked."""
    systems = cache.systems().by_id
    picked = st.session_state.get(SYSTEM_KEY)
    return systems[picked] if isinstance(picked, str) and picked in systems else next(iter(systems.values()))


def link_params() -> dict[str, str]:
    """Query parameters that carry the picked system and language over to another page."""
    picked = st.session_state.get(SYSTEM_KEY)
    return {**({SYSTEM_KEY: picked} if picked else {}), **language_params()}
