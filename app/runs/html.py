r"""A report's HTML is someone's data in someone's markup: made harmless when it is saved, held in when it is shown.

What no policy of the browser forbids is WebRTC: it sends UDP packets anywhere. So the window that a report runs in
loses the constructors (`report_guard.js`, the first thing in the page), and nothing in the report may make another
window, which would bring them back: markup has no frame elements, and Trusted Types tame what becomes markup later.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

__all__ = ["SANDBOX", "guarded", "safe_html"]

# A separate origin, no request, no frame, no worker, no other policy for text than the one of report_guard.js.
SANDBOX: Final = (  # no catalogue: a header
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; font-src data:; frame-src 'none'; child-src 'none'; worker-src 'none'; connect-src 'none'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'self'; "
    "require-trusted-types-for 'script'; trusted-types default"
)
# Elements that open a window (frames, objects), look up a name (link), or move the page elsewhere (base, meta).
# Those without content keep their place in the head under the name of one that does nothing.
_FRAMES: Final = ("iframe", "frameset", "object", "applet", "portal", "fencedframe", "webview", "controlledframe")
_EMPTY: Final = ("frame", "embed", "base", "link", "meta")
# By the bytes, wherever they are: a script would have to be read as a browser reads it to know where markup begins,
# and who differs from the browser in one place lets a frame through there. A tag's name ends at one of these.
_ELEMENT: Final = re.compile(
    rb"<(?:(?P<frame>" + "|".join(_FRAMES).encode() + rb")|" + "|".join(_EMPTY).encode() + rb")(?=[\t\n\f\r />]|\Z)",
    re.IGNORECASE,
)
# The two that every report has, in just this form: they say nothing but how the text is encoded and scaled.
_HARMLESS: Final = re.compile(
    rb"<meta (?:charset=\"?utf-8\"?|name=\"viewport\" content=\"[a-z0-9=., -]*\") ?/?>", re.IGNORECASE
)
# The lines on which Evidently writes its data: `var metric_<hex> = {...};` and `var additional_graphs_<id> = {...};`.
_DATA_LINE: Final = re.compile(rb"^([ \t]*var [A-Za-z_$][\w$]* = )(\{.*)$", re.MULTILINE)
_ESCAPES: Final = {
    b"<": b"\\u003c",
    b">": b"\\u003e",
    "\u2028".encode(): b"\\u2028",
    "\u2029".encode(): b"\\u2029",
}
# Evidently lays its tables out for a wide page and cuts them off in ours on a laptop; the file itself stays as it is.
_HEAD: Final = (
    b'<!doctype html><html lang="en"><head><meta charset="utf-8"><script>'
    + (Path(__file__).parent / "report_guard.js").read_bytes()
    + b"</script><style>@media (max-width: 1150px) { html { zoom: 0.78 } }</style>\n"
)


def safe_html(html: bytes) -> bytes:
    r"""A report as it is saved: no value in Evidently's data lines can end the script, and no element opens a frame.

    A category such as `</script><script>…` is written raw into the report; inside a JavaScript string `\u003c` reads
    the same to the report and is no markup to the browser. Covers `<!--` and `-->` as well.
    """
    return _without_frames(_DATA_LINE.sub(lambda match: match[1] + _escaped(match[2]), html))


def guarded(html: bytes) -> bytes:
    """A stored report as it is shown: our script before everything else, and no frames in one saved long ago either.

    What the report says of its doctype and its head is then there twice, which browsers pass over.
    """
    return _HEAD + _without_frames(html)


def _without_frames(html: bytes) -> bytes:
    """The same bytes with every tag that `_ELEMENT` names renamed; done twice, it changes nothing more."""

    def renamed(match: re.Match[bytes]) -> bytes:
        if match["frame"]:
            return b"<x-" + match[0][1:]
        return match[0] if _HARMLESS.match(html, match.start()) else b"<basefont"

    return _ELEMENT.sub(renamed, html)


def _escaped(text: bytes) -> bytes:
    for char, escape in _ESCAPES.items():
        text = text.replace(char, escape)
    return text
