"""The Lab page: the exercises of a course, ticked off as their proofs become true, and the report of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import streamlit as st

from app.config import System
from app.report.document import Gap
from app.report.proof import Exercise, Page, Proof
from app.ui import cache, widgets
from app.ui.address import picked_one
from app.ui.markdown import code
from app.ui.palette import SHAPES
from app.ui.picked import link_params
from app.verdict import Tone
from app.words.message import t
from app.words.units import format_duration

DAY: Final = 86_400.0
# How far back a proof may lie, by what the address holds.
SPANS: Final = {"1h": 3600.0, "24h": DAY, "7d": 7 * DAY}
USUAL: Final = "24h"
ICONS: Final[dict[Page, str]] = {
    "overview": ":material/space_dashboard:",
    "targets": ":material/radar:",
    "charts": ":material/show_chart:",
    "traffic": ":material/bolt:",
    "drift": ":material/compare_arrows:",
}
TITLES: Final[dict[Page, str]] = {
    "overview": t("Overview"),
    "targets": t("Targets"),
    "charts": t("Charts"),
    "traffic": t("Generate traffic"),
    "drift": t("Compare months"),
}
OPEN: Final = ":material/radio_button_unchecked:"


def span() -> float:
    """How far back proofs are looked for, in seconds; part of the address."""
    name = picked_one(
        t("Proofs of the last"),
        list(SPANS),
        key="proofs",
        words=lambda name: format_duration(SPANS[name]),
        default=USUAL,
        draw=st.segmented_control,
        required=True,
        help=t("Traffic, comparisons and metrics count that were made or measured in this time."),
    )
    return SPANS[name]


def badge(exercises: Sequence[Exercise]) -> tuple[str, Tone]:
    """How many proofs are there, of all."""
    done, every = sum(one.done for one in exercises), sum(len(one.proofs) for one in exercises)
    return t("{done} of {all} proofs", done=done, all=every), "good" if done == every else "unknown"


def look(system: System, seconds: float) -> list[Exercise]:
    """The exercises of the system's course as they are now."""
    return cache.exercises(system, seconds, str(widgets.zone()))


def draw(exercises: Sequence[Exercise]) -> None:
    """Every exercise with its proofs. One reason for several open ones is said once."""
    reasons: set[Gap] = set()
    for number, exercise in enumerate(exercises):
        with st.container(border=True, key=f"exercise-{number}", gap="xsmall"):
            done, every = exercise.done, len(exercise.proofs)
            mark = f":green[{SHAPES['good']}] " if done == every else ""
            count = widgets.plain(t("{done} of {all}", done=done, all=every))
            st.markdown(f"{mark}**{widgets.plain(exercise.title)}** &nbsp; :gray[{count}]")
            for place, proof in enumerate(exercise.proofs):
                _proof(proof, f"{number}-{place}", again=proof.missing in reasons)
                reasons |= {proof.missing} if proof.missing else set()


def _proof(proof: Proof, key: str, *, again: bool) -> None:
    """One line: done or open, what is asked for, what is there; below an open one why, the step, and its page."""
    icon = f":green[{SHAPES['good']}]" if proof.done else f":gray[{OPEN}]"
    what = widgets.plain(proof.what)
    state = f" &nbsp; :gray[{widgets.plain(proof.state)}]" if proof.state else ""
    state += f" &nbsp; {code(proof.expr)}" if proof.expr else ""
    if proof.missing is None:
        st.markdown(f"{icon} {what}{state}")
        return
    with st.container(key=f"open-{key}", gap="xxsmall"):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.markdown(f"{icon} {what}{state}", width="content")
            st.page_link(
                f"../pages/{proof.page}.py",
                label=t(TITLES[proof.page]),
                icon=ICONS[proof.page],
                query_params=link_params(),
            )
        if not again:
            st.caption(f"{spans(t(proof.missing.why))} {spans(t(proof.missing.step))}")


def spans(text: str) -> str:
    """A text of a report on screen: code between backticks, all else as it is."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return widgets.plain(text)
    return "".join(code(part) if place % 2 else widgets.plain(part) for place, part in enumerate(parts) if part)
