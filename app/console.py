"""The frame round every page: logo, system picker, navigation over `../pages`, connection line, error boundary."""

from __future__ import annotations

import time
from html import escape
from pathlib import Path

import streamlit as st

from app.errors import VigieError
from app.services import want
from app.ui import cache, language, palette, picked, widgets
from app.ui.access import act
from app.words.message import t

HERE = Path(__file__).parent
# How often the foot of the sidebar asks whether Prometheus still answers, in seconds.
CONNECTION_EVERY = 10


def connection_line(seen: cache.Connection) -> str:
    """The foot of the sidebar: which Prometheus, where, and how long ago it answered."""
    place = widgets.plain(seen.url.partition("://")[2] or t("no address"))
    if seen.error is not None:
        return f":red[:material/cloud_off:] Prometheus · {place} · {widgets.plain(t('does not answer'))}"
    age = max(0, round(time.time() - seen.at))
    answered = t("answered now") if age < 2 else t("answered {age} s ago", age=age)
    return f":green[:material/cloud_done:] {widgets.plain(seen.name)} · {place} · {widgets.plain(answered)}"


language.settle()
# no catalogue: the name
st.set_page_config(page_title="Vigie", page_icon=str(HERE / "ui" / "icon.png"), layout="wide")
st.html(HERE / "ui" / "style.css")
st.html(palette.variables())
st.logo(str(HERE / "ui" / f"logo-{palette.theme()}.svg"), size="large", icon_image=str(HERE / "ui" / "icon.png"))

OBSERVE = [
    st.Page("../pages/overview.py", title=t("Overview"), icon=":material/space_dashboard:", default=True),
    st.Page("../pages/targets.py", title=t("Targets"), icon=":material/radar:", url_path="targets"),
    st.Page("../pages/charts.py", title=t("Charts"), icon=":material/show_chart:", url_path="charts"),
]
ACT = [
    st.Page("../pages/traffic.py", title=t("Generate traffic"), icon=":material/bolt:", url_path="traffic"),
    st.Page("../pages/drift.py", title=t("Compare months"), icon=":material/compare_arrows:", url_path="drift"),
]
KEEP = [
    st.Page("../pages/reports.py", title=t("Reports"), icon=":material/inventory_2:", url_path="reports"),
    st.Page("../pages/lab.py", title=t("Lab"), icon=":material/checklist:", url_path="lab"),
    st.Page("../pages/add_service.py", title=t("Add a service"), icon=":material/add_circle:", url_path="add_service"),
]
ROOMS = ((t("Observe"), OBSERVE), (t("Act"), ACT), (t("Keep"), KEEP))
page = st.navigation([*OBSERVE, *ACT, *KEEP], position="hidden")

systems = cache.systems()
if st.query_params.get(picked.SYSTEM_KEY, "") not in ("", *systems.by_id):
    # Perhaps its file was written a moment ago.
    cache.systems.clear()
    systems = cache.systems()
with st.sidebar:
    picked.system_picker(systems)
    for heading, pages in ROOMS:
        st.caption(heading)
        for entry in pages:
            st.page_link(entry, query_params=picked.link_params(), width="stretch")
    for error in systems.broken:
        widgets.problem(error, title=t("A system file is not used"))

    @st.fragment(run_every=CONNECTION_EVERY)
    @widgets.guarded
    def connection() -> None:
        """One line: which Prometheus, where, and whether it answers. The stack is asked for the picked system here."""
        with st.container(key="connection"):
            st.markdown(connection_line(cache.connection(picked.system().id)))
            try:
                act(want, cache.settings(), picked.system())
            except VigieError as error:
                widgets.problem(error)

    language.switch()
    if systems.by_id:
        connection()
    if not cache.access().open:
        st.html(
            f'<a class="vigie-sign-out" href="{widgets.route("/signout")}" target="_self">{escape(t("Sign out"))}</a>'
        )

if systems.by_id:
    drawn = widgets.guarded(page.run)()
    if not drawn:
        widgets.ready(page.url_path or "overview")
else:
    widgets.empty(t("No system file can be read."), t("The sidebar says what is wrong with each."))
