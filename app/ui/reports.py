"""The parts of the Reports page that list runs: their order, one page of the table, what is ticked.

The ids in the address (`?run=…`, once for each ticked run) are the truth; the ticks of the table follow them. A tick
is a position to Streamlit, so the table gets a new key whenever other runs are in it: a position kept from before
would be another run.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any, Final, Literal

import pandas as pd
import streamlit as st

from app.charts.columns import NO_SIZE
from app.config import System
from app.drift.result import Verdict
from app.errors import LedgerError
from app.report.request import title
from app.runs.kinds import REPORT, title_of
from app.runs.run import Filter, Note, Run, State
from app.runs.words import months, noted, share_words, state_word, why
from app.ui import cache, palette, widgets
from app.ui.address import picked_one
from app.ui.palette import TONES
from app.ui.picked import link_params
from app.ui.run_filters import REPORTED, clear, first_page, named
from app.verdict import Tone
from app.words.message import t, tn
from app.words.numbers import counts_moved, number
from app.words.units import format_duration, format_value

RUN_KEY: Final = "run"
# What an address may name at once: two are compared, more are only listed.
MOST_PICKED: Final = 20
PER_PAGE: Final = (25, 50, 100)
# What a person sorts by, in the address and on screen -> the ledger's key.
SORTS: Final[Mapping[str, tuple[str, str]]] = {
    "date": (t("date"), "created"),
    "reference month": (t("reference month"), "ref"),
    "current month": (t("current month"), "cur"),
    "decision": (t("decision"), "outcome"),
    "share": (t("share"), "share"),
    "target drift": (t("target drift"), "target_drift"),
    "rows": (t("rows"), "rows_cur"),
    "duration": (t("duration"), "seconds"),
    "size": (t("size"), "bytes"),
}
# The columns of the table: id -> head, width, and what a click on the head sorts all runs by, those of other pages too.
COLUMNS: Final[Mapping[str, tuple[str, int, str | None]]] = {
    "when": (t("when"), 136, "date"),
    "months": (t("months"), 162, "current month"),  # no catalogue: a key
    "decision": (t("decision"), 178, "decision"),
    "drifted": (t("drifted"), 102, "share"),
    "target drift": (t("target drift"), 88, "target drift"),  # no catalogue: a key
    "noted": (t("noted"), 148, None),
    "source": (t("source"), 78, None),
    "rows": (t("rows"), 106, "rows"),
    "took": (t("took"), 72, "duration"),
    "size": (t("size"), 76, "size"),
    "kind": (t("kind"), 76, None),
    "system": (t("system"), 100, None),
    "in words": (t("in words"), 700, None),
}
RIGHT: Final = ("drifted", "target drift", "rows", "took", "size")  # no catalogue: keys
# Largest or newest first, or the other way round; as they are in the address.
DIRECTIONS: Final = ("↓", "↑")
# Rows of the table while a run is open below it: the banner then still is on a laptop's screen.
ROWS_BESIDE_RUN: Final = 7
# How long the page says that the index was made anew: someone looks once a day.
SAID_SECONDS: Final = 86_400.0
# Height of a row and of the head, so that the table ends with its last row.
ROW_PIXELS, HEAD_PIXELS = 31, 34
# A shape for each word, so that no decision speaks through colour alone.
MARKS: Final[Mapping[str, tuple[str, Tone]]] = {
    Verdict.RETRAINING_TRIGGERED: ("▲", "bad"),
    Verdict.NO_ACTION: ("●", "good"),
    Verdict.UNDECIDED: ("○", "unknown"),
    State.QUEUED: ("…", "unknown"),
    State.RUNNING: ("…", "unknown"),
    State.FAILED: ("✕", "bad"),
    State.CANCELLED: ("–", "unknown"),
    State.INTERRUPTED: ("✕", "warning"),
}
_NONCE = "library_nonce"


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of runs out of `total`; `head` is the column they are sorted by; the notes on each of them by id."""

    runs: Sequence[Run]
    total: int
    notes: Mapping[str, Sequence[Note]]
    head: str
    descending: bool


def look(filters: Filter) -> Listing:
    """How many runs fit, in which order, and the page of them that is asked for. Raises LedgerError."""
    ledger = cache.ledger()
    total = ledger.library_count(filters)
    if not total:
        return Listing((), 0, {}, "date", descending=True)
    with st.container(key="library-order", horizontal=True, vertical_alignment="center", gap="small"):
        place = st.container(horizontal=True, vertical_alignment="center", gap="small", width="content")
        st.space("stretch")
        sort, descending, per_page = _order()
        with place:
            page = _page(total, per_page)
    runs = ledger.library(
        filters, sort=SORTS[sort][1], descending=descending, limit=per_page, offset=(page - 1) * per_page
    )
    return Listing(runs, total, ledger.notes_of([run.id for run in runs]), sort, descending)


