"""The console as one ASGI application: Streamlit's pages, our routes, our doors, and the two processes it starts.

`streamlit run` finds this file by itself. The script every page runs in is `app/console.py`.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import streamlit as st
from streamlit.starlette import App

from app.base.logs import log_console, log_script_error
from app.children import Children
from app.config import Settings
from app.doors import Access, Doors, hand_over, refuse_open
from app.errors import ConfigError
from app.routes import middleware, routes
from app.ui.login import login

BASE = str(st.get_option("server.baseUrlPath") or "").strip("/")
try:
    SETTINGS = Settings.from_env()
    DOORS = Doors(SETTINGS, Access.of(SETTINGS, login=login(), base=BASE))
    refuse_open(st.get_option("server.address"), DOORS.access)
    hand_over(SETTINGS, DOORS.access)
except ConfigError as error:
    # Before anything is served: a console that should be closed must not be open for a moment.
    # no catalogue: the name
    sys.exit(f"vigie: {error.text}")


@asynccontextmanager
async def lifespan(_app: App) -> AsyncIterator[None]:
    """Spawn or join the stack and the job host, wait for neither, and end both with the console."""
    log_console(SETTINGS.home)
    host = st.get_option("server.address") or "127.0.0.1"
    children = Children(SETTINGS, host=host, port=st.get_option("server.port"), base=BASE)
    children.start()
    try:
        yield
    finally:
        await children.stop()


app = App(
    "app/console.py",
    lifespan=lifespan,
    routes=[*routes(SETTINGS, prefix=BASE), *DOORS.routes()],
    middleware=middleware(SETTINGS, DOORS),
    on_script_error=log_script_error,
)
