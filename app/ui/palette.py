"""The colours that mean something, in both themes (`screens.md`), the theme of the reader, and what Plotly is told."""

from __future__ import annotations

from typing import Any, Final, Literal

import streamlit as st

from app.verdict import Tone
from app.words.language import FRENCH, language

Theme = Literal["light", "dark"]

TONES: Final[dict[Theme, dict[str, str]]] = {
    "light": {
        "good": "#2E7D4F",
        "warning": "#8A5A00",
        "bad": "#B3261E",
        "unknown": "#5B6674",
        "quiet": "#5B6674",
        "on-accent": "#FFFFFF",
    },
    "dark": {
        "good": "#5BC98C",
        "warning": "#E3B341",
        "bad": "#FF7B72",
        "unknown": "#93A4B8",
        "quiet": "#A7B3C0",
        "on-accent": "#0F1720",
    },
}
# The colour names of Streamlit's markdown and badges, themed in .streamlit/config.toml.
MARKDOWN: Final[dict[Tone, Literal["green", "orange", "red", "gray"]]] = {
    "good": "green",
    "warning": "orange",
    "bad": "red",
    "unknown": "gray",
}
# A status never speaks through colour alone: each has a shape too.
SHAPES: Final[dict[Tone, str]] = {
    "good": ":material/check_circle:",
    "warning": ":material/warning:",
    "bad": ":material/error:",
    "unknown": ":material/help:",
}
# How Plotly writes dates; what Streamlit ships of it knows no language but English. Numbers are in the figures.
# no catalogue: a table of Plotly
DATES: Final[dict[str, dict[str, Any]]] = {
    FRENCH: {
        "days": ["dimanche", "lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi"],
        "shortDays": ["dim.", "lun.", "mar.", "mer.", "jeu.", "ven.", "sam."],
        "months": [
            *("janvier", "février", "mars", "avril", "mai", "juin"),
            *("juillet", "août", "septembre", "octobre", "novembre", "décembre"),
        ],
        "shortMonths": [
            *("janv.", "févr.", "mars", "avr.", "mai", "juin"),
            *("juil.", "août", "sept.", "oct.", "nov.", "déc."),
        ],
        "date": "%d/%m/%Y",
        "year": "%Y",
        "month": "%b %Y",
        "dayMonth": "%-d %b",
        "dayMonthYear": "%-d %b %Y",
    }
}


def plotly() -> dict[str, Any]:
    """What `st.plotly_chart` takes as `config`: no bar of tools, and dates in the language of the reader."""
    config: dict[str, Any] = {"displayModeBar": False, "displaylogo": False}
    if (chosen := language()) in DATES:
        config |= {"locale": chosen, "locales": {chosen: {"dictionary": {}, "format": DATES[chosen]}}}
    return config


def theme() -> Theme:
    """The theme in the reader's browser; light until the browser has sent it."""
    return "dark" if st.context.theme.type == "dark" else "light"


def variables() -> str:
    """The status colours of the reader's theme as a style sheet of custom properties."""
    rows = "".join(f"--vigie-{name}: {colour};" for name, colour in TONES[theme()].items())
    return f"<style>:root {{{rows}}}</style>"