def _order() -> tuple[str, bool, int]:
    """By what all runs are sorted, whether the largest comes first, and how many are on a page."""
    common: dict[str, Any] = {"label_visibility": "collapsed", "on_change": first_page}
    held = {"bind": "query-params", **common}
    st.caption(t("Sorted by"), width="content")
    sort = picked_one(t("Sort by"), list(SORTS), key="sort", words=named(SORTS), width=170, **common)
    order = st.segmented_control(t("Order"), DIRECTIONS, key="order", default=DIRECTIONS[0], required=True, **held)
    on_page = t("Runs on a page")
    per_page = st.selectbox(on_page, PER_PAGE, key="per", width=80, help=on_page, **held)
    return sort, order == DIRECTIONS[0], int(per_page)


def _page(total: int, per_page: int) -> int:
    """How many runs there are, and which page of them."""
    pages = math.ceil(total / per_page)
    if pages == 1:
        st.markdown(tn("**{n:count} run**", "**{n:count} runs**", total), width="content")
        return 1
    place = st.empty()
    if st.session_state.get("page", 1) > pages:
        st.session_state["page"] = pages
    page = st.pagination(pages, key="page", bind="query-params", max_visible_pages=5)
    text = tn(
        "**{n:count} run** · page {page:count} of {pages:count}",
        "**{n:count} runs** · page {page:count} of {pages:count}",
        total,
        page=page,
        pages=pages,
    )
    place.markdown(text, width="content")
    return page


def made_anew() -> None:
    """For a day: the index was lost or damaged, what was taken over from it, and what was not."""
    if words := cache.ledger().made_anew(time.time() - SAID_SECONDS):
        st.caption(f":material/info: {widgets.plain(words)}")


def sick(error: LedgerError) -> None:
    """The index cannot be read: what, why, and that nothing is lost."""
    widgets.problem(error, title=t("The list of runs cannot be read."))
    with st.container(border=True):
        st.markdown(
            t(
                "**No report is lost.** They lie in the report directory, one folder for each run, and a new index is "
                "made from them."
            )
        )
        st.button(t("Try again"), icon=":material/refresh:")


def nothing(system: System, filters: Filter) -> None:
    """No run fits, or there is none yet: what, why, and one button that helps."""
    with st.container(border=True, key="library-empty"):
        if replace(filters, systems=(), kinds=(), sources=()) != Filter() or filters.kinds != REPORTED:
            st.markdown(t("**No run fits these filters.**\n\nThe runs are still there: fewer filters show them."))
            st.button(t("Clear filters"), icon=":material/filter_alt_off:", key="clear-empty", on_click=clear)
            return
        none = t("No report yet.")
        if filters.systems:
            none = t("No report of {system} yet.", system=widgets.plain(t(system.title)))
        if system.drift is None:
            why = t("This system names no data to compare. A report can be imported.")
        else:
            why = t(
                "Each comparison of two months is kept here with its decision, its report and what people noted on it."
            )
        st.markdown(f"**{none}**\n\n{why}")
        if system.drift is not None and st.button(
            t("Compare months"), type="primary", icon=":material/compare_arrows:", key="to-drift"
        ):
            st.switch_page("../pages/drift.py", query_params=link_params())


# --- the table -------------------------------------------------------------------------------------------------------


def table(filters: Filter, listing: Listing) -> list[str]:
    """One page of runs; the ids that are ticked, here or on other pages."""
    ids = [run.id for run in listing.runs]
    asked = picked()
    ticked = [place for place, one in enumerate(ids) if one in asked]
    key = _key(ids, ticked)
    frame = rows(listing, filters.sources, all_systems=not filters.systems)
    shown = min(len(ids), ROWS_BESIDE_RUN) if asked else len(ids)
    modes: tuple[Literal["multi-row"], Literal["single-column"]] = ("multi-row", "single-column")
    with st.container(key="library-table"):
        st.dataframe(
            frame.style.apply(lambda _: [_colour(run) for run in listing.runs], subset=["decision"]),
            key=key,
            hide_index=True,
            height=HEAD_PIXELS + ROW_PIXELS * shown,
            row_height=ROW_PIXELS,
            on_select=partial(_selected, key, ids),
            selection_mode=modes,
            selection_default={"selection": {"rows": ticked, "columns": []}},
            column_config=_columns(listing),
        )
    return asked


def rows(listing: Listing, own: Collection[str], *, all_systems: bool) -> pd.DataFrame:
    """One row of words for each run; what is not known is a word. `own` are fingerprints of the systems' sources."""
    clock = widgets.clock()
    lines = []
    for run in listing.runs:
        when = datetime.fromtimestamp(run.created, tz=clock.tz).strftime("%Y-%m-%d %H:%M:%S")
        system = {"system": run.system} if all_systems else {}
        lines.append({"when": when, **system, **cells(run, listing.notes.get(run.id, ()), own)})
    frame = pd.DataFrame(lines)
    # While every run is of the system's own source the column says nothing.
    theirs = all(run.source.fingerprint and run.source.fingerprint in own for run in listing.runs)
    return frame.drop(columns="source") if lines and theirs else frame


