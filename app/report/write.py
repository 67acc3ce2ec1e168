"""A document as files: Markdown, one HTML page for screen and paper, pictures with their CSV, a ZIP of evidence. Pure.

Equal documents give equal bytes. Sentences (`Text`, `Gap`, captions, titles, lines below the first one) have markup:
`code` and **bold**. Cells and code are shown character for character, whatever they hold.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from io import BytesIO
from pathlib import Path
from string import Template
from typing import Any, Final

from app.base.text import one_line, plain
from app.errors import ReportError
from app.report.document import Cell, Code, Document, Evidence, Gap, Number, Picture, Section, Table, Text
from app.runs.reports import FILE_NAME, MAX_FILE_BYTES
from app.runs.result import RESULT
from app.words.language import speaking
from app.words.message import t
from app.words.units import format_value

__all__ = ["MEDIA", "VERSION", "files"]

VERSION: Final = 1
# By ending: what a report gives to download, with its media type.
MEDIA: Final = {"html": "text/html", "md": "text/markdown", "zip": "application/zip"}
# Evidence of more bytes than this stays outside: with pages and pictures the ZIP must not pass MAX_FILE_BYTES.
MAX_EVIDENCE: Final = MAX_FILE_BYTES * 3 // 4
# The oldest moment that a ZIP can name: one that differed would make other bytes of an equal report.
NO_TIME: Final = (1980, 1, 1, 0, 0, 0)
NUMBERS: Final = "numbers.json"
SUMS: Final = "SHA256SUMS"
# A section of more than about half a page begins on a new one.
HALF_A_PAGE: Final = 22
# A column whose cells are no longer than this stays on one line, where such columns together have room on paper.
SHORT: Final = 16
MOST_ON_ONE_LINE: Final = 60
# What a picture takes of a page, in lines.
PICTURE_LINES: Final = 16
_MARKUP: Final = re.compile(r"`(?P<code>[^`\n]+)`|\*\*(?P<bold>.+?)\*\*")
_STYLE: Final = (Path(__file__).parent / "report.css").read_text("utf-8")
# No request, no script, no form: neither from a disk nor from a server. What is served here has a stricter one yet.
_PAGE: Final = Template("""<!doctype html>
<html lang="$language"><head><meta charset="utf-8"><title>$title</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<style>
$style</style></head><body><main>
<header><h1>$title</h1>
$about</header>
<nav><h2>$contents</h2>
$places</nav>
$body
</main></body></html>
""")


def files(document: Document, **facts: Any) -> dict[str, bytes]:
    """Every file of a report by its name. `facts` are further values of result.json: run, report, system, since, until.

    Raises ReportError for a document whose name is none of a file, or that is too large to be saved.
    """
    if not FILE_NAME.fullmatch(document.name):
        # no catalogue: for developers
        raise ReportError(f"{document.name!r} cannot be the name of a report.", hint="Letters, digits, underscore.")
    with speaking(document.language):
        return _files(_distinct(document), facts)


def published(names: Sequence[str], report: str) -> list[str]:
    """Of the files of a report those that also lie flat in the report directory."""
    return [name for name in names if name.startswith((f"{report}.", f"{report}-"))]


def _files(document: Document, facts: Mapping[str, Any]) -> dict[str, bytes]:
    name = document.name
    evidence, left_out = _evidence(document)
    pictures = _pictures(document)
    drawn = {f"{picture.name}.svg": picture.svg.encode() for picture in pictures}
    drawn |= {f"{picture.name}.csv": picture.csv.encode() for picture in pictures}
    numbers = json.dumps([plain(number) for number in document.all_numbers], indent=1, sort_keys=True).encode()
    proofs = _Proofs(evidence, left_out, {**drawn, NUMBERS: numbers})
    pages = {
        f"{name}.md": "\n".join(_markdown(document, proofs)).encode("utf-8", "replace"),
        f"{name}.html": _html(document, proofs).encode("utf-8", "replace"),
    }
    packed = {**pages, **drawn, NUMBERS: numbers, **{place: one.data for place, one in evidence.items()}}
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {place}\n" for place, data in sorted(packed.items()))
    archive = _zip({**packed, SUMS: sums.encode()})
    if len(archive) > MAX_FILE_BYTES:
        long = t("The report has {size:bytes}; it may have {most:bytes}.", size=len(archive), most=MAX_FILE_BYTES)
        raise ReportError(long, hint=t("Take a shorter range."))
    made = {**pages, f"{name}.zip": archive, **drawn}
    result = {
        "version": VERSION,
        "name": name,
        "title": str(document.title),
        "language": document.language,
        "numbers": [plain(number) for number in document.all_numbers],
        "gaps": [{"why": str(gap.why), "step": str(gap.step)} for gap in document.gaps],
        "files": {place: hashlib.sha256(data).hexdigest() for place, data in made.items()},
        **plain(facts),
    }
    return {**made, RESULT: json.dumps(result, indent=1, sort_keys=True).encode()}


def _distinct(document: Document) -> Document:
    """The document with a file name of its own for each picture: `monitoring-latency`, `monitoring-latency-2`."""
    taken: set[str] = set()

    def named(section: Section) -> Section:
        blocks = [
            replace(block, name=_free(f"{document.name}-{_slug(block.name)}", taken))
            if isinstance(block, Picture)
            else block
            for block in section.blocks
        ]
        return replace(section, blocks=blocks, parts=[named(part) for part in section.parts])

    return replace(document, sections=[named(section) for section in document.sections])


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]+", "-", name).strip("-")[:60] or "file"


def _free(name: str, taken: set[str], ending: str = "") -> str:
    """The name, or with the first number that makes it one of its own."""
    place, at = f"{name}{ending}", 2
    while place in taken:
        place, at = f"{name}-{at}{ending}", at + 1
    taken.add(place)
    return place


def _pictures(document: Document) -> list[Picture]:
    return [block for section in document.walk() for block in section.blocks if isinstance(block, Picture)]


@dataclass(frozen=True, slots=True)
class _Proofs:
    """What the ZIP holds beside the pages, by its place there, and the evidence that there was no room for."""

    evidence: Mapping[str, Evidence]
    left_out: Sequence[Evidence]
    own: Mapping[str, bytes]

    def rows(self) -> Iterator[tuple[str, str, int, str]]:
        """Place, what it is, bytes and checksum of every file; those left out last."""
        for place, one in self.evidence.items():
            yield place, one_line(one.about), len(one.data), hashlib.sha256(one.data).hexdigest()
        words = {".svg": t("a picture of this report"), ".csv": t("the numbers of a picture")}
        for place, data in self.own.items():
            about = words.get(place[-4:], t("every number with its query or its run"))
            yield place, about, len(data), hashlib.sha256(data).hexdigest()
        for one in self.left_out:
            yield one_line(one.name), t("left out of the ZIP: too large"), len(one.data), ""


def _evidence(document: Document) -> tuple[dict[str, Evidence], list[Evidence]]:
    """Evidence by its place in the ZIP, each file once; and what there is no room for."""
    placed: dict[str, Evidence] = {}
    left_out: list[Evidence] = []
    taken: set[str] = set()
    seen: set[tuple[str, bytes]] = set()
    room = MAX_EVIDENCE
    for one in (one for section in document.walk() for one in section.evidence):
        if (one.name, hashlib.sha256(one.data).digest()) in seen:
            continue
        seen.add((one.name, hashlib.sha256(one.data).digest()))
        if len(one.data) > room:
            left_out.append(one)
            continue
        room -= len(one.data)
        folder, _, name = one.name.rpartition("/")
        stem, dot, ending = name.rpartition(".")
        stem, ending = (_slug(stem), f".{_slug(ending)}") if dot and stem else (_slug(name), "")
        where = f"evidence/{_slug(folder)}/{stem}" if folder else f"evidence/{stem}"
        placed[_free(where, taken, ending)] = one
    return placed, left_out


def _zip(content: Mapping[str, bytes]) -> bytes:
    """A ZIP whose bytes depend on its content alone."""
    out = BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for place, data in sorted(content.items()):
            entry = zipfile.ZipInfo(place, NO_TIME)
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, data, zipfile.ZIP_DEFLATED, 6)
    return out.getvalue()


def _marked(text: str, write: Callable[[str], str], code: Callable[[str], str], bold: tuple[str, str]) -> str:
    """A text with its markup: `write` escapes what is plain, `code` frames code, `bold` stands round bold text."""
    out, at = "", 0
    line = one_line(text)
    for match in _MARKUP.finditer(line):
        out += write(line[at : match.start()])
        inside = match["bold"]
        out += code(match["code"]) if inside is None else bold[0] + _marked(inside, write, code, bold) + bold[1]
        at = match.end()
    return out + write(line[at:])


def _shown(cell: Cell) -> str:
    return one_line(cell.shown if isinstance(cell, Number) else cell)


def _numeric(table: Table, column: int) -> bool:
    """Whether a column is one of numbers, which stand below each other at the right."""
    cells = [row[column] for row in table.rows if column < len(row)]
    return any(isinstance(cell, Number) for cell in cells) and all(
        isinstance(cell, Number) or not _shown(cell) for cell in cells
    )


# --- HTML ------------------------------------------------------------------------------------------------------------


def _html(document: Document, proofs: _Proofs) -> str:
    places: list[str] = []
    anchors = iter(range(1, 1_000_000))
    body = "\n".join(_section_html(section, 2, anchors, places) for section in document.sections)
    body += _proofs_html(proofs, places)
    return _PAGE.substitute(
        language=document.language,
        title=escape(one_line(document.title)),
        style=_STYLE,
        about="\n".join(f"<p>{_text_html(line)}</p>" for line in document.about),
        contents=escape(t("Contents")),
        places="<ul>\n" + "\n".join(places) + "\n</ul>",
        body=body,
    )


def _section_html(section: Section, level: int, anchors: Iterator[int], places: list[str]) -> str:
    """A section below its title; its place is added to the table of contents."""
    anchor, title = f"s{next(anchors)}", _text_html(section.title)
    places.append(f'<li class="l{level}"><a href="#{anchor}">{title}</a></li>')
    parts = [_section_html(part, min(level + 1, 6), anchors, places) for part in section.parts]
    blocks = [_block_html(block) for block in section.blocks]
    big = ' class="big"' if level == 2 and _lines(section) > HALF_A_PAGE else ""
    return "\n".join(
        [f'<section{big}><h{level} id="{anchor}">{title}</h{level}>', *blocks, *parts, "</section>"],
    )


def _lines(section: Section) -> int:
    """About how many lines it takes on paper."""

    def of(block: object) -> int:
        match block:
            case Picture():
                return PICTURE_LINES
            case Table(rows=rows):
                return len(rows) + 2
            case Code(text=text):
                return text.count("\n") + 2
            case _:
                return 3

    return sum(map(of, section.blocks)) + sum(2 + _lines(part) for part in section.parts)


def _block_html(block: object) -> str:
    match block:
        case Text(text=text):
            return f"<p>{_text_html(text)}</p>"
        case Table():
            return _table_html(block)
        case Code(text=text):
            return f"<pre><code>{_verbatim_html(text)}</code></pre>"
        case Picture(svg=svg, caption=caption, name=name):
            data = escape(t("numbers: {file}", file=f"{name}.csv"))
            return f"<figure>\n{svg}<figcaption>{_text_html(caption)} <small>{data}</small></figcaption></figure>"
        case Gap(why=why, step=step):
            missing, brings = escape(t("Missing:")), escape(t("To fill it:"))
            first = f"<p><b>{missing}</b> {_text_html(why)}</p>"
            return f'<aside class="gap">{first}<p><b>{brings}</b> {_text_html(step)}</p></aside>'
        case _:
            raise TypeError(type(block))


def _text_html(text: str) -> str:
    return _marked(text, escape, lambda code: f"<code>{escape(code)}</code>", ("<b>", "</b>"))


def _verbatim_html(text: str) -> str:
    """Lines as they are; a character that only steers a terminal is a blank."""
    return escape("\n".join(_printable(line) for line in text.splitlines()))


def _printable(line: str) -> str:
    return "".join(char if char.isprintable() or char == "\t" else " " for char in line)


def _table_html(table: Table) -> str:
    width = max([len(table.heads), *(len(row) for row in table.rows)])
    longest = [max((len(_shown(row[at])) for row in table.rows if at < len(row)), default=0) for at in range(width)]
    short = [one for one in longest if one <= SHORT]
    keeps = sum(short) <= MOST_ON_ONE_LINE
    look = [
        " ".join(name for name, fits in (("n", _numeric(table, at)), ("s", keeps and longest[at] <= SHORT)) if fits)
        for at in range(width)
    ]
    heads = [f"<th{_look(one)}>{escape(one_line(word))}</th>" for word, one in zip(table.heads, look, strict=False)]
    rows = [[_cell_html(cell, one) for cell, one in zip(row, look, strict=False)] for row in table.rows]
    return _framed(heads, rows)


def _framed(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    body = "\n".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return f'<div class="t"><table><thead><tr>{"".join(heads)}</tr></thead><tbody>\n{body}\n</tbody></table></div>'


def _look(names: str) -> str:
    return f' class="{names}"' if names else ""


def _cell_html(cell: Cell, look: str) -> str:
    """A cell; the origin of a number is read with the pointer on it."""
    origin = ""
    if isinstance(cell, Number):
        words = ", ".join(f"{name} {value}" for name, value in plain(cell.origin).items())
        origin = f' title="{escape(one_line(words))}"'
    return f"<td{_look(look)}{origin}>{escape(_shown(cell))}</td>"


def _proofs_html(proofs: _Proofs, places: list[str]) -> str:
    title, note = escape(t("Evidence")), _text_html(_note())
    places.append(f'<li class="l2"><a href="#evidence">{title}</a></li>')
    looks = ("", "", "n s", "sum")
    heads = [
        f"<th{_look(look)}>{escape(word)}</th>"
        for look, word in zip(looks, (t("file"), t("what it is"), t("size"), t("SHA-256")), strict=True)
    ]
    rows = [
        [
            f"<td{_look(look)}>{escape(cell)}</td>"
            for look, cell in zip(looks, (place, about, format_value(size, "bytes"), sum_), strict=True)
        ]
        for place, about, size, sum_ in proofs.rows()
    ]
    return f'\n<section class="big"><h2 id="evidence">{title}</h2>\n<p>{note}</p>\n{_framed(heads, rows)}\n</section>'


def _note() -> str:
    return t(
        "All of it is in the ZIP of this report. `sha256sum -c SHA256SUMS` checks it; `numbers.json` says for every "
        "number which query or which run gives it again."
    )


# --- Markdown --------------------------------------------------------------------------------------------------------

# What begins or ends markup within a line; `_` only at the edge of a word, `www.` and `://` become links by themselves.
_SPECIAL: Final = re.compile(r"[\\`*\[\]|~$@]|(?<![^\W_])_|_(?![^\W_])|(?<=\bwww)\.|:(?=//)", re.IGNORECASE)
# What only means something at the beginning of a line.
_LEADING: Final = re.compile(r"^(?P<number>\d{1,9})(?P<dot>[.)])|^(?P<sign>[#>+=-])")


def _text_md(text: str) -> str:
    return _leading(_marked_md(text))


def _marked_md(text: str) -> str:
    return _marked(text, _plain_md, _code_md, ("**", "**"))


def _leading(text: str) -> str:
    return _LEADING.sub(
        lambda hit: f"{hit['number']}\\{hit['dot']}" if hit["number"] else f"\\{hit['sign']}",
        text,
    )


def _plain_md(text: str) -> str:
    """A text as it is: no markup, no HTML, no link."""
    entities = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(lambda hit: f"\\{hit[0]}", entities)


def _code_md(text: str) -> str:
    return f"`{text}`"


def _cell_md(cell: Cell) -> str:
    return _plain_md(_shown(cell))


def _row_md(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _table_md(heads: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[bool]) -> list[str]:
    width = max([len(heads), *map(len, rows)])
    rule = ["---:" if at < len(numeric) and numeric[at] else "---" for at in range(width)]
    return ["", _row_md([*heads, *[""] * (width - len(heads))]), _row_md(rule), *map(_row_md, rows)]


def _markdown(document: Document, proofs: _Proofs) -> Iterator[str]:
    yield f"# {_plain_md(one_line(document.title))}"
    for line in document.about:
        yield from ("", _text_md(line))
    body: list[str] = []
    places: list[tuple[int, str]] = []
    for section in document.sections:
        body += _section_md(section, 2, places)
    places.append((2, t("Evidence")))
    yield from ("", f"## {_plain_md(t('Contents'))}", "")
    taken: set[str] = {_anchor(one_line(document.title)), _anchor(t("Contents"))}
    for level, title in places:
        yield f"{'  ' * (level - 2)}- [{_marked_md(title)}](#{_free_anchor(_anchor(title), taken)})"
    yield from body
    yield from ("", f"## {_plain_md(t('Evidence'))}", "", _text_md(_note()))
    heads = (t("file"), t("what it is"), t("size"), t("SHA-256"))
    rows = [
        (_plain_md(place), _plain_md(about), _plain_md(format_value(size, "bytes")), _code_md(sum_) if sum_ else "")
        for place, about, size, sum_ in proofs.rows()
    ]
    yield from _table_md([_plain_md(head) for head in heads], rows, [False, False, True])
    yield ""


def _section_md(section: Section, level: int, places: list[tuple[int, str]]) -> Iterator[str]:
    title = one_line(section.title)
    places.append((level, title))
    yield from ("", f"{'#' * level} {_marked_md(title)}")
    for block in section.blocks:
        yield from _block_md(block)
    for part in section.parts:
        yield from _section_md(part, min(level + 1, 6), places)


def _anchor(title: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def _free_anchor(anchor: str, taken: set[str]) -> str:
    place, at = anchor, 1
    while place in taken:
        place, at = f"{anchor}-{at}", at + 1
    taken.add(place)
    return place


def _block_md(block: object) -> Iterator[str]:
    match block:
        case Text(text=text):
            yield from ("", _text_md(text))
        case Table(heads=heads, rows=rows):
            cells = [[_cell_md(cell) for cell in row] for row in rows]
            width = max([len(heads), *map(len, rows)])
            numeric = [_numeric(block, column) for column in range(width)]
            yield from _table_md([_plain_md(one_line(head)) for head in heads], cells, numeric)
        case Code(text=text, language=language):
            fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
            lines = [_printable(line) for line in text.splitlines()]
            yield from ("", fence + re.sub(r"[^A-Za-z0-9]", "", language), *lines, fence)
        case Picture(name=name, caption=caption):
            caption = _text_md(caption)
            numbers = t("numbers: {file}", file=f"[{name}.csv]({name}.csv)")
            yield from ("", f"![{_plain_md(one_line(block.caption))}]({name}.svg)", "", f"{caption} ({numbers})")
        case Gap(why=why, step=step):
            first = f"> **{_plain_md(t('Missing:'))}** {_text_md(why)}"
            yield from ("", first, ">", f"> **{_plain_md(t('To fill it:'))}** {_text_md(step)}")
        case _:
            raise TypeError(type(block))
