"""A report from elsewhere becomes a run of this library: an HTML, a JSON, or both of one comparison."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Final

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from app.config import System
from app.drift import importing
from app.drift.importing import MAX_NAME
from app.errors import AlreadyImported, ReportError, VigieError
from app.ui import cache, reports, run_filters, widgets
from app.ui.access import act
from app.words.message import sentences, t

READ: Final = t(
    "Read are the JSON of Evidently 0.7.15 (with `metric_id`), the JSON of today's Evidently, and an HTML of any "
    "version, of 0.4 too. The HTML and the JSON of one comparison are one run: give both at once. From an HTML alone "
    "no number is read: its share and its decision stay unknown."
)
_CLOSE: Final = "import_close"


def button(system: System) -> None:
    """The way in, on the head of the page."""
    if st.button(t("Import a report"), icon=":material/upload_file:", key="import"):
        _ask(system)


def _ask(system: System) -> None:
    @st.dialog(t("Import a report"), width="medium", icon=":material/upload_file:")
    @widgets.guarded
    def ask() -> None:
        if st.session_state.pop(_CLOSE, False):
            st.rerun()
        becomes = t("It becomes a run of **{system}**.", system=widgets.plain(t(system.title)))
        st.markdown(sentences([becomes, READ]))
        given = st.file_uploader(t("Files"), type=["html", "json"], accept_multiple_files=True, key="import-files")
        with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
            name = st.text_input(
                t("Name"),
                key="import-name",
                max_chars=MAX_NAME,
                placeholder=t("what it is, or reference_vs_current"),
            )
            day = st.date_input(t("Made on"), key="import-day", value=None, format="YYYY-MM-DD", width=150)
        st.caption(t("The months are read from the name, or from that of the file: 2024-01-31_vs_2024-02-29."))
        if st.button(
            t("Import"), type="primary", icon=":material/upload_file:", key="really-import", disabled=not given
        ):
            _import(system, given, name.strip() or given[0].name, day)

    ask()


def _import(system: System, given: Sequence[UploadedFile], name: str, day: date | None) -> None:
    """Read, keep, open. What cannot be read is reported in the dialog, where the files still are."""
    try:
        html, json = (_only(given, kind) for kind in ("html", "json"))
        with st.spinner(t("Reading the report …")):
            at = run_filters.midnight(day)
            run = act(importing.import_report, cache.settings(), system, html=html, json=json, name=name, at=at)
    except VigieError as error:
        widgets.problem(error, title=t("Nothing was imported."))
        if isinstance(error, AlreadyImported):
            icon, run_id = ":material/open_in_new:", error.run
            st.button(t("Open that run"), icon=icon, key="open-imported", on_click=_open, args=(run_id,))
        return
    cache.forget_runs()
    reports.pick([run.id])
    st.toast(t("The report was imported: it is open below the list."), icon=":material/upload_file:")
    st.rerun()


def _open(run_id: str) -> None:
    """Runs before the dialog is drawn again, which then closes."""
    reports.pick([run_id])
    st.session_state[_CLOSE] = True


def _only(given: Sequence[UploadedFile], kind: str) -> bytes | None:
    """The one file of a kind; None without one. Raises ReportError when there are more."""
    files = [one for one in given if one.name.lower().endswith(f".{kind}")]
    if len(files) > 1:
        message = t("{files} {kind} files were given; a run has one.", files=len(files), kind=kind.upper())
        raise ReportError(message, hint=t("Import one comparison at a time."))
    return files[0].getvalue() if files else None
