"""A document as files: what is in them, what hostile values become, that equal documents are equal bytes."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt

from app.errors import ReportError
from app.report import write
from app.report.document import Code, Document, Evidence, Gap, Number, Picture, Section, Table, Text
from app.report.write import files, published
from app.runs.html import guarded
from app.words.language import FRENCH

EVIL = "</td><script>alert(1)</script><img src=x onerror=alert(2)> | `a` **b** [c](javascript:d) http://evil.example \x1b[31m"
SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><title>a chart</title></svg>'
SENT = Number("sent", 7043.0, "7,043", {"run": "20260921T141800Z-abc123", "field": "sent"})
P95 = Number("p95", None, "unknown: no request", {"query": 'q{a="b"}', "at": 1790000000.0})


def document(**changes: object) -> Document:
    load = Section(
        "Load run",
        [Table(["what", "how many"], [["requests", SENT], ["p95", P95]]), Code("x 1\n```\n<b>\n", "text")],
        [Evidence("load/metrics before.txt", b"x 1\n", "raw metrics before")],
    )
    sections = [
        Section(
            "Charts of `api:8000`",
            [Text("The p95 is **high**."), Picture("p 95", SVG, "t,v\r\n", "A *p95*")],
            (),
            [load],
        ),
        Section("Drift", [Gap("Nothing was compared.", "Run `python -m app drift`.")]),
        Section("Drift", [Text("Twice.")]),
    ]
    base = Document("monitoring", "Report of <S>", ["A line"], sections, "en", [Number("x", 1.0, "1", {"file": "a"})])
    return replace(base, **changes)


class Page(HTMLParser):
    """Tags with their attributes, and all text."""

    def __init__(self, html: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def rendered(markdown: bytes) -> str:
    """The HTML of GitHub's Markdown, with raw HTML let through, as a careless reader would."""
    return MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(markdown.decode())


def test_every_file_is_there_and_its_checksum_is_its_own():
    made = files(document(), run="r", report="monitoring", system="s", since=1, until=2)
    assert set(made) == {
        *(f"monitoring.{ending}" for ending in ("md", "html", "zip")),
        *(f"monitoring-p-95.{ending}" for ending in ("svg", "csv")),
        "result.json",
    }
    assert published(list(made), "monitoring") == [name for name in made if name != "result.json"]
    result = json.loads(made["result.json"])
    assert result["files"] == {
        name: hashlib.sha256(data).hexdigest() for name, data in made.items() if name != "result.json"
    }
    assert [one["name"] for one in result["numbers"]] == ["sent", "p95", "x"]
    assert result["numbers"][1] == {"name": "p95", "value": None, "shown": P95.shown, "origin": dict(P95.origin)}
    assert result["gaps"] == [{"why": "Nothing was compared.", "step": "Run `python -m app drift`."}]
    assert (result["version"], result["system"], result["language"]) == (1, "s", "en")


def test_the_zip_has_pages_pictures_numbers_and_evidence_and_sums_that_hold():
    made = files(document())
    with zipfile.ZipFile(io.BytesIO(made["monitoring.zip"])) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    sums = dict(reversed(line.split("  ")) for line in content.pop("SHA256SUMS").decode().splitlines())
    assert sums == {name: hashlib.sha256(data).hexdigest() for name, data in content.items()}
    assert content["evidence/load/metrics-before.txt"] == b"x 1\n"
    assert content["monitoring.html"] == made["monitoring.html"]
    assert json.loads(content["numbers.json"])[0]["origin"]["field"] == "sent"
    for page in ("monitoring.html", "monitoring.md"):
        assert sums["evidence/load/metrics-before.txt"] in made[page].decode()


def test_equal_documents_are_equal_bytes():
    assert files(document(), since=1) == files(document(), since=1)
    assert files(document()) != files(document(title="Another"))


def test_the_page_needs_no_script_and_nothing_from_elsewhere():
    page = Page(files(document())["monitoring.html"])
    names = {name for name, _ in page.tags}
    assert not names & {"script", "link", "iframe", "object", "embed", "base", "form", "img", "image", "use"}
    assert dict(page.tags)["html"] == {"lang": "en"}
    references = [attributes.get("href") or "" for name, attributes in page.tags if name == "a"]
    places = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    assert len(references) == 5
    assert {one.removeprefix("#") for one in references} == places
    css = files(document())["monitoring.html"].decode().partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in css
    assert "@import" not in css
    assert "@media print" in css


def test_what_a_sentence_marks_is_marked_and_a_gap_is_framed_with_its_step():
    html = files(document())["monitoring.html"].decode()
    assert "<b>high</b>" in html
    assert "Charts of <code>api:8000</code></h2>" in html
    assert '<aside class="gap">' in html
    assert "<code>python -m app drift</code>" in html
    assert '<td class="n" title="run 20260921T141800Z-abc123, field sent">7,043</td>' in html.replace("n s", "n")
    assert '<section class="big">' in html


