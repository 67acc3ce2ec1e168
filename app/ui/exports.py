"""What a system gives to other programs, as downloads: its dashboard for Grafana, its alerting rules for Prometheus."""

from __future__ import annotations

import streamlit as st

from app.config import System
from app.errors import VigieError
from app.export import Rule, dashboard_json, rules_file, rules_of
from app.ui import widgets
from app.words.message import t
from app.words.shared import capital


def downloads(system: System, *, dashboard: bool = True) -> None:
    """Buttons for both files, or for the rules alone; a file that cannot be made says why in its place."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        try:
            rules = rules_of(system)
            board = dashboard_json(system) if dashboard else ""
        except VigieError as error:
            widgets.problem(error)
            return
        icon = ":material/download:"
        if dashboard:
            st.download_button(
                t("Grafana dashboard (JSON)"),
                board,
                f"{system.id}.json",
                "application/json",
                icon=icon,
                on_click="ignore",
                key=f"dashboard-{system.id}",
                help=t("Import it in your Grafana: Dashboards, New, Import. It asks which Prometheus to read."),
            )
        if rules:
            st.download_button(
                t("Alerting rules (YAML)"),
                rules_file([system]),
                f"{system.id}.rules.yml",
                "application/yaml",
                icon=icon,
                on_click="ignore",
                key=f"rules-{system.id}",
                help=t("Name the file under rule_files of your Prometheus and reload it."),
            )
        else:
            st.caption(t("Its file has no [[alerts]] and no [drift]: there are no alerting rules."))


def rules_section(system: System) -> None:
    """The alerting rules of a system in words, and the file."""
    with st.expander(t("Alerting rules")):
        try:
            rules = rules_of(system)
        except VigieError as error:
            widgets.problem(error)
            return
        st.markdown("\n".join(f"- {_in_words(rule)}" for rule in rules))
        st.caption(t("The embedded Prometheus and the one of docker compose run those of the shipped systems already."))
        downloads(system, dashboard=False)


def _in_words(rule: Rule) -> str:
    condition, impact, action = (rule.annotations.get(name, "") for name in ("condition", "impact", "action"))
    texts = [text for text in (condition or rule.expr, impact, action) if text]
    return f"**{widgets.plain(rule.alert)}** · {' '.join(widgets.plain(_sentence(text)) for text in texts)}"


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{capital(text)}."
