"""Vigie's rooms: everything the console, its workers and the command line share. No Streamlit outside `app.ui`."""

from __future__ import annotations

from typing import Any

__all__ = ["compare"]


def __getattr__(name: str) -> Any:
    """`from app import compare`, without a cost for everything else that imports this package."""
    if name == "compare":
        from app.drift.frames import compare

        return compare
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")  # no catalogue: Python's own words
