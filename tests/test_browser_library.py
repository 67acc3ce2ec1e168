"""The library in the browser: found by filter and order, opened, noted, compared, imported and deleted."""

from __future__ import annotations

import csv
import io
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from app.config import Settings, System, load_systems
from app.drift.result import Target
from app.runs.index import Ledger
from app.runs.run import Filter, Run, State, new_run_id
from tests import kept_runs
from tests.console_world import (
    Console,
    choose,
    go_on,
    no_trace,
    ready,
    settled,
    wait_equal,
    wait_text,
    wait_until,
)
from tests.kept_runs import keep, many, result
from tests.test_drift_imported import older, today

pytestmark = pytest.mark.browser
# A system of its own for each group of tests: what one of them deletes or imports, the others do not list.
SHELF, PILE = "shelf", "pile"
FILE = """
title = "{title}"

[drift]
source = "files"
path = "{folder}/month-{{period}}.csv"
label = "churn_label"
identifier = "user_id"
columns = "all"
"""
CALM, DRIFTED, UNDECIDED = "20240501T000001Z-0000c1", "20240501T000002Z-0000d2", "20240501T000003Z-0000e3"
FAILED, DELETED = "20240501T000004Z-0000f4", "20240401T000005Z-0000a5"
PILED = 60
HEAD, ROW = 32, 31
EVIL = "<img src=x onerror=\"document.title='owned'\">](javascript:alert(1)) **b** $x$ =1+1"


def write(console: Console) -> tuple[Settings, dict[str, System]]:
    for name in (SHELF, PILE):
        text = FILE.format(title=name.title(), folder=console.home.parent / "none")
        (Path(console.environ["VIGIE_SYSTEMS"]) / f"{name}.toml").write_text(text)
    settings = Settings.from_env(console.environ)
    return settings, load_systems(settings).by_id


@pytest.fixture(scope="module")
def settings(console) -> Settings:
    """A shelf of five runs of every fate, and a pile of sixty."""
    settings, systems = write(console)
    now, months = time.time(), ("2024-01-31", "2024-02-29")
    keep(settings, systems[SHELF], result(CALM, SHELF, drifted=1, months=months), now - 500)
    drifted = result(DRIFTED, SHELF, drifted=7, months=("2024-01-31", "2024-11-30"), target=Target(0.081, 0.265, 0.346))
    keep(settings, systems[SHELF], drifted, now - 400)
    refused = "2024-03-31 has no rows for 5 of 14 features."
    nothing = result(UNDECIDED, SHELF, drifted=1, months=("2024-01-31", "2024-03-31"), refusal=refused)
    keep(settings, systems[SHELF], nothing, now - 300)
    with Ledger(settings.ledger_url) as ledger:
        reason = "The database is gone: connection refused."
        ledger.add(
            Run(FAILED, "drift", SHELF, "k1", State.FAILED, now - 200, None, None, "", reason, str(settings.home))
        )
        gone = {"ref": months[0], "cur": months[1], "share": 1 / 16, "drifted": 1, "counted": 16}
        ledger.add(Run(DELETED, "drift", SHELF, "k2", State.DONE, now - 9000, outcome="NO_ACTION", path="", **gone))
        for run in many(settings, systems[PILE], PILED, settings.home):
            ledger.add(run)
    return settings


@pytest.fixture
def extra(settings) -> Iterator[Run]:
    """A run that a test may delete; gone after it in any case."""
    system = load_systems(settings).by_id[SHELF]
    run = new_run_id()
    made = keep(settings, system, result(run, SHELF, drifted=2, months=("2023-12-31", "2024-01-31")), time.time())
    yield made
    with Ledger(settings.ledger_url) as ledger:
        ledger.remove(run)


def opened(console: Console, tab: Any, query: str = "", system: str = SHELF) -> Any:
    tab.goto(f"{console.url}/reports?system={system}{query}")
    return ready(tab, "reports")


def listed(tab: Any) -> list[list[str]]:
    """What the table of runs says, cell by cell, as it is read out to those who cannot see it."""
    script = """() => Array.from(document.querySelectorAll('.st-key-library-table canvas tbody tr'))
        .map(row => Array.from(row.querySelectorAll('td')).map(cell => cell.innerText))"""
    found: list[list[str]] = tab.evaluate(script)
    return found


