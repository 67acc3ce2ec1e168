"""One run of the library: what it decided, its report, its files, its notes, and the way to delete it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import streamlit as st

from app.config import System
from app.errors import ReportError, ReportNotFound, VigieError
from app.runs import keep, reports
from app.runs.kinds import DRIFT, REPORT, kind_of, title_of
from app.runs.result import RESULT
from app.runs.run import Note, Run, State
from app.runs.words import acknowledged, months, share_words
from app.ui import cache, widgets, written_report
from app.ui.access import act
from app.ui.banner import files, frame, read, report, report_of, verdict
from app.ui.notes import notes
from app.ui.picked import SYSTEM_KEY
from app.ui.reports import RUN_KEY, decision_word, pick, picked
from app.ui.why import why
from app.words.message import t, tn
from app.words.shared import NO_REASON, RUN_ELSEWHERE, capital
from app.words.units import format_time

VIEWS: Final = ("why", "report")
ENDED: Final = {
    State.FAILED: t("This run failed."),
    State.CANCELLED: t("This run was cancelled."),
    State.INTERRUPTED: t("This run was interrupted."),
}


def show(run_id: str) -> None:
    """The run of that id in one frame, with all that is known of it."""
    run = cache.ledger().get(run_id)
    if run is None:
        widgets.empty(t("There is no run {run}.", run=run_id), t(RUN_ELSEWHERE))
        return
    with st.container(key="kept-run"):
        _head(run)
        if run.kind != REPORT:  # it moves no gauge wherever its numbers are from
            elsewhere(run)
        if not run.state.final:
            why_not = t("It can be opened once it has ended; Refresh looks again.")
            widgets.empty(t("This run is still going."), why_not)
        elif run.state is not State.DONE:
            _ended(run)
        elif run.gone:
            files_deleted(run)
        else:
            _done(run)


def _head(run: Run) -> None:
    """Which run this is, and what can be done with it."""
    with st.container(key="kept-head", horizontal=True, vertical_alignment="center", gap="small"):
        when = format_time(run.created, widgets.clock())
        name, kind = widgets.plain(t("Run {run}", run=run.id)), widgets.plain(title_of(run.kind))
        st.markdown(f"**{name}** · {widgets.plain(run.system)} · {kind} · {when}", width="content")
        st.space("stretch")
        page = {"drift": ("drift", t("Open on Compare months")), "load": ("traffic", t("Open on Generate traffic"))}
        if run.kind in page and run.system in cache.systems().by_id:
            name, label = page[run.kind]
            st.page_link(
                f"../pages/{name}.py",
                label=label,
                icon=":material/open_in_new:",
                query_params={SYSTEM_KEY: run.system, RUN_KEY: run.id},
            )
        if not run.state.final and st.button(t("Refresh"), icon=":material/refresh:", key="refresh-run"):
            cache.forget_runs()
        if st.button(t("Delete"), icon=":material/delete:", key="delete-run"):
            _delete(run)


def elsewhere(run: Run) -> None:
    """A line on a run that is not of its system's own source: where its data came from, and what follows."""
    own = cache.own_sources(run.system) if run.system in cache.systems().by_id else frozenset()
    if words := run.source.elsewhere(own):
        st.caption(f":material/database: {widgets.plain(words)}")


def _ended(run: Run) -> None:
    """A run without a result: why, as far as it was written down."""
    reason = t(run.reason or NO_REASON)
    if run.state is State.FAILED:
        widgets.problem(VigieError(reason), title=t(ENDED[run.state]))
    else:
        widgets.empty(t(ENDED[run.state]), reason)
    notes(run)


def files_deleted(run: Run) -> None:
    """The files are deleted; the index still knows what was decided."""
    with st.container(border=True, key="verdict-undecided"):
        frame(t("FILES DELETED"), f" · {widgets.plain(decision_word(run))}", "unknown")
        text = t(
            "The report of this run was deleted, to keep the disk bounded (VIGIE_KEEP_BYTES) or by hand. What the "
            "index kept: {months}, share {share}, target drift {target:number}.",
            months=months(run),
            share=share_words(run),
            target=run.target_drift,
        )
        st.markdown(widgets.plain(text))
        if run.reason:
            st.markdown(widgets.plain(capital(t(run.reason))))
        notes(run)


