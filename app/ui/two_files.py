"""Two files given on Compare months: compared without a system file, by the drift worker, as their own run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NoReturn

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from app import jobs
from app.config import System
from app.config.drift import DEFAULT_THRESHOLD
from app.drift import uploads
from app.drift.tables import Rules
from app.drift.uploads import Given
from app.errors import VigieError
from app.periods import Period
from app.ui import cache, comparison, widgets
from app.ui.access import act
from app.words.message import t
from app.words.shared import SHARE_THRESHOLD

ABOUT: Final = t(
    "CSV (UTF-8, commas) or Parquet, up to 60 MB each: every row one subject, every column one feature. It becomes a "
    "run of its own: it moves no gauge of this system and is not its latest decision. The files are removed when it "
    "ends."
)


def section(system: System) -> None:
    """The two files, what their columns are, and the button; folded until someone opens it."""
    with st.expander(t("Compare two files instead"), icon=":material/upload_file:", key="two-files"):
        st.caption(t(ABOUT))
        first, second = st.columns(2)
        ref = first.file_uploader(t("Reference file"), type=["csv", "parquet"], key=f"ref-file-{system.id}")
        cur = second.file_uploader(t("Current file"), type=["csv", "parquet"], key=f"cur-file-{system.id}")
        if ref is None or cur is None:
            return
        try:
            names = _columns(ref, cur)
        except VigieError as error:
            widgets.problem(error, title=t("These files cannot be compared."))
            return
        rules = _rules(system, names)
        if st.button(t("Compare files"), type="primary", icon=":material/compare_arrows:", key="compare-files"):
            _start(system, ref, cur, rules)


def alone(system: System) -> NoReturn:
    """The end of a page without months to pick: two files can be compared all the same."""
    section(system)
    comparison.follow_given(system)
    widgets.ready("drift")
    st.stop()


def months(system: System) -> list[Period]:
    """The months of a system; where they cannot be listed that is reported, and the page ends with `alone`."""
    try:
        return cache.periods(system)
    except VigieError as error:
        widgets.problem(error)
        alone(system)


def _columns(ref: UploadedFile, cur: UploadedFile) -> list[str]:
    """The columns of both files, those of the reference first."""
    both = [*uploads.columns(Given(ref.name, ref)), *uploads.columns(Given(cur.name, cur))]
    return list(dict.fromkeys(both))


def _rules(system: System, names: Sequence[str]) -> Rules:
    """Threshold, label, identifier and columns left out, as picked."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        threshold = st.number_input(
            t("Threshold"), 0.0, 1.0, DEFAULT_THRESHOLD, 0.05, "%g", key=f"files-threshold-{system.id}", width=120,
            help=t(SHARE_THRESHOLD),
        )  # fmt: skip
        picked: dict[str, Any] = {"options": [None, *names], "format_func": _or_none, "width": 220}
        truth = t("The column of the truth: its rate gives the target drift, and it does not count as a feature.")
        label = st.selectbox(t("Label"), key=f"files-label-{system.id}", help=truth, **picked)
        subject = t("The column that names a row's subject; never compared.")
        identifier = st.selectbox(t("Identifier"), key=f"files-identifier-{system.id}", help=subject, **picked)
    left_out = st.multiselect(t("Columns to leave out"), names, key=f"files-left-out-{system.id}")
    return Rules(threshold=threshold, label=label, identifier=identifier, left_out=tuple(left_out))


def _or_none(name: str | None) -> str:
    return name or t("none")


def _start(system: System, ref: UploadedFile, cur: UploadedFile, rules: Rules) -> None:
    """Hand both over and follow their run, here and after a reload."""
    given = Given(ref.name, ref), Given(cur.name, cur)
    try:
        run = act(uploads.start, cache.settings(), system.id, *given, rules, begin=jobs.start)
    except VigieError as error:
        widgets.problem(error, title=t("Nothing was started."))
        return
    cache.forget_runs()
    st.query_params["run"] = run
    st.rerun()