def wait_listed(tab: Any, number: int, what: str = "") -> list[list[str]]:
    """Until the table has so many rows and every one of them says `what`."""
    return wait_until(
        f"{number} rows that say {what!r}",
        # Both of one look: the table may be drawn again between two.
        lambda: rows if len(rows := listed(tab)) == number and all(what in " ".join(row) for row in rows) else None,
        page=tab,
    )


def tick(tab: Any, place: int) -> None:
    """Click the box of a row, counted from 0."""
    box = settled(tab.locator(".st-key-library-table canvas").first)
    tab.mouse.click(box["x"] + 16, box["y"] + HEAD + ROW * place + ROW / 2)


def address(tab: Any) -> dict[str, list[str]]:
    return parse_qs(urlsplit(tab.url).query)


def main(tab: Any) -> Any:
    return tab.locator("[data-testid=stMain]")


def saved(tab: Any, name: str) -> tuple[str, bytes]:
    """Name and content of the file behind a button."""
    with tab.expect_download() as waiting:
        main(tab).get_by_role("button", name=name).click()
    return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()


def rows_of(settings: Settings, system: str = SHELF) -> list[str]:
    with Ledger(settings.ledger_url) as ledger:
        return [run.id for run in ledger.library(Filter(systems=(system,)), limit=1000)]


# --- finding ---------------------------------------------------------------------------------------------------------


def test_every_run_is_listed_with_its_fate_in_a_word_and_nothing_is_blank(console, settings, page):
    opened(console, page)
    wait_text(page, r"5 runs")
    rows = wait_listed(page, 5)
    decisions = [" ".join(row) for row in rows]
    for place, word in enumerate(
        ("✕ failed", "○ UNDECIDED", "▲ RETRAINING_TRIGGERED", "● NO_ACTION", "● NO_ACTION (deleted)")
    ):
        assert word in decisions[place]
    assert "0.44 · 7 of 16" in decisions[2]
    assert "0.081" in decisions[2]
    assert "2024-01-31 → 2024-11-30" in decisions[2]
    assert decisions[0].count("unknown") >= 3
    assert [cell for row in rows for cell in row if not cell.strip()] == []
    no_trace(page)


def test_filters_narrow_the_list_stand_in_the_address_and_survive_a_reload(console, settings, page):
    opened(console, page)
    page.get_by_label("Find").fill("connection refused")
    page.get_by_label("Find").press("Enter")
    wait_listed(page, 1, "failed")
    wait_equal(page, lambda: address(page).get("find"), ["connection refused"])
    main(page).get_by_role("button", name="Clear").click()
    wait_listed(page, 5)
    wait_until("no filter in the address", lambda: "find" not in address(page), page=page)

    box = page.locator("[data-testid=stMultiSelect]").filter(has_text="Decision").locator("input")
    choose(page, box, "NO_ACTION", lambda: "decision" in address(page))
    wait_listed(page, 2, "NO_ACTION")
    page.get_by_label("Month").fill("2024-02")
    page.get_by_label("Month").press("Enter")
    wait_equal(page, lambda: address(page).get("month"), ["2024-02"])
    page.reload()
    ready(page, "reports")
    wait_listed(page, 2, "NO_ACTION")
    wait_equal(page, page.get_by_label("Month").input_value, "2024-02")

    go_on(page, f"/reports?system={SHELF}&find=nothing+of+the+kind")
    wait_text(page, "No run fits these filters")
    main(page).get_by_role("button", name="Clear filters").click()
    wait_listed(page, 5)
    no_trace(page)


def test_a_link_with_filter_order_and_page_opens_what_it_says_at_once(console, settings, page):
    opened(console, page, "&sort=share&order=↑&page=2&decision=NO_ACTION", PILE)
    said = wait_text(page, r"(\d+) runs · page 2 of (\d+)")
    with Ledger(settings.ledger_url) as ledger:
        wanted = Filter(systems=(PILE,), decisions=("NO_ACTION",))
        runs = ledger.library(wanted, sort="share", descending=False, limit=25, offset=25)
        assert int(said[1]) == ledger.library_count(wanted)
    assert len(runs) > 1
    for row, run in zip(wait_listed(page, len(runs)), runs, strict=True):
        assert f"{run.ref} → {run.cur}" in row
        assert f"{run.share:.2f} · {run.drifted} of 16" in row
    no_trace(page)