def _done(run: Run) -> None:
    """A finished run: the verdict with its table where numbers are known, and the report."""
    if not kind_of(run.kind).report:
        # A load run: its numbers and charts are on the page that its head links to.
        widgets.empty(t("This run has no report."), run.reason)
        notes(run)
        return
    if run.kind == REPORT:
        written_report.show(run)
        return
    try:
        result = read(run) if RESULT in reports.read_meta(Path(run.path)).files else None
    except ReportError as error:
        widgets.problem(error)
        notes(run)
        return
    has_page = report_of(run) is not None
    if result is None:
        _without_numbers(run)
    else:
        verdict(_system_of(run), run, result)
        views = VIEWS if has_page else VIEWS[:1]
        view = st.segmented_control(
            t("View"),
            views,
            key="kept-view",
            default=VIEWS[0],
            required=True,
            format_func=lambda name: t("Why") if name == VIEWS[0] else t("Evidently report"),
            label_visibility="collapsed",
        )
        if view == VIEWS[0]:
            why(result)
            return
    if has_page:
        report(run)


def _system_of(run: Run) -> System:
    """The system of the run; of one whose file is gone no more than its name."""
    system = cache.systems().by_id.get(run.system)
    return system or System.model_validate({"id": run.system, "title": run.system})


def _without_numbers(run: Run) -> None:
    """A report that is only there to be read: what is unknown and why, in the frame of every verdict."""
    with st.container(border=True, key="verdict-undecided"):
        frame(t("NOT DECIDED HERE"), f" · {widgets.plain(t('{kind} report', kind=title_of(run.kind)))}", "unknown")
        reason = run.reason or t("this run came without numbers: there is a report, and no JSON of it.")
        st.markdown(widgets.plain(capital(t(reason))))
        st.markdown(
            t(
                "Share of drifted columns **unknown** · target drift **unknown** · columns **unknown**: a report "
                "without its JSON is a picture, nothing in it can be counted."
            )
        )
        files(run)
        notes(run)


# --- deleting --------------------------------------------------------------------------------------------------------


def _delete(run: Run) -> None:
    """Ask before a run goes, naming it and what goes with it."""

    @st.dialog(t("Delete this run?"), icon=":material/delete:")
    @widgets.guarded
    def ask() -> None:
        if not run.state.final:
            text = t("This run is still going. Cancel it first: a running comparison is not deleted under itself.")
            st.markdown(text)
            return
        written = cache.ledger().notes(run.id)
        st.markdown(_what_goes(run, written))
        sure = True
        if acknowledged(written):
            label = t("Somebody acknowledged this decision. Delete it all the same.")
            sure = st.checkbox(label, key=f"sure-{run.id}")
        with st.container(horizontal=True, gap="small"):
            pressed = st.button(
                t("Delete"), type="primary", icon=":material/delete:", key="really-delete", disabled=not sure
            )
            if st.button(t("Keep it"), key="keep-run"):
                st.rerun()
        if pressed:
            _remove(run)

    ask()


def _what_goes(run: Run, written: list[Note]) -> str:
    """The run by name, and everything that is removed with it."""
    covers = t(run.reason) if run.kind == REPORT else t("months {months}", months=months(run))
    facts = (run.system, covers, decision_word(run))
    parts = [t("its files ({size:bytes})", size=run.bytes), t("its line in this list")]
    if written:
        parts.append(tn("{n:count} note", "{n:count} notes", len(written)))
    removed = t("Removed: {parts}. This cannot be undone.", parts=", ".join(parts))
    paragraphs = [f"**{run.id}** · {' · '.join(widgets.plain(fact) for fact in facts)}", widgets.plain(removed)]
    if run.kind == DRIFT:
        published = t(
            "The files published under the names of these months become those of the newest run that remains of them, "
            "or go as well."
        )
        paragraphs.append(published)
    elif run.kind == REPORT:
        published = t(
            "The files published under its names become those of the newest report that remains, or go as well."
        )
        paragraphs.append(published)
    return "\n\n".join(paragraphs)


def _remove(run: Run) -> None:
    try:
        act(keep.delete, cache.settings(), cache.systems(), run.id)
    except ReportNotFound:
        cache.forget_runs()
        pick([one for one in picked() if one != run.id])
        st.toast(t("Run {run} was deleted already.", run=run.id), icon=":material/delete:")
        st.rerun()
    except VigieError as error:
        cache.forget_runs()
        # The index has the final state: a run can be gone and a file it had published still there.
        kept = cache.ledger().get(run.id) is not None
        title = t("Nothing was deleted.") if kept else t("The run is deleted, and something is left.")
        widgets.problem(error, title=title)
        return
    pick([one for one in picked() if one != run.id])
    cache.forget_runs()
    st.toast(t("Run {run} was deleted.", run=run.id), icon=":material/delete:")
    st.rerun()
