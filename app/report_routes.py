"""The routes of reports: our page round each, the report itself in its sandbox, its files as downloads.

`/reports/view/{id}`, `/reports/frame/{id}`, `/reports/file/{id}/{html|json|md|zip}`. The report is never the top page:
nothing holds such a page back from going elsewhere with what it has read.
"""

from __future__ import annotations

import gzip
import html
import re
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from string import Template
from typing import TYPE_CHECKING, Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from app.config import Settings, Systems, load_systems
from app.errors import LedgerError, ReportNotFound, VigieError
from app.runs import reports
from app.runs.html import SANDBOX, guarded
from app.runs.index import Ledger
from app.runs.kinds import REPORT, title_of
from app.runs.run import RUN_ID, Meta, Run
from app.words.language import language, word
from app.words.message import either, t

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["FILE", "FRAME", "VIEW", "OddReportPaths", "report_routes"]

VIEW, FRAME, FILE = "/reports/view/", "/reports/frame/", "/reports/file/"
# The page round a report has no script, and its frame goes nowhere but to this console.
ROUND: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; frame-src 'self'; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'none'"
)
# Obeyed by Chromium 156, for WebRTC too and for the connection that it opens ahead of a navigation which it then
# refuses. Browsers that do not know it pass it over: the guard of report_html holds without it.
NO_CONNECTION: Final = {"Connection-Allowlist": "()"}
# A report never changes once it is saved; it may be deleted to keep the disk bounded.
CACHE = "private, max-age=300"  # no catalogue: a header
# A piece of this size is written to the socket in well under a millisecond.
PIECE = 262_144
# Smaller bodies gain nothing.
WORTH_PACKING = 10_000
# Evidently's 4.6 MB become 1.2 MB in 50 ms; a higher level takes three times as long for a tenth less.
PACK_LEVEL = 1
MEDIA = {
    "html": "text/html; charset=utf-8",
    "json": "application/json",
    "md": "text/markdown; charset=utf-8",
    "zip": "application/zip",
}
# The answer differs for a top page and a frame, and by the encoding; a stored one must not replace another.
VARY = "Accept-Encoding, Sec-Fetch-Dest"  # no catalogue: a header
# The parameter under which the page Reports keeps the run it shows.
RUN_KEY: Final = "run"
# Shape and colour of a decision, as on the pages; the word is next to it.
MARKS: Final = {"NO_ACTION": ("●", "good"), "RETRAINING_TRIGGERED": ("▲", "bad"), "UNDECIDED": ("○", "unknown")}
UNMARKED: Final = ("○", "unknown")
# Addresses are relative, so that they hold behind a path prefix too.
PAGE: Final = Template("""<!doctype html><html lang="$language"><head>
<meta charset="utf-8"><title>$title · Vigie</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root { color-scheme: light dark; --good: #2E7D4F; --bad: #B3261E; --unknown: #5B6674; --link: #0B6E99;
  --back: #F5F7FA; --text: #1B2430; --line: #D5DCE4 }
@media (prefers-color-scheme: dark) { :root { --good: #5BC98C; --bad: #FF7B72; --unknown: #93A4B8; --link: #4FB3D9;
  --back: #17212C; --text: #E6EDF3; --line: #2B3947 } }
body { margin: 0; height: 100vh; display: flex; flex-direction: column; font: 14px/1.45 sans-serif;
  background: var(--back); color: var(--text) }
header { display: flex; flex-wrap: wrap; align-items: baseline; gap: 4px 18px; padding: 9px 16px;
  border-bottom: 1px solid var(--line) }
h1 { font-size: 16px; margin: 0 } header p { margin: 0; flex-basis: 100%; overflow-wrap: anywhere }
a { color: var(--link) } .good { color: var(--good) } .bad { color: var(--bad) } .unknown { color: var(--unknown) }
nav { margin-left: auto; display: flex; flex-wrap: wrap; gap: 4px 16px }
iframe { flex: 1; min-height: 300px; border: 0; background: #fff; color-scheme: light }
</style></head><body>
<header><h1>$title</h1><span class="$tone"><b>$mark $word</b></span>
<nav>$links</nav>$reason</header>
<iframe src="../frame/$run" sandbox="allow-scripts" title="$frame"></iframe>
</body></html>""")