def test_the_head_of_a_column_and_the_pages_order_all_runs_not_only_those_in_sight(console, settings, page):
    opened(console, page, "", PILE)
    wait_text(page, r"60 runs · page 1 of 3")
    wait_listed(page, 25)
    head = settled(page.locator(".st-key-library-table canvas").first)
    # when 136, months 162, decision 178, then the share
    share = (head["x"] + 33 + 136 + 162 + 178 + 40, head["y"] + HEAD / 2)
    page.mouse.click(*share)
    wait_equal(page, lambda: address(page).get("sort"), ["share"])
    with Ledger(settings.ledger_url) as ledger:
        wanted = Filter(systems=(PILE,))
        largest = ledger.library(wanted, sort="share", limit=25)
        smallest = ledger.library(wanted, sort="share", descending=False, limit=25)
        last = ledger.library(wanted, sort="share", descending=False, limit=25, offset=50)
    wait_equal(page, lambda: shown(page), [months(run) for run in largest])
    page.mouse.click(*share)
    wait_equal(page, lambda: shown(page), [months(run) for run in smallest])
    wait_equal(page, lambda: address(page).get("order"), ["↑"])
    page.get_by_role("button", name="Page 3", exact=True).click()
    wait_equal(page, lambda: shown(page), [months(run) for run in last])
    wait_equal(page, lambda: address(page).get("page"), ["3"])
    page.get_by_label("Find").fill("RETRAINING")
    page.get_by_label("Find").press("Enter")
    wait_until("a filter begins at the first page", lambda: "page" not in address(page), page=page)
    no_trace(page)


def shown(tab: Any) -> list[str]:
    """The months of every row of the table."""
    return [row[1] for row in listed(tab)]


def months(run: Run) -> str:
    return f"{run.ref} → {run.cur}"


# --- opening ---------------------------------------------------------------------------------------------------------


def test_a_ticked_run_is_opened_with_its_report_and_both_files_under_their_names(console, settings, page):
    opened(console, page)
    wait_listed(page, 5)
    tick(page, 2)
    frame = page.locator(".st-key-verdict-trigger")
    wait_text(frame, r"RETRAINING_TRIGGERED \(SIMULÉ\) · 7 of 16 columns drifted: 0\.44 ≥ 0\.30")
    wait_equal(page, lambda: address(page).get("run"), [DRIFTED])
    name, html = saved(page, "Download HTML")
    assert name == "drift_2024-01-31_vs_2024-11-30.html"
    assert f"Report of {DRIFTED}".encode() in html
    name, data = saved(page, "Download JSON")
    assert name == "drift_2024-01-31_vs_2024-11-30.json"
    assert json.loads(data) == {"of": DRIFTED}
    main(page).get_by_role("radio", name="Evidently report").click()
    report = page.frame_locator("iframe[src*='/reports/frame/']")
    report.get_by_text(f"Report of {DRIFTED}").first.wait_for(state="visible")
    assert main(page).get_by_role("link", name="Full page").get_attribute("href") == f"/reports/view/{DRIFTED}"

    page.reload()
    ready(page, "reports")
    frame.wait_for(state="visible")
    main(page).get_by_role("button", name="Close").click()
    frame.wait_for(state="detached")
    wait_until("no run in the address", lambda: "run" not in address(page), page=page)
    page.go_back()
    frame.wait_for(state="visible")
    main(page).get_by_role("link", name="Open on Compare months").click()
    ready(page, "drift")
    wait_equal(page, lambda: address(page).get("run"), [DRIFTED])
    no_trace(page)


def test_a_run_without_a_verdict_says_what_became_of_it(console, settings, page):
    opened(console, page)
    for run, said in (
        (UNDECIDED, r"UNDECIDED[\s\S]*2024-03-31 has no rows for 5 of 14 features"),
        (FAILED, r"This run failed\.[\s\S]*The database is gone: connection refused"),
        (DELETED, r"FILES DELETED[\s\S]*VIGIE_KEEP_BYTES[\s\S]*share 0\.06 · 1 of 16"),
        ("20240101T000000Z-000000", r"There is no run 20240101T000000Z-000000"),
        ("../../etc/passwd", r"There is no run \.\./\.\./etc/passwd"),
    ):
        go_on(page, f"/reports?system={SHELF}&run={run}")
        wait_text(page, said)
        no_trace(page)


