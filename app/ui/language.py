"""The language of the reader: picked in the sidebar and kept in the address, else that of the browser."""

from __future__ import annotations

from typing import Final

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from app.ui.address import controls
from app.words.language import ENGLISH, ask, offered
from app.words.message import t

LANGUAGE_KEY: Final = "lang"
# The switch of the sidebar, and the language that the address named last: tells a new address from a new choice.
_SWITCH: Final = "language"
_ADDRESS_KEY: Final = "language_in_address"
# What this session reads now; texts ask for it hundreds of times a page.
_NOW: Final = "language_now"
# The select boxes on pages of a system, of which `address` knows nothing.
_SELECTS: Final = ("system", "ref", "cur")
NAMES: Final = {"en": "English", "fr": "Français"}


def _reader() -> str:
    return str(st.session_state.get(_NOW, "")) if get_script_run_ctx(suppress_warning=True) else ""


def settle() -> None:
    """First on every page: from here on the texts of this session are said in its language."""
    ask(_reader)
    languages = offered()
    asked = st.query_params.get(LANGUAGE_KEY)
    if asked in languages and asked != st.session_state.get(_ADDRESS_KEY):
        # A bookmark, a link, or the browser's back button.
        st.session_state[_SWITCH] = asked
    elif st.session_state.get(_SWITCH) not in languages:
        browser = (st.context.locale or "").partition("-")[0].lower()
        st.session_state[_SWITCH] = browser if browser in languages else ENGLISH
    st.session_state[_ADDRESS_KEY] = asked
    st.session_state[_NOW] = st.session_state[_SWITCH]


def switch() -> None:
    """The languages side by side; nothing is drawn while there is one alone."""
    if len(languages := offered()) > 1:
        st.segmented_control(
            t("Language"),
            languages,
            key=_SWITCH,
            format_func=lambda one: NAMES[one],
            required=True,
            on_change=_keep,
            label_visibility="collapsed",
        )


def _keep() -> None:
    # A select box goes on showing the words it was picked by until its value is set anew.
    for key in (*_SELECTS, *controls()):
        if key in st.session_state:
            st.session_state[key] = st.session_state[key]
    st.query_params[LANGUAGE_KEY] = st.session_state[_ADDRESS_KEY] = st.session_state[_SWITCH]


def language_params() -> dict[str, str]:
    """The part of an address that keeps the language, where it was named or picked."""
    named = st.session_state.get(_ADDRESS_KEY)
    return {LANGUAGE_KEY: st.session_state[_SWITCH]} if named else {}
