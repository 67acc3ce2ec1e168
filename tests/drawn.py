"""A page of the console as Streamlit's AppTest draws it for a visitor who opens its address."""

from __future__ import annotations

from typing import Any

from streamlit.testing.v1 import AppTest

from tests.conftest import ROOT

# The first page of a process imports Streamlit, and a page asks several questions of a server that may answer slowly.
RUN_SECONDS = 240
# What the first run tells AppTest: which pages there are. Drawing the Overview before each page would cost half.
_PAGES: dict[str, Any] = {}


def opened(page: str, /, **query: str | list[str]) -> AppTest:
    """The page of a file in pages/, drawn once."""
    app = _console()
    if page != "overview":
        if not _PAGES:
            _PAGES.update(_console().run()._registered_pages)
        app._registered_pages = dict(_PAGES)
        app.switch_page(f"../pages/{page}.py")
    for name, values in query.items():
        app.query_params[name] = values
    return app.run()


def _console() -> AppTest:
    return AppTest.from_file(str(ROOT / "app" / "console.py"), default_timeout=RUN_SECONDS)