def test_a_note_is_text_shows_in_the_list_at_once_and_is_found_by_its_words(console, settings, page):
    opened(console, page, f"&run={CALM}")
    notes = page.locator(".st-key-notes")
    notes.locator("input").fill(EVIL)
    notes.get_by_role("button", name="Acknowledge", exact=True).click()
    wait_text(notes, r"Acknowledged\s*\d\d:\d\d:\d\d · <img")
    wait_until("the list says it", lambda: any("✓ acknowledged · 1 note" in row for row in listed(page)), page=page)
    page.reload()
    ready(page, "reports")
    wait_text(notes, re.escape("](javascript:alert(1)) **b** $x$ =1+1"))
    assert notes.locator("img, a").count() == 0
    assert page.title() != "owned"
    go_on(page, f"/reports?system={SHELF}&seen=acknowledged&find=onerror")
    wait_listed(page, 1, "NO_ACTION")
    no_trace(page)


# --- side by side ----------------------------------------------------------------------------------------------------


def test_two_ticked_runs_stand_side_by_side_and_a_third_is_said(console, settings, page):
    opened(console, page)
    wait_listed(page, 5)
    tick(page, 2)
    page.locator(".st-key-verdict-trigger").wait_for(state="visible")
    tick(page, 3)
    wait_text(page, r"NO_ACTION → RETRAINING_TRIGGERED: share 0\.06 → 0\.44 \(1 of 16 → 7 of 16 columns\)")
    wait_text(page, r"target drift 0\.024 → 0\.081; 6 newly drifted, 0 recovered, 10 the same")
    wait_equal(page, lambda: address(page).get("run"), [DRIFTED, CALM])
    name, data = saved(page, "Download CSV")
    assert name == f"versus_{CALM}_{DRIFTED}.csv"
    rows = list(csv.DictReader(io.StringIO(data.decode())))
    assert len(rows) == 16
    assert sum(row["change"] == "newly drifted" for row in rows) == 6
    page.locator(".st-key-versus-swap").get_by_role("button").click()
    wait_text(page, r"RETRAINING_TRIGGERED → NO_ACTION[\s\S]*0 newly drifted, 6 recovered")

    tick(page, 0)
    wait_text(page, "3 runs are ticked, two can be compared")
    main(page).get_by_role("button", name="Compare the last two").click()
    wait_text(page, f"Run {FAILED} cannot be compared: it is failed")
    main(page).get_by_role("button", name="Untick all").click()
    wait_until("nothing is open", lambda: "run" not in address(page), page=page)
    no_trace(page)


# --- importing -------------------------------------------------------------------------------------------------------


def bring(tab: Any, files: list[dict[str, Any]], name: str) -> None:
    main(tab).get_by_role("button", name="Import a report").click()
    dialog = tab.get_by_role("dialog")
    dialog.locator("input[type=file]").set_input_files(files)
    dialog.get_by_text(files[-1]["name"]).first.wait_for(state="visible")
    dialog.get_by_label("Name").fill(name)
    dialog.get_by_label("Name").press("Tab")
    dialog.get_by_role("button", name="Import", exact=True).click()


def file(name: str, content: Any) -> dict[str, Any]:
    kind = "text/html" if name.endswith("html") else "application/json"
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    return {"name": name, "mimeType": kind, "buffer": data}


