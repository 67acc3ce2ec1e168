"""Vigie's rooms: everything the console, its workers and the command line share. No Streamlit outside `app.ui`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.drift.frames import compare

VERSION = "0.2.1"
__all__ = ["VERSION", "compare"]


def __getattr__(name: str) -> Any:
    """`from app import compare`, without a cost for everything else that imports this package."""
    if name == "compare":
        from app.drift.frames import compare

        return compare
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