def report_routes(settings: Settings) -> dict[str, Callable[[Request], Response]]:
    """Each path of a report with what answers it; `:path` also takes ids with slashes: their answer is plain text."""

    def view(request: Request) -> Response:
        return _in_words(lambda: _page(settings, request.path_params["rest"]))

    def frame(request: Request) -> Response:
        return _in_words(lambda: _framed(settings, request, request.path_params["rest"]))

    def file(request: Request) -> Response:
        run, _, kind = request.path_params["rest"].rpartition("/")
        return _in_words(lambda: _report(settings, request, run, kind, download=True))

    return {VIEW + "{rest:path}": view, FRAME + "{rest:path}": frame, FILE + "{rest:path}": file}


class OddReportPaths:
    """Answers report paths with `..`, a backslash or NUL in them itself, before Streamlit's own terse 400 does."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything else on."""
        path = scope.get("path", "")
        if scope["type"] == "http" and path.startswith((VIEW, FRAME, FILE)) and re.search(r"\.\.|[\\\x00]", path):
            error = ReportNotFound(t("That is no run id."), hint=t("Open a run from the list of reports."))
            await _not_found(error)(scope, receive, send)
            return
        await self.app(scope, receive, send)


def _in_words(work: Callable[[], Response]) -> Response:
    try:
        return work()
    except VigieError as error:
        return _not_found(error)


def _page(settings: Settings, run: str) -> Response:
    """The page round the report of a run. Raises ReportNotFound or ReportError."""
    systems = load_systems(settings)
    folder = reports.find(settings, systems, run)
    meta = reports.read_meta(folder)
    _name(meta, "html")
    row = None
    # The report is there, even if the index denies it.
    with suppress(LedgerError), Ledger(settings.ledger_url) as ledger:
        row = ledger.get(run)
    links = [f'<a href="../../reports?{RUN_KEY}={run}">{html.escape(t("Open in Reports"))}</a>']
    for kind in MEDIA:
        with suppress(ReportNotFound):
            _name(meta, kind)
            download = html.escape(t("Download {kind}", kind=kind.upper()))
            links.append(f'<a href="../file/{run}/{kind}">{download}</a>')
    body = PAGE.substitute(_words(systems, row, run), links=" ".join(links), run=run, language=language())
    return Response(body, headers=_headers(ROUND), media_type=MEDIA["html"])


def _words(systems: Systems, row: Run | None, run: str) -> dict[str, str]:
    """What the head of the page says, escaped: which system and months, what was decided, and why."""
    if row is None:
        return _head(t("Run {run}", run=run), UNMARKED, t("not in the index"))
    system = systems.by_id.get(row.system)
    months = f" · {row.ref or word('unknown')} → {row.cur or word('unknown')}" if row.ref or row.cur else ""
    # Nothing is trained: the reference systems report it next to the word.
    simulated = " (SIMULÉ)" if row.outcome == "RETRAINING_TRIGGERED" else ""
    title = f"{t(system.title) if system else row.system}{months}"
    decision = f"{row.outcome}{simulated}" if row.outcome else t("no decision, {kind} report", kind=row.kind)
    if row.kind == REPORT:
        title, decision = f"{title} · {title_of(REPORT)}", row.outcome
    return _head(title, MARKS.get(row.outcome, UNMARKED), decision, t(row.reason))