OLD_HTML = b"<html><head><title>0.4</title></head><body><h1>Evidently 0.4 report</h1></body></html>"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ([file("old.json", older())], r"NO_ACTION|RETRAINING_TRIGGERED"),
        ([file("new.json", today()), file("new.html", kept_runs.page("today"))], r"NO_ACTION|RETRAINING_TRIGGERED"),
        ([file("old.html", OLD_HTML)], r"NOT DECIDED HERE[\s\S]*Imported from an HTML without JSON"),
    ],
    ids=["0.7.15", "today", "0.4 HTML"],
)
def test_a_report_from_elsewhere_is_imported_opened_and_has_the_same_frame(console, settings, page, files, said):
    opened(console, page, "", PILE)
    before = rows_of(settings, PILE)
    name = f"2020-01_vs_2020-0{len(before) % 9 + 1}"
    bring(page, files, name)
    wait_until("the run is open", lambda: len(address(page).get("run", [])) == 1, page=page)
    run = address(page)["run"][0]
    wait_until("it is listed", lambda: run in rows_of(settings, PILE), page=page)
    frame = page.locator("[class*=st-key-verdict-]").first
    wait_text(frame, said)
    frame.get_by_role("button", name="Acknowledge", exact=True).wait_for(state="visible")
    kinds = {one["name"].rpartition(".")[2].upper() for one in files}
    for kind in kinds:
        frame.get_by_role("button", name=f"Download {kind}").wait_for(state="visible")
    wait_equal(page, frame.get_by_role("button", name="Download").count, len(kinds))
    # The same bytes again: nothing twice, and the way to the run that has them.
    main(page).get_by_role("button", name="Close").click()
    bring(page, files, "again")
    dialog = page.get_by_role("dialog")
    wait_text(dialog, "This report is there already")
    dialog.get_by_role("button", name="Open that run").click()
    wait_equal(page, lambda: address(page).get("run"), [run])
    assert len(rows_of(settings, PILE)) == len(before) + 1
    no_trace(page)


def test_what_is_no_report_is_refused_in_words_and_can_be_given_again(console, settings, page):
    opened(console, page, "", PILE)
    before = rows_of(settings, PILE)
    bring(page, [file("nonsense.json", b'{"metrics": []}')], EVIL[:100])
    dialog = page.get_by_role("dialog")
    wait_text(dialog, r"Nothing was imported\.[\s\S]*no list of metrics")
    dialog.get_by_text("nonsense.json").first.wait_for(state="visible")
    assert rows_of(settings, PILE) == before
    assert page.title() != "owned"
    no_trace(page)


# --- deleting --------------------------------------------------------------------------------------------------------


def test_a_run_is_deleted_only_after_it_was_named_and_confirmed(console, settings, page, extra):
    folder = Path(extra.path)
    flat = folder.parent.parent / "drift_2023-12-31_vs_2024-01-31.html"
    with Ledger(settings.ledger_url) as ledger:
        ledger.note(extra.id, "seen", acknowledged=True)
    opened(console, page, f"&run={extra.id}")
    main(page).get_by_role("button", name="Delete").click()
    dialog = page.get_by_role("dialog")
    wait_text(dialog, rf"{extra.id}[\s\S]*2023-12-31 → 2024-01-31[\s\S]*1 note[\s\S]*cannot be undone")
    assert dialog.get_by_role("button", name="Delete").is_disabled()
    dialog.get_by_role("button", name="Keep it").click()
    dialog.wait_for(state="detached")
    assert folder.is_dir()
    assert extra.id in rows_of(settings)

    main(page).get_by_role("button", name="Delete").click()
    dialog.get_by_text("Somebody acknowledged this decision").click()
    wait_until("the button wakes", dialog.get_by_role("button", name="Delete").is_enabled, page=page)
    dialog.get_by_role("button", name="Delete").click()
    dialog.wait_for(state="detached")
    wait_until("the run has left the address", lambda: "run" not in address(page), page=page)
    assert not folder.exists()
    assert not flat.exists()
    assert extra.id not in rows_of(settings)
    wait_listed(page, 5)
    no_trace(page)


def test_a_run_that_is_still_going_is_not_deleted(console, settings, page):
    run = new_run_id()
    with Ledger(settings.ledger_url) as ledger:
        ledger.add(Run(run, "drift", SHELF, "going", State.RUNNING, time.time(), time.time(), path=str(settings.home)))
        try:
            opened(console, page, f"&run={run}")
            wait_text(page, "This run is still going")
            main(page).get_by_role("button", name="Delete").click()
            wait_text(page.get_by_role("dialog"), "Cancel it first")
            assert page.get_by_role("dialog").get_by_role("button", name="Delete").count() == 0
        finally:
            ledger.remove(run)
    no_trace(page)
