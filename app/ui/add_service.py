"""The parts of the Add a service page: an address, what was found there, the file, what came of trying it, Save."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pandas as pd
import streamlit as st

from app.check import Outcome, Report, check
from app.config import Settings, System
from app.errors import ConfigError, VigieError
from app.propose import (
    MAX_CHARS,
    Confidence,
    Proposal,
    announces,
    propose,
    read,
    renamed,
    save,
    target_folder,
)
from app.ui import cache, exports, widgets
from app.ui.access import act
from app.ui.palette import MARKDOWN, SHAPES
from app.ui.picked import SYSTEM_KEY
from app.verdict import Tone
from app.words.message import sentences, t

# Session keys, hidden from the page.
PROPOSAL: Final = "own_proposal"
TEXT: Final = "own_text"
NAME: Final = "own_name"
TRIED: Final = "own_tried"
SAVED: Final = "own_saved"
# About 25 lines: a screen of the file without a scroll bar inside a scroll bar.
EDITOR_HEIGHT = 520
# A table of rows as high as it is long, up to a screen.
ROW_PIXELS, MOST_PIXELS = 35, 620
TABS: Final = (t("What was found"), t("The file"), t("Tried"), t("Prometheus job"))
SURENESS: Final[dict[Confidence, tuple[str, Tone]]] = {
    Confidence.SURE: (t("sure"), "good"),
    Confidence.LIKELY: (t("likely"), "warning"),
    Confidence.MISSING: (t("missing"), "unknown"),
}
MARKS: Final = {
    Outcome.OK: t("✓ OK"),
    Outcome.EMPTY: t("○ empty"),
    Outcome.ERROR: t("✕ fails"),
    Outcome.SKIPPED: t("– not tried"),
}


def address_form() -> None:
    """An address and Read; what was found is kept for this visit."""
    with (
        st.form(key="own-address", border=False),
        st.container(horizontal=True, vertical_alignment="bottom", gap="small"),
    ):
        url = st.text_input(t("Address of the service"), key="own_url", placeholder="http://127.0.0.1:8000", width=420)
        pressed = st.form_submit_button(t("Read"), type="primary", icon=":material/search:")
    if not pressed:
        return
    for key in (PROPOSAL, TRIED, SAVED):
        st.session_state.pop(key, None)
    if not url.strip():
        widgets.problem(ConfigError(t("No address was typed."), hint=t("For example http://127.0.0.1:8000.")))
        return
    try:
        with st.spinner(t("Reading /openapi.json and /metrics …")):
            draft = act(propose, cache.settings(), url)
    except VigieError as error:
        widgets.problem(error, title=t("Nothing can be proposed."))
        return
    st.session_state[PROPOSAL] = draft
    st.session_state[TEXT], st.session_state[NAME] = draft.toml, draft.id


def proposal() -> Proposal | None:
    """What was found last on this visit."""
    draft = st.session_state.get(PROPOSAL)
    # After a hot reload an object of the earlier class may be here: it is read again.
    if not isinstance(draft, Proposal):
        return None
    # Streamlit forgets what a widget held once it is not drawn: on another page, or after Save.
    draft = replace(draft, toml=st.session_state.setdefault(TEXT, draft.toml))
    st.session_state.setdefault(NAME, draft.id)
    st.session_state[PROPOSAL] = draft
    return draft


def validated(settings: Settings) -> tuple[System | None, VigieError | None]:
    """The system that the text on the page describes, or what is wrong with it."""
    try:
        return read(settings, st.session_state.get(NAME, "").strip(), st.session_state.get(TEXT, "")), None
    except VigieError as error:
        return None, error


def tried(settings: Settings, system: System) -> Report:
    """Each part of the file, tried once for each text; the button tries again."""
    text = f"{system.id}\n{st.session_state.get(TEXT, '')}"
    kept = st.session_state.get(TRIED)
    if not kept or kept[0] != text or not isinstance(kept[1], Report):
        with st.spinner(t("Trying each part of the file …")):
            kept = st.session_state[TRIED] = (text, act(check, settings, system))
    return kept[1]


def verdict(draft: Proposal, error: VigieError | None, report: Report | None) -> None:
    """The answer as text, the id, and Save."""
    settings = cache.settings()
    frame = "trigger" if error else "undecided" if report is None or report.failed else "none"
    with st.container(border=True, key=f"verdict-{frame}"):
        st.subheader(widgets.plain(draft.title), anchor=False)
        missing = [one.part for one in draft.findings if one.confidence is Confidence.MISSING]
        parts = {"n_found": len(draft.findings) - len(missing), "parts": len(draft.findings)}
        if missing:
            names = widgets.plain(", ".join(map(t, missing)))
            sentence = t("{n_found} of {parts} parts were found; not found: {missing}.", **parts, missing=names)
        else:
            sentence = t("{n_found} of {parts} parts were found.", **parts)
        outcome = t("Tried: {outcome}", outcome=widgets.plain(report.sentence)) if report else ""
        st.markdown(sentences([sentence, outcome]))
        if error is not None:
            widgets.problem(error)
        if st.session_state.get(SAVED):
            _open_saved(st.session_state[SAVED])
            return
        with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
            st.text_input(
                t("Name of the file"), key=NAME, width=220, on_change=_rename, help=t("The id of the new system.")
            )
            pressed = st.button(t("Save"), type="primary", icon=":material/save:", disabled=error is not None)
            if st.button(t("Try again"), icon=":material/refresh:", disabled=error is not None):
                st.session_state.pop(TRIED, None)
                st.rerun()
        folder = widgets.plain(str(target_folder(settings)))
        st.caption(t("Saved in {folder}; no file is overwritten.", folder=folder))
        if pressed:
            _save(settings)


def _rename() -> None:
    """A new name goes through the file, where the old one is as its job."""
    draft, name = proposal(), st.session_state[NAME].strip()
    if draft is not None and name:
        changed = renamed(replace(draft, toml=st.session_state[TEXT]), name)
        st.session_state[PROPOSAL], st.session_state[TEXT] = changed, changed.toml


def _save(settings: Settings) -> None:
    try:
        kept = act(save, settings, st.session_state[NAME].strip(), st.session_state[TEXT])
    except VigieError as error:
        widgets.problem(error, title=t("Not saved."))
        return
    # The picker of every open page knows the new system at once.
    cache.systems.clear()
    st.session_state[SAVED] = (kept.system.id, str(kept.path), kept.targets is not None)
    st.rerun()


def _open_saved(kept: tuple[str, str, bool]) -> None:
    """Where it was saved, and the pages of the new system."""
    name, path, announced = kept
    st.markdown(f":green[{SHAPES['good']}] {t('Saved as {path}.', path=widgets.plain(path))}")
    if announced:
        st.markdown(t("The embedded Prometheus was told: the first values come in about 10 seconds."))
    with st.container(horizontal=True, gap="small"):
        for page, label, icon in (
            ("overview", t("Open the new system"), ":material/space_dashboard:"),
            ("charts", t("Charts"), ":material/show_chart:"),
            ("traffic", t("Generate traffic"), ":material/bolt:"),
        ):
            st.page_link(f"../pages/{page}.py", label=label, icon=icon, query_params={SYSTEM_KEY: name})


def parts(draft: Proposal) -> None:
    """Every part as text, with how sure it is, and what to do about those that are missing."""
    with st.container(key="own-parts"):
        for one in draft.findings:
            sure, tone = SURENESS[one.confidence]
            head = f":{MARKDOWN[tone]}[{SHAPES[tone]} {t(sure)}] **{widgets.plain(t(one.part))}**"
            hint = f"  \n:small[{widgets.plain(t(one.hint))}]" if one.hint else ""
            st.markdown(f"{head}: {widgets.plain(t(one.text))}{hint}")


def editor(error: VigieError | None) -> None:
    """The file itself; whether it is valid is reported under it."""
    st.text_area(t("System file (TOML)"), key=TEXT, height=EDITOR_HEIGHT, max_chars=MAX_CHARS)
    if error is None:
        st.markdown(f":green[{SHAPES['good']}] {t('Valid: every key and every placeholder is known.')}")
    else:
        widgets.problem(error)


def table(report: Report | None) -> None:
    """What each part answered."""
    if report is None:
        widgets.empty(t("Nothing was tried."), t("The file has to be valid first."))
        return
    rows = [
        {"state": t(MARKS[row.outcome]), "part": t(row.part), "name": row.name, "what was seen": t(row.words)}
        for row in report.rows
    ]
    columns = {
        "state": st.column_config.TextColumn(t("state"), width=90),
        "part": st.column_config.TextColumn(t("part"), width=80),
        "name": st.column_config.TextColumn(t("name"), width=150),
        "what was seen": st.column_config.TextColumn(t("what was seen"), width="large"),
    }
    height = min(MOST_PIXELS, ROW_PIXELS * (len(rows) + 1) + 3)
    st.dataframe(pd.DataFrame(rows), hide_index=True, column_config=columns, height=height, key="own-table")
    st.caption(t("Nothing was sent but GETs. One real prediction: `python -m app systems check FILE --send`."))


def job(draft: Proposal, system: System | None) -> None:
    """The scrape job to paste, who needs it, and the alerting rules of the file as it reads now."""
    settings = cache.settings()
    if settings.attached:
        st.markdown(
            t(
                "Add this job to the configuration of your Prometheus and reload it. If it runs elsewhere or in a "
                "container, replace the address by one that it can reach."
            )
        )
    elif announces(settings):
        st.markdown(t("The embedded Prometheus is told when you save: nothing to paste. For another Prometheus:"))
    else:
        st.markdown(
            t(
                "The embedded Prometheus scrapes the services of its own stack only. Give this job to a Prometheus of "
                "yours, and name that one as `url` under `[prometheus]` in the file."
            )
        )
    st.code(draft.job, language="yaml")
    if system is not None:
        exports.downloads(system)
    st.caption(
        t(
            "Without a Prometheus the service still works in part: traffic can be generated and is counted from its "
            "raw /metrics; charts and alerts stay empty."
        )
    )
