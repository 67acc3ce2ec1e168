"""What several pages draw: the head of a page, a problem, an empty state, a chart with its sentence.

A widget hides its session keys: `name(...) -> value` or `name(...) -> None`.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar
from zoneinfo import ZoneInfo

import streamlit as st

from app.errors import VigieError
from app.ui import markdown
from app.ui.palette import MARKDOWN, SHAPES
from app.verdict import Tone
from app.words.message import t
from app.words.units import Clock

LOG = logging.getLogger("vigie.console")
Option = TypeVar("Option")
# Known to every page under this name.
plain = markdown.plain


def zone() -> ZoneInfo:
    """The reader's time zone as the browser tells it; UTC when it does not."""
    name = st.context.timezone
    try:
        return ZoneInfo(name) if name else ZoneInfo("UTC")
    except (KeyError, ValueError):
        return ZoneInfo("UTC")


def route(path: str) -> str:
    """The address of one of our routes (`/reports/…`) as the browser sees it, behind a path prefix too."""
    prefix = str(st.get_option("server.baseUrlPath") or "").strip("/")
    return f"/{prefix}{path}" if prefix else path


def chosen(picked: object, options: Mapping[str, Option], default: str) -> Option:
    """What a control that keeps itself in the address holds; its default for an address that names nothing of it.

    `?window=` gives None, in spite of `required`; a client that speaks the protocol can send anything.
    """
    return options[picked] if isinstance(picked, str) and picked in options else options[default]


def segments(label: str, options: Mapping[str, str], *, key: str, default: str = "", hidden: bool = False) -> str:
    """Options by their words next to each other, of which one is always picked; `hidden` shows no label."""
    picked = st.segmented_control(
        plain(label),
        list(options),
        default=default or next(iter(options)),
        required=True,
        key=key,
        format_func=lambda one: plain(t(options[one])),
        label_visibility="collapsed" if hidden else "visible",
    )
    return str(picked)


def clock() -> Clock:
    """The reader's clock: their time zone, now."""
    return Clock(zone())


def head(title: str, badges: Sequence[tuple[str, Tone]] = ()) -> None:
    """Title and status badges in one row."""
    with st.container(key="head", horizontal=True, vertical_alignment="center", gap="small"):
        st.title(plain(title), width="content", anchor=False)
        for text, tone in badges:
            st.badge(plain(text), icon=SHAPES[tone], color=MARKDOWN[tone])


def problem(error: VigieError, *, title: str | None = None) -> None:
    """What went wrong and the next step: the one place that draws errors."""
    text = f"**{plain(title)}** " if title else ""
    hint = f"\n\n{plain(t(error.hint))}" if error.hint else ""
    st.error(f"{text}{plain(t(error.message))}{hint}", icon=":material/error:")


def guarded(draw: Callable[[], None]) -> Callable[[], bool]:
    """`draw` with the error boundary: what fails is reported in its place, and the rest goes on; True without failure.

    Every fragment needs its own, because it runs again outside the frame.
    """

    @functools.wraps(draw)
    def drawn() -> bool:
        try:
            draw()
        except VigieError as error:
            problem(error)
        except Exception:
            LOG.exception("a page failed")
            hint = t("The trace is in logs/console.log.")
            problem(VigieError(t("Vigie itself failed on this page."), hint=hint))
        else:
            return True
        return False

    return drawn


def empty(what: str, why: str, *, key: str | None = None) -> None:
    """A state with nothing to show: what is missing and why, in the frame a full one would have."""
    with st.container(border=True, key=key):
        st.markdown(f"**{plain(t(what))}**\n\n{plain(t(why))}")


def ready(page: str) -> None:
    """The marker that says that a page has drawn all it has (`.st-key-ready-<page>`)."""
    with st.container(key=f"ready-{page}"):
        st.html("<span></span>")