def test_values_from_outside_are_shown_and_do_nothing():
    evil = Document(
        "monitoring",
        EVIL,
        [EVIL],
        [
            Section(
                EVIL,
                [
                    Text(EVIL),
                    Table([EVIL], [[EVIL], [Number(EVIL, 1.0, EVIL, {EVIL: EVIL})]]),
                    Code(EVIL, EVIL),
                    Gap(EVIL, EVIL),
                    Picture("../../etc/passwd", SVG, "", EVIL),
                ],
                [Evidence("../../../x/" + EVIL, b"1", EVIL), Evidence(".hidden", b"2", EVIL), Evidence("", b"3", EVIL)],
            )
        ],
        "en",
    )
    made = files(evil)
    assert {name for name in made if name.endswith(".svg")} == {"monitoring-etc-passwd.svg"}
    plain = Page(files(document())["monitoring.html"])
    page = Page(made["monitoring.html"])
    allowed = {name for name, _ in plain.tags}
    assert {name for name, _ in page.tags} <= allowed
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert "<script>alert(1)</script>" in page.text
    html = rendered(made["monitoring.md"])
    reading = Page(html.encode())
    assert {name for name, _ in reading.tags} <= allowed | {"img", "blockquote", "strong"}
    assert [attributes["src"] for name, attributes in reading.tags if name == "img"] == ["monitoring-etc-passwd.svg"]
    links = [attributes["href"] or "" for name, attributes in reading.tags if name == "a"]
    assert [one for one in links if not one.startswith("#")] == ["monitoring-etc-passwd.csv"]
    assert "alert(1)" in reading.text
    with zipfile.ZipFile(io.BytesIO(made["monitoring.zip"])) as archive:
        assert not [name for name in archive.namelist() if ".." in name or name.startswith(("/", "."))]
        assert sum(name.startswith("evidence/") for name in archive.namelist()) == 3


def test_the_markdown_is_what_github_shows():
    page = Page(rendered(files(document())["monitoring.md"]).encode())
    assert page.tags[0][0] == "h1"
    assert "Report of <S>" in page.text
    links = [attributes["href"] for name, attributes in page.tags if name == "a"]
    assert links[:5] == ["#charts-of-api8000", "#load-run", "#drift", "#drift-1", "#evidence"]
    assert "monitoring-p-95.csv" in links
    assert [attributes["src"] for name, attributes in page.tags if name == "img"] == ["monitoring-p-95.svg"]
    assert "x 1\n```\n<b>\n" in page.text
    assert sum(name == "table" for name, _ in page.tags) == 2
    aligned = [attributes for name, attributes in page.tags if name == "td"][1]
    assert "right" in str(aligned)


@pytest.mark.parametrize(
    "text", ["# no title", "1. no list", "- no list", "> no quote", "+ x", "a_b_c __init__ ~~x~~ $1$"]
)
def test_a_sentence_is_no_other_markup(text):
    section = Section("s", [Text(text)])
    page = Page(rendered(files(document(sections=[section]))["monitoring.md"]).encode())
    assert text in page.text
    assert not {name for name, _ in page.tags} & {"em", "strong", "s", "del", "ol", "blockquote"}


def test_cells_are_shown_as_they_are():
    cell = "`a` **b** | _c_ \\ <d> *"
    made = files(document(sections=[Section("s", [Table(["head"], [[cell]])])]))
    assert cell in Page(made["monitoring.html"]).text
    assert cell in Page(rendered(made["monitoring.md"]).encode()).text


def test_a_table_without_rows_and_a_row_of_another_length_are_tables():
    section = Section("s", [Table(["a", "b"], []), Table(["a"], [["1", "2"], []])])
    made = files(document(sections=[section]))
    assert made["monitoring.html"].count(b"<table>") == 3
    assert rendered(made["monitoring.md"]).count("<table>") == 3


def test_pictures_and_evidence_of_one_name_each_keep_their_own_file():
    pictures = Section("s", [Picture("a", SVG, "1", ""), Picture("a", SVG, "2", "")])
    same = [Evidence("m.txt", b"1", "a"), Evidence("m.txt", b"1", "a"), Evidence("m.txt", b"2", "a")]
    made = files(document(sections=[pictures, replace(pictures, evidence=same)]))
    assert {name for name in made if name.endswith(".csv")} == {
        *(f"monitoring-{name}.csv" for name in ("a", "a-2", "a-3", "a-4")),
    }
    with zipfile.ZipFile(io.BytesIO(made["monitoring.zip"])) as archive:
        assert [name for name in archive.namelist() if name.startswith("evidence/")] == [
            "evidence/m-2.txt",
            "evidence/m.txt",
        ]


def test_evidence_that_has_no_room_is_left_out_and_named(monkeypatch):
    monkeypatch.setattr(write, "MAX_EVIDENCE", 10)
    proofs = [Evidence("big.txt", b"x" * 11, "big"), Evidence("small.txt", b"x" * 10, "small")]
    made = files(document(sections=[Section("s", [], proofs)]))
    with zipfile.ZipFile(io.BytesIO(made["monitoring.zip"])) as archive:
        assert [name for name in archive.namelist() if name.startswith("evidence")] == ["evidence/small.txt"]
    for page in ("monitoring.html", "monitoring.md"):
        assert "left out of the ZIP: too large" in made[page].decode()
    monkeypatch.setattr(write, "MAX_FILE_BYTES", 100)
    with pytest.raises(ReportError, match="it may have 100 B"):
        files(document())


def test_a_name_that_is_no_file_is_refused():
    with pytest.raises(ReportError):
        files(document(name="../x"))


def test_a_report_is_written_in_its_own_language():
    made = files(document(language=FRENCH))
    html = made["monitoring.html"].decode()
    assert '<html lang="fr">' in html
    assert "Sommaire" in html
    assert "Pièces justificatives" in made["monitoring.md"].decode()


def test_our_guard_leaves_the_page_as_it_is_but_for_its_policy():
    """Served in the frame of the console it gets the policy of the sandbox in place of its own."""
    html = files(document())["monitoring.html"]
    shown = guarded(html)
    assert html.replace(b"<meta http-equiv", b"<basefont http-equiv") in shown
