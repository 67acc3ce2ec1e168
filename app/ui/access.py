"""Who may act: every act of a page goes through `act` (held by `tests/test_house.py`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import streamlit as st

from app.errors import AccessRefused
from app.ui import cache
from app.words.message import t

P = ParamSpec("P")
T = TypeVar("T")


def act(do: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do what starts, ends, changes or removes something, for a reader who may; raises AccessRefused for another.

    Every reader who is signed in may. A page outlives the session that opened it: it still shows, and no longer acts.
    """
    access = cache.access()
    if not access.open and not access.admits("; ".join(st.context.headers.get_all("cookie"))):
        raise AccessRefused(t("Your session has ended."), hint=t("Reload the page and sign in again."))
    return do(*args, **kwargs)