def cells(run: Run, notes: Sequence[Note], own: Collection[str]) -> dict[str, str]:
    """What the table says of one run, next to when it was."""
    written = {} if run.kind != REPORT else {"months": title(run.key), **dict.fromkeys(RIGHT[:3], NO_SIZE)}
    return {
        "months": months(run),
        "decision": t("{decision} (deleted)", decision=decision_word(run)) if run.gone else decision_word(run),
        "drifted": share_words(run),
        "target drift": number(run.target_drift),
        "noted": noted(notes),
        "source": run.source.word(own),
        "rows": counts_moved(run.rows_ref, run.rows_cur),
        "took": format_duration(run.seconds),
        "size": format_value(run.bytes, "bytes"),
        "kind": title_of(run.kind),
        "in words": why(run),
        **written,
    }


def decision_word(run: Run) -> str:
    """`▲ RETRAINING_TRIGGERED`; of a run without a decision its state."""
    word = (run.outcome or t("no decision")) if run.state is State.DONE else state_word(run.state)
    return f"{_mark(run)[0]} {word}"


def _mark(run: Run) -> tuple[str, Tone]:
    return MARKS.get(run.outcome if run.state is State.DONE else run.state, ("○", "unknown"))


def _colour(run: Run) -> str:
    return f"color: {TONES[palette.theme()][_mark(run)[1]]}"


def _columns(listing: Listing) -> dict[str, Any]:
    """Heads and widths, and an arrow at the head of the column that all runs are sorted by."""
    columns = {}
    for name, (head, width, order) in COLUMNS.items():
        arrow = f" {DIRECTIONS[not listing.descending]}" if order == listing.head else ""
        side: Literal["left", "right"] = "right" if name in RIGHT else "left"
        hint = t("Click: sort all runs by {order}", order=SORTS[order][0]) if order else None
        columns[name] = st.column_config.TextColumn(f"{t(head)}{arrow}", width=width, alignment=side, help=hint)
    return columns


# --- what is ticked --------------------------------------------------------------------------------------------------


def picked() -> list[str]:
    """The runs of the address, in the order in which they were ticked."""
    return list(dict.fromkeys(st.query_params.get_all(RUN_KEY)))[:MOST_PICKED]


def pick(ids: Sequence[str]) -> None:
    """Open these runs and no others."""
    if ids:
        st.query_params[RUN_KEY] = list(ids)
    else:
        st.query_params.pop(RUN_KEY, None)


def _key(ids: Sequence[str], ticked: Sequence[int]) -> str:
    """The key of the table: another one for other runs, and when the address says other ticks than the table has."""
    digest = hashlib.sha256("\n".join([*ids, palette.theme()]).encode()).hexdigest()[:12]
    key = f"library-{digest}-{st.session_state.setdefault(_NONCE, 0)}"
    if key in st.session_state and set(st.session_state[key]["selection"]["rows"]) != set(ticked):
        st.session_state[_NONCE] += 1
        key = f"library-{digest}-{st.session_state[_NONCE]}"
    return key


def _selected(key: str, ids: Sequence[str]) -> None:
    """A click in the table: rows change the address, the head of a column changes the order."""
    chosen = st.session_state[key]["selection"]
    if chosen["columns"]:
        # A new table: it has no column selected, and its head shows the new order.
        st.session_state[_NONCE] += 1
        _sort_by(COLUMNS[str(chosen["columns"][0])][2])
        return
    here = [ids[place] for place in chosen["rows"] if place < len(ids)]
    before = [one for one in picked() if one not in ids or one in here]
    pick([*before, *(one for one in here if one not in before)])


def _sort_by(name: str | None) -> None:
    if name is None:
        st.toast(t("Runs cannot be sorted by this column."))
        return
    state = st.session_state
    if state.get("sort") == name:
        state["order"] = DIRECTIONS[state.get("order") == DIRECTIONS[0]]
    else:
        state["sort"], state["order"] = name, DIRECTIONS[0]
    state["page"] = 1


def picked_line(ids: Sequence[str]) -> None:
    """What is open, and how to close it or to compare."""
    if not ids:
        return
    with st.container(key="library-picked", horizontal=True, vertical_alignment="center", gap="small"):
        words = {1: t("1 run ticked. Tick another to compare the two."), 2: t("2 runs ticked: side by side.")}
        st.caption(words.get(len(ids)) or t("{runs} runs ticked.", runs=len(ids)), width="content")
        label = t("Close") if len(ids) == 1 else t("Untick all")
        st.button(label, icon=":material/close:", type="tertiary", key="untick", on_click=pick, args=((),))


def too_many(ids: Sequence[str]) -> None:
    """More than two runs cannot be put side by side."""
    with st.container(border=True):
        st.markdown(
            t(
                "**{runs} runs are ticked, two can be compared.**\n\n"
                "Untick all but two; ticks on other pages count too.",
                runs=len(ids),
            )
        )
        st.button(t("Compare the last two"), icon=":material/compare:", on_click=pick, args=(tuple(ids[-2:]),))