def _head(title: str, mark: tuple[str, str], decision: str, reason: str = "") -> dict[str, str]:
    return {
        "title": html.escape(title),
        "frame": html.escape(t("The report of {title}", title=title)),
        "mark": mark[0],
        "tone": mark[1],
        "word": html.escape(decision),
        "reason": f"<p>{html.escape(reason)}</p>" if reason else "",
    }


def _framed(settings: Settings, request: Request, run: str) -> Response:
    """The report for the frame of our page; a request for it as a whole page is sent to that page.

    Browsers say what they ask for on loopback and over https; elsewhere the report's own guard turns them back.
    """
    if request.headers.get("sec-fetch-dest") == "document" and RUN_ID.fullmatch(run):
        return RedirectResponse(f"../view/{run}", 303, {"Cache-Control": "no-store", "Vary": VARY})
    return _report(settings, request, run, "html", download=False)


def _report(settings: Settings, request: Request, run: str, kind: str, *, download: bool) -> Response:
    """The report of a run as one kind of file. Raises ReportNotFound or ReportError."""
    if kind not in MEDIA:
        raise ReportNotFound(
            t("A report is served as {kinds}.", kinds=either([*MEDIA])), hint=t("Use the buttons of the page.")
        )
    folder = reports.find(settings, load_systems(settings), run)
    name = _name(reports.read_meta(folder), kind)
    data = reports.read_file(folder, name)
    headers = _headers(SANDBOX) | NO_CONNECTION
    if download:
        headers["Content-Disposition"] = f'attachment; filename="{name}"'  # no catalogue: a header
    else:
        data = guarded(data)
    if kind != "zip" and len(data) > WORTH_PACKING and "gzip" in request.headers.get("accept-encoding", ""):
        # Here, in a thread: Streamlit's own compression would do it in the event loop and hold up every page.
        data = gzip.compress(data, PACK_LEVEL, mtime=0)
        headers["Content-Encoding"] = "gzip"
    else:
        headers["Content-Encoding"] = "identity"
    headers["Content-Length"] = str(len(data))
    return StreamingResponse(_pieces(data), media_type=MEDIA[kind], headers=headers)


def _headers(policy: str) -> dict[str, str]:
    return {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        # Looking a name up tells its owner that someone reads.
        "X-DNS-Prefetch-Control": "off",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": CACHE,
        "Vary": VARY,
    }


def _name(meta: Meta, kind: str) -> str:
    """The file that is the report: `drift_<ref>_vs_<cur>.<kind>`, or the only one of its kind that is not ours."""
    names = sorted(name for name in meta.files if name.endswith(f".{kind}") and name != "result.json")
    # Names were checked when they were saved (letters, digits, dot, dash, underscore): safe in a header as they are.
    named = [name for name in names if name.startswith("drift_")]
    if not names:
        hint = t("A run without a decision embeds no report; its page says why.")
        raise ReportNotFound(t("Run {run} has no {kind} report.", run=meta.run, kind=kind), hint=hint)
    return (named or names)[0]


async def _pieces(data: bytes) -> AsyncIterator[memoryview]:
    whole = memoryview(data)
    for start in range(0, len(data), PIECE):
        yield whole[start : start + PIECE]


def _not_found(error: VigieError) -> Response:
    """A small page of text; also good inside the frame of a report."""
    title, head = html.escape(t("Vigie: no such report")), html.escape(t("There is no such report"))
    text = html.escape(t(error.message)) + " " + html.escape(t(error.hint))
    body = (
        f'<!doctype html><html lang="{language()}"><meta charset="utf-8"><title>{title}</title>'
        '<body style="font: 16px/1.5 sans-serif; margin: 3rem; max-width: 40rem">'
        f'<h1 style="font-size: 1.2rem">{head}</h1><p>{text}</p></body></html>'
    )
    status = 404 if isinstance(error, ReportNotFound) else 500
    headers = {"Content-Security-Policy": SANDBOX, "Cache-Control": "no-store"}
    return Response(body, status, headers, MEDIA["html"])
