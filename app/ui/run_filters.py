"""The filters of the Reports page: which runs are listed; each is in the address, so that a link keeps it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import streamlit as st

from app.config import System
from app.drift.result import Verdict
from app.runs.kinds import KINDS as ALL_KINDS
from app.runs.kinds import title_of
from app.runs.run import Filter, State
from app.runs.words import state_word
from app.ui import cache, widgets
from app.ui.address import picked_one, picked_some
from app.words.message import t

# Runs that leave a report; traffic is listed only when asked for, background traffic would bury the rest.
REPORTED: Final = tuple(name for name, kind in ALL_KINDS.items() if kind.report)
KINDS: Final = tuple(sorted(ALL_KINDS, key=lambda name: name not in REPORTED))
# What an address says -> its name on screen, and what the ledger is asked: whether the data are of another source.
WHOSE: Final[Mapping[str, tuple[str, bool | None]]] = {
    "any": (t("any"), None),
    "own": (t("own"), False),
    "another or unknown": (t("another or unknown"), True),
}
SEEN: Final[Mapping[str, tuple[str, bool | None]]] = {
    "any": (t("any"), None),
    "acknowledged": (t("acknowledged"), True),
    "not acknowledged": (t("not acknowledged"), False),
}
# Filters by session key with the value that filters nothing.
OFF: Final[Mapping[str, Any]] = {
    "find": "",
    "month": "",
    "decision": [],
    "seen": "any",
    "state": [],
    "kind": [],
    "since": None,
    "until": None,
    "source": "any",
}
MORE: Final = ("state", "kind", "source", "since", "until")


def every_system() -> None:
    """Whether the runs of all systems are listed, or of the picked one."""
    st.toggle(t("All systems"), key="all", bind="query-params", on_change=first_page)


def first_page() -> None:
    """Other runs are listed, or in another order: from their beginning."""
    st.session_state["page"] = 1


def filters(system: System) -> Filter:
    """The row of filters; each is in the address, so that a reload and a link keep it."""
    first: dict[str, Any] = {"on_change": first_page}
    held = {"bind": "query-params", **first}
    with st.container(key="library-filters", horizontal=True, vertical_alignment="bottom", gap="small"):
        find = t("words, note, id")
        st.text_input(t("Find"), key="find", width=200, placeholder=find, icon=":material/search:", **held)
        st.text_input(t("Month"), key="month", width=110, placeholder="2024-02", **held)
        verdicts = [str(one) for one in Verdict]
        st.multiselect(t("Decision"), verdicts, key="decision", placeholder=t("any"), width=215, **held)
        seen = picked_one(t("Acknowledged"), list(SEEN), key="seen", words=named(SEEN), width=150, **first)
        active = sum(_given(name) for name in MORE)
        label = t("More filters · {active}", active=active) if active else t("More filters")
        with st.popover(label, key="more-filters"):
            states = [str(one) for one in State]
            states = picked_some(t("State"), states, key="state", words=state_word, placeholder=t("any"), **first)
            every = t("all with a report")
            kinds = picked_some(t("Kind"), KINDS, key="kind", words=title_of, placeholder=every, **first)
            whose = picked_one(t("Data source"), list(WHOSE), key="source", words=named(WHOSE), **first)
            st.date_input(t("From"), key="since", value=None, format="YYYY-MM-DD", **held)
            st.date_input(t("To (this day included)"), key="until", value=None, format="YYYY-MM-DD", **held)
        if any(_given(name) for name in OFF):
            st.button(t("Clear"), icon=":material/filter_alt_off:", type="tertiary", key="clear", on_click=clear)
    state = st.session_state
    return Filter(
        systems=() if state.get("all") else (system.id,),
        kinds=tuple(kinds) or REPORTED,
        states=tuple(states),
        decisions=tuple(state["decision"]),
        months=state["month"].strip(),
        since=midnight(state["since"]),
        until=midnight(state["until"], days=1),
        acknowledged=SEEN[seen][1],
        text=state["find"].strip(),
        sources=own_sources(system, every=bool(state.get("all"))),
        elsewhere=WHOSE[whose][1],
    )


def named(options: Mapping[str, tuple[str, Any]]) -> Callable[[str], str]:
    """How an option of these is called on screen."""
    return lambda option: t(options[option][0])


def own_sources(system: System, *, every: bool = False) -> frozenset[str]:
    """The fingerprints of this system's own data and service, or of those of every system."""
    systems = cache.systems().by_id if every else [system.id]
    return frozenset().union(*(cache.own_sources(name) for name in systems))


def _given(name: str) -> bool:
    """Whether a filter hides runs; before it is drawn for the first time, whether the address sets it."""
    if name in st.session_state:
        return st.session_state[name] not in (OFF[name], (), None)
    return any(st.query_params.get_all(name))


def midnight(day: Any, days: int = 0) -> float | None:
    """The beginning of a day (or of one so many days later) on the reader's clock, in epoch seconds."""
    if day is None:
        return None
    moment = datetime(day.year, day.month, day.day, tzinfo=widgets.zone()) + timedelta(days=days)
    return moment.timestamp()


def clear() -> None:
    """Every filter off, first page."""
    for name, value in OFF.items():
        st.session_state[name] = list(value) if isinstance(value, list) else value
    st.session_state["page"] = 1
