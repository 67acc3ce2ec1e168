"""Text from outside in Markdown: the one escape, and the two forms that need another one.

Streamlit reads Markdown, HTML entities, LaTeX, icon and emoji codes and colour directives in nearly every text that it
draws: labels, help, titles, badges, toasts. `tests/test_markdown.py` reads the pages for texts that do not pass here.
"""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import urlsplit

__all__ = ["code", "link", "plain"]

# Icon and emoji codes are replaced after Markdown is read, so that a backslash is no help; a time is none of them.
_ICON = re.compile(r":(?=(?!\d\d:)[\w+/-]+:)")
# The same holds for what is written like the start of an address without its scheme.
_BARE_ADDRESS = re.compile(r"(?i)\bwww(?=\.)")
# `1.` begins a list where a line does.
_LIST = re.compile(r"^(\s*\d+)\.(?=\s|$)")
# Control characters and the two separators of lines.
_CONTROLS = frozenset(("Cc", "Zl", "Zp"))
_MARKS = frozenset("\\`*_{}[]()<>#+-!|~$:&^=")
# What turns the direction of everything after it, so that text reads as something else.
_TURNS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
# What would end a link, or a table cell that it is in.
_ENDS_LINK = frozenset(" ()<>|\\`\"'")


def plain(text: str | None) -> str:
    """Text from outside as text: nothing in it is Markdown, HTML, LaTeX, an emoji code or a colour directive.

    Every text that a page did not write itself passes here on its way to a label, a help or a paragraph; a test reads
    the pages for those that do not. On one line, and nothing in it turns the direction of writing.
    """
    unnamed = _BARE_ADDRESS.sub("\\g<0>\N{WORD JOINER}", _ICON.sub(":\N{WORD JOINER}", _one_line(text or "")))
    return _LIST.sub(r"\1\\.", "".join(f"\\{char}" if char in _MARKS else char for char in unnamed))


def code(text: str) -> str:
    """Text from outside as a span of code, where nothing but a backtick is read; that becomes an apostrophe."""
    return f"`{_one_line(text).replace('`', chr(39)) or ' '}`"


def link(text: str, url: str) -> str:
    """A link to an http address that comes from outside; any other address is text alone."""
    try:
        whole = urlsplit(url).netloc and url.startswith(("http://", "https://")) and url.isprintable()
    except ValueError:
        # A host that is none: half an IPv6 address, a letter that means another.
        whole = False
    return f"[{plain(text)}]({url})" if whole and not set(url) & _ENDS_LINK else plain(text)


def _one_line(text: str) -> str:
    return "".join(" " if char in _TURNS or unicodedata.category(char) in _CONTROLS else char for char in text)
