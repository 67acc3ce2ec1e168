"""What a stored verdict leads to in the browser: what-if, the history, notes that stay, the distributions of a column."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.config import Settings, System, load_systems
from app.runs.index import Ledger
from tests.console_world import (
    Console,
    choose,
    no_trace,
    ready,
    settled,
    values,
    wait_equal,
    wait_text,
    wait_until,
)
from tests.kept_runs import keep, result
from tests.test_browser_main_path import run_in_address

pytestmark = pytest.mark.browser
SYSTEM = "kept"
MONTHS = ("2024-01-31", "2024-02-29", "2024-03-31", "2024-04-30")
# Drifted columns of 16 in each run: only the last one reaches the threshold of 0.30.
DRIFTED = (1, 4, 7)
HOSTILE = "](javascript:alert(1)) <img src=x onerror=alert(1)> $x^2$ :material/home: **bold**"
FILE = """
title = "Kept runs"

[drift]
source = "files"
path = "{folder}/month-{{period}}.csv"
label = "churn_label"
identifier = "user_id"
columns = "all"
"""


def write_months(console: Console) -> System:
    """A system of its own beside the others, so that its history is what this file put there."""
    folder = console.home.parent / "kept-data"
    folder.mkdir(exist_ok=True)
    for month in MONTHS:
        rows = "".join(f"{row},{row % 7},{row % 2}\n" for row in range(100))
        (folder / f"month-{month}.csv").write_text(f"user_id,feature_00,churn_label\n{rows}")
    (Path(console.environ["VIGIE_SYSTEMS"]) / f"{SYSTEM}.toml").write_text(FILE.format(folder=folder))
    return load_systems(Settings.from_env(console.environ)).by_id[SYSTEM]


@pytest.fixture(scope="module")
def runs(console) -> list[str]:
    """Three finished comparisons, the oldest first: 1, 4 and 7 of 16 columns drifted."""
    settings, system = Settings.from_env(console.environ), write_months(console)
    made = []
    for place, drifted in enumerate(DRIFTED):
        run = f"20240501T00000{place}Z-00000{place}"
        found = result(run, SYSTEM, drifted=drifted, months=(MONTHS[place], MONTHS[place + 1]))
        keep(settings, system, found, time.time() - 300 + 60 * place)
        made.append(run)
    return made


def open_run(console: Console, page: Any, run: str, view: str = "Why") -> Any:
    page.goto(f"{console.url}/drift?system={SYSTEM}&run={run}")
    ready(page, "drift")
    page.locator("[class*=st-key-verdict-]").wait_for(state="visible")
    if view != "Why":
        page.locator("[data-testid=stMain]").get_by_role("radio", name=view, exact=True).click()
    return page


def plotted(page: Any, name: str) -> list[dict[str, Any]]:
    """The traces of the chart whose key begins so: names, values, run ids."""
    script = """name => {
        const plot = document.querySelector(`[class*="st-key-${name}"] .js-plotly-plot`);
        return plot ? plot.data.map(t => ({name: t.name, x: Array.from(t.x || []), y: Array.from(t.y || []),
            customdata: Array.from(t.customdata || [])})) : [];
    }"""
    found: list[dict[str, Any]] = page.evaluate(script, name)
    return found


def points(page: Any, name: str, what: str) -> dict[str, list[Any]]:
    """One property of the points of a chart of runs, by decision."""
    return {trace["name"]: trace[what] for trace in plotted(page, name) if trace["customdata"]}


def test_a_turning_point_turns_the_hypothetical_verdict_alone_and_reset_takes_it_back(console, page, runs):
    open_run(console, page, runs[1], "What if")
    frame = page.locator(".st-key-what-if")
    wait_text(frame, r"What if:[\s\S]*NO_ACTION · 4 of 16 columns drifted: 0\.25 < 0\.30")
    wait_text(frame, "nothing is stored, no gauge moves")
    wait_text(page, r"Would have triggered 1 of the last 3 runs as compared")

    point = page.locator("[class*=st-key-flip-]").filter(has_text="share threshold of 0.25 or lower")
    point.get_by_role("button", name="Try").click()
    wait_text(frame, r"RETRAINING_TRIGGERED\s*\(SIMULÉ\) · 4 of 16 columns drifted: 0\.25 ≥ 0\.25")
    wait_text(page, r"Would have triggered 2 of the last 3 runs, as compared 1")
    wait_text(frame, "This turns the verdict")
    wait_text(page, r"set in the \[drift\] table of kept\.toml:\s*threshold = 0\.25")
    # One step of the slider above the point, and it is turned back. Until then the slider of before may be there.
    slider = page.get_by_role("slider", name="Share threshold")
    wait_equal(page, lambda: values(slider), ["0.25"])
    slider.press("ArrowRight")
    wait_text(frame, r"NO_ACTION · 4 of 16 columns drifted: 0\.25 < 0\.26")

    page.get_by_role("button", name="Reset").click()
    wait_text(frame, r"NO_ACTION · 4 of 16 columns drifted: 0\.25 < 0\.30")
    page.locator(".st-key-verdict-none").wait_for(state="visible")
    with Ledger(Settings.from_env(console.environ).ledger_url) as ledger:
        assert [run.id for run in ledger.history(SYSTEM)] == runs
    no_trace(page)


def test_a_column_left_out_is_in_neither_number_and_stands_in_the_lines_for_the_file(console, page, runs):
    open_run(console, page, runs[2], "What if")
    frame = page.locator(".st-key-what-if")
    wait_text(frame, r"7 of 16 columns drifted")
    box = page.locator("[data-testid=stMultiSelect]").filter(has_text="Columns left out")
    choose(page, box.locator("input"), "feature_00", lambda: "feature_00" in box.inner_text())
    wait_text(frame, r"6 of 15 columns drifted: 0\.40 ≥ 0\.30")
    wait_text(page, r'left_out = \["feature_00"\]')
    no_trace(page)


def test_the_history_shows_every_run_and_a_point_opens_its_run(console, page, runs):
    open_run(console, page, runs[0], "History")
    # First that of the months above, and of all when they are asked for.
    wait_text(page, "1 run with a share")
    page.get_by_role("radio", name="All months").click()
    wait_text(page, "3 runs with a share")
    shares = {"NO_ACTION": [1 / 16, 4 / 16], "RETRAINING_TRIGGERED": [7 / 16]}
    wait_equal(page, lambda: points(page, "history-ran", "y"), shares)
    assert points(page, "history-ran", "customdata") == {"NO_ACTION": runs[:2], "RETRAINING_TRIGGERED": runs[2:]}

    page.get_by_role("radio", name="Current month").click()
    months = {"NO_ACTION": list(MONTHS[1:3]), "RETRAINING_TRIGGERED": [MONTHS[3]]}
    wait_equal(
        page, lambda: {name: [x[:10] for x in of] for name, of in points(page, "history-month", "x").items()}, months
    )

    box = settled(page.locator("[class*=st-key-history-month] .js-plotly-plot .scatterlayer .point").last)
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    # Plotly opens what it hovers over.
    page.locator("[class*=st-key-history-month] .hoverlayer .hovertext").first.wait_for(state="attached")
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    wait_equal(page, lambda: run_in_address(page), runs[2])
    page.locator(".st-key-verdict-trigger").wait_for(state="visible")
    no_trace(page)


def test_a_note_and_an_acknowledgement_stay_with_their_time_and_are_text(console, page, runs):
    open_run(console, page, runs[0])
    notes = page.locator(".st-key-notes")
    notes.get_by_role("button", name="Add note").click()
    wait_text(notes, "The note is empty")
    notes.locator("input").fill(HOSTILE)
    notes.get_by_role("button", name="Add note").click()
    wait_text(notes, r"Note\s*\d\d:\d\d:\d\d · " + re.escape(HOSTILE).replace(":material", ":.?material"))
    # What was written is taken out of the box once it is kept.
    wait_equal(page, notes.locator("input").input_value, "")
    notes.locator("input").fill("calm since the release")
    notes.get_by_role("button", name="Acknowledge", exact=True).click()
    wait_text(notes, r"Acknowledged\s*\d\d:\d\d:\d\d · calm since the release")

    page.reload()
    ready(page, "drift")
    wait_text(notes, r"Acknowledged\s*\d\d:\d\d:\d\d · calm since the release")
    wait_until("the hostile note", lambda: HOSTILE in notes.inner_text().replace("\N{WORD JOINER}", ""), page=page)
    assert notes.locator("a, img").count() == 0
    with Ledger(Settings.from_env(console.environ).ledger_url) as ledger:
        kept = ledger.notes(runs[0])
        assert [(note.text, note.acknowledged) for note in kept] == [(HOSTILE, False), ("calm since the release", True)]
        assert runs[0] in ledger.acknowledged()

    notes.get_by_role("button", name="Withdraw acknowledgement").click()
    wait_text(notes, "Acknowledgement withdrawn")
    no_trace(page)


def test_a_row_of_the_table_shows_the_distributions_of_its_column(console, page, runs):
    open_run(console, page, runs[1])
    table = page.locator("[class*=st-key-columns-] [data-testid=stDataFrame]")
    table.wait_for(state="visible")
    titles = page.locator("[class*=st-key-pair-] .xtitle")
    (first,) = wait_until("a distribution is drawn", titles.all_text_contents, page=page)
    table.scroll_into_view_if_needed()
    box = settled(table)
    # A row is 32 pixels high, the head of the table another 32; the box to pick it stands at its left edge.
    page.mouse.click(box["x"] + 16, box["y"] + 32 * 3 + 16)
    # For a moment the old chart is there too.
    picker = page.locator("[data-testid=stSelectbox]").filter(has_text="Distribution of").locator("input")
    wait_until(
        "another column is shown, and the picker follows",
        lambda: first not in (shown := titles.all_text_contents()) and shown == values(picker),
        page=page,
    )
    no_trace(page)


def test_picked_months_stand_in_the_address_with_their_coverage_and_survive_a_reload(console, page, runs):
    open_run(console, page, runs[1])
    boxes = page.locator(".st-key-form [data-testid=stSelectbox] input")
    # The pair of the run in the address, with rows and labels.
    pair = [f"month_00{place} · {MONTHS[place]} · 100 rows · 100 labelled" for place in (1, 2)]
    wait_equal(page, lambda: values(boxes), pair)
    page.locator(".st-key-form [data-testid=stButton] button").first.click()
    wait_until("the pair is swapped", lambda: "ref=2024-03-31&cur=2024-02-29" in page.url, page=page)
    page.reload()
    ready(page, "drift")
    wait_equal(page, lambda: [box[:9] for box in values(boxes)], ["month_002", "month_001"])
    wait_text(page, r"month_002 \(2024-03-31\) with month_001 \(2024-02-29\) has not been compared")
    assert page.locator("[class*=st-key-verdict-]").count() == 0
    assert "run=" not in page.url
    # The last decision is a click away, and the pickers follow it; back is the pair before.
    page.get_by_role("button", name="last decision: 2024-03-31 → 2024-04-30").click()
    wait_text(page, "7 of 16 columns drifted")
    wait_equal(page, lambda: [box[:9] for box in values(boxes)], ["month_002", "month_003"])
    no_trace(page)


def test_names_of_any_length_and_kind_neither_run_nor_break_the_page(console, page, runs):
    settings = Settings.from_env(console.environ)
    found = result("20240501T000100Z-0000aa", SYSTEM, drifted=0, months=MONTHS[:2])
    names = [HOSTILE, "x" * 300, "<b>bold</b>", "", "a|b\nc", *(f"column_{place:03d}" for place in range(195))]
    columns = tuple(
        replace(found.columns[place % 14], name=name, score=place / 3000, drifted=False)
        for place, name in enumerate(names)
    )
    found = replace(
        found, columns=columns, n=len(columns), reason=f"nearest miss {HOSTILE}", notes=(HOSTILE,), k=0, share=0.0
    )
    keep(settings, load_systems(settings).by_id[SYSTEM], found, time.time() - 3000)
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    open_run(console, page, found.run)
    for view in ("What if", "History", "Why"):
        page.locator("[data-testid=stMain]").get_by_role("radio", name=view, exact=True).click()
        wait_text(page, {"What if": "A hypothesis", "History": "with a share", "Why": "Distribution of"}[view])
        no_trace(page)
        assert page.locator("[data-testid=stMain]").locator("a[href^=javascript], img").count() == 0
        page.wait_for_function("() => document.documentElement.scrollWidth <= window.innerWidth")
    wait_equal(page, lambda: sum(len(trace["x"]) for trace in plotted(page, "dots-")), 20)
    wait_text(page, "20 of 200 columns, the furthest along first")
    assert dialogs == []
    with Ledger(settings.ledger_url) as ledger:
        ledger.remove(found.run)


def test_a_failed_run_keeps_the_frame_with_why_and_the_next_step(console, page, runs):
    settings = Settings.from_env(console.environ)
    found = result("20240501T000200Z-0000bb", SYSTEM, drifted=0, months=MONTHS[:2])
    keep(
        settings,
        load_systems(settings).by_id[SYSTEM],
        found,
        time.time() - 4000,
        state="failed",
        outcome="",
        share=None,
        reason="the worker was killed (signal 9)",
    )
    page.goto(f"{console.url}/drift?system={SYSTEM}&run={found.run}")
    ready(page, "drift")
    banner = page.locator(".st-key-verdict-failed")
    for said in ("The comparison failed.", f"{MONTHS[0]} → {MONTHS[1]}", r"the worker was killed \(signal 9\)"):
        wait_text(banner, said)
    banner.get_by_role("button", name="Compare these months again").wait_for(state="visible")
    banner.get_by_role("button", name="Acknowledge").wait_for(state="visible")
    with Ledger(settings.ledger_url) as ledger:
        ledger.remove(found.run)


def test_two_files_dropped_on_the_page_are_compared_and_shown_as_a_run_of_their_own(console, runs, page, tmp_path):
    """From the files to the banner, the report of their own run, and a list that calls it an upload."""
    rows = {"jan": [(n % 10, n % 3) for n in range(400)], "feb": [(n % 10 + 9, n % 3) for n in range(400)]}
    for name, lines in rows.items():
        text = "".join(f"{x},{y}\n" for x, y in lines)
        (tmp_path / f"{name} <b>x.csv").write_text(f"x,y\n{text}")
    page.goto(f"{console.url}/drift?system={SYSTEM}")
    ready(page, "drift")
    page.get_by_text("Compare two files instead").click()
    boxes = page.locator(".st-key-two-files [data-testid=stFileUploader]")
    for place, name in enumerate(rows):
        # What is dropped while the page is drawn for the file before it is lost.
        settled(boxes.nth(place))
        boxes.nth(place).locator("input[type=file]").first.set_input_files(tmp_path / f"{name} <b>x.csv")
        wait_text(boxes.nth(place), re.escape(name))
    page.locator(".st-key-compare-files button").click()
    page.wait_for_url("**run=*")
    wait_text(page, r"RETRAINING_TRIGGERED[\s\S]*1 of 2 columns drifted", 300)
    wait_text(page, r"Compared from files that were given: jan <b>x\.csv with feb <b>x\.csv\.")
    wait_text(page, "no gauge")
    no_trace(page)
    wait_until("the files are gone", lambda: not list((console.home / "uploads").glob("*")), page=page)
