"""Controls that keep what was picked in the address by its value, so that a link means the same in every language.

Streamlit's `bind="query-params"` writes the label into the address: right for what a person types and for numbers,
wrong for an option that each reader sees in another language.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import streamlit as st

# The text of a control in the address when it was drawn last: another one is a link or the back button.
_LAST: Final = "in_address_"


def picked_one(
    label: str,
    options: Sequence[str],
    *,
    key: str,
    words: Callable[[str], str],
    default: str = "",
    draw: Callable[..., Any] = st.selectbox,
    **more: Any,
) -> str:
    """A select box, or what `draw` draws; `default`, else the first option, is what holds without an address."""
    default = default or options[0]
    _take(key, options, default)
    value: str = draw(label, options, key=key, format_func=words, **more)
    _keep(key, [] if value == default else [value])
    return value


def picked_some(label: str, options: Sequence[str], *, key: str, words: Callable[[str], str], **more: Any) -> list[str]:
    """Several of the options; none is what holds without an address."""
    _take(key, options, None)
    values = st.multiselect(label, options, key=key, format_func=words, **more)
    _keep(key, values)
    return values


def controls() -> list[str]:
    """The keys of those that this session has drawn."""
    return [str(name).removeprefix(_LAST) for name in st.session_state if str(name).startswith(_LAST)]


def _take(key: str, options: Sequence[str], first: str | None) -> None:
    """What the address says, where it is new; `first` is the option of a control that holds one."""
    texts = st.query_params.get_all(key)
    if key in st.session_state and st.session_state.get(_LAST + key) == texts:
        return
    valid = [text for text in dict.fromkeys(texts) if text in options]
    st.session_state[key] = valid if first is None else next(iter(valid), first)


def _keep(key: str, texts: list[str]) -> None:
    """Write it into the address; without a text its part of the address goes, and so does what names no option."""
    if st.query_params.get_all(key) != texts:
        if texts:
            st.query_params[key] = texts
        else:
            del st.query_params[key]
    st.session_state[_LAST + key] = texts
