"""The console as one ASGI application: Streamlit's pages, our routes, our headers, and the two processes it starts.

`streamlit run` finds this file by itself. The script every page runs in is `app/console.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import streamlit as st
from streamlit.starlette import App

from app.children import Children
from app.config import Settings
from app.console_log import log_script_error, log_to_file
from app.routes import middleware, routes

SETTINGS = Settings.from_env()
ROUTES = routes(SETTINGS, prefix=st.get_option("server.baseUrlPath") or "")


@asynccontextmanager
async def lifespan(_app: App) -> AsyncIterator[None]:
    """Spawn or join the stack and the job host, wait for neither, and end both with the console."""
    log_to_file(SETTINGS)
    host = st.get_option("server.address") or "127.0.0.1"
    base = str(st.get_option("server.baseUrlPath") or "").strip("/")
    children = Children(SETTINGS, host=host, port=st.get_option("server.port"), base=base)
    children.start()
    try:
        yield
    finally:
        await children.stop()


app = App(
    "app/console.py",
    lifespan=lifespan,
    routes=ROUTES,
    middleware=middleware(SETTINGS),
    on_script_error=log_script_error,
)
