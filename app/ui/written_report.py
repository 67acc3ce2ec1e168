"""One written report in the library: what it covers, its files, what it lacks, and the report itself in its frame."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from app.errors import VigieError
from app.report.record import Kept
from app.runs.kinds import REPORT
from app.runs.result import read_result_in
from app.runs.run import Run
from app.ui import widgets
from app.ui.banner import files, report
from app.ui.language import NAMES
from app.ui.notes import notes
from app.words.message import t, tn
from app.words.shared import capital


def show(run: Run) -> None:
    """Its head with downloads, and below it the page."""
    try:
        kept = read_result_in(Path(run.path), REPORT, Kept)
    except VigieError as error:
        widgets.problem(error)
        notes(run)
        return
    with st.container(border=True, key="written-report"):
        st.markdown(f"### {widgets.plain(kept.title)}")
        spoken = NAMES.get(kept.asked.language, kept.asked.language)
        numbers = tn("{n:count} number with its origin", "{n:count} numbers with their origin", kept.numbers)
        st.markdown(f"{widgets.plain(capital(t(run.reason)))}. {widgets.plain(spoken)} · {widgets.plain(numbers)}")
        if kept.gaps:
            label = tn("{n} part has no data", "{n} parts have no data", len(kept.gaps))
            with st.expander(widgets.plain(label), icon=":material/rule:"):
                for gap in kept.gaps:
                    st.markdown(f"- **{widgets.plain(gap.why)}** {widgets.plain(gap.step)}")
        files(run)
        notes(run)
    report(run)
