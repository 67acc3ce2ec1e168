"""Pictures of a report: what a line shows and leaves out, hostile names, values that cannot be drawn."""

from __future__ import annotations

import csv
import math
import re
import xml.etree.ElementTree as ET
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from app.charts import Mark
from app.drift.result import Column
from app.prometheus import Series, TimeRange
from app.report.picture import MOST_BARS, MOST_NAMES, bars, dot_plot, line_chart
from app.words.language import FRENCH, speaking
from app.words.units import Clock

START = 1_790_000_000.0
SPAN = TimeRange(START, START + 600, 15)
HOSTILE = "</svg><script>alert('x')</script>\x00\x1b[31m & \"quoted\" \ud800"


def series(name: str, values: list[float], start: float = START) -> Series:
    return Series({"handler": name}, start + 15.0 * np.arange(len(values)), np.array(values, float), name)


def elements(svg: str, tag: str) -> list[ET.Element]:
    """Elements of a drawing, which is read as strictly as XML is."""
    return ET.fromstring(svg).findall(f".//{{http://www.w3.org/2000/svg}}{tag}")


def texts(svg: str) -> list[str]:
    return ["".join(one.itertext()) for one in elements(svg, "text")]


def lines(svg: str) -> list[str]:
    """The paths of the series: the only ones that fill nothing and join round."""
    return [one.attrib["d"] for one in elements(svg, "path") if "stroke-linejoin" in one.attrib]


def points(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"([-\d.]+) ([-\d.]+)", path)]


def test_a_line_rises_where_its_values_rise_and_the_csv_has_every_sample():
    svg, table = line_chart("Requests", "1/s", [series("a", [0, 10, 20, 40])], SPAN)
    (path,) = lines(svg)
    heights = [y for _, y in points(path)]
    assert heights == sorted(heights, reverse=True)
    # Equal steps of time are equally far apart, and 20 is as high above 10 as 10 above 0.
    across = [after - before for (before, _), (after, _) in pairwise(points(path))]
    assert max(across) - min(across) <= 0.21
    assert heights[0] - heights[1] == pytest.approx(heights[1] - heights[2], abs=0.21)
    rows = list(csv.DictReader(table.splitlines()))
    assert [(row["series"], float(row["value"])) for row in rows] == [("a", 0), ("a", 10), ("a", 20), ("a", 40)]


def test_gaps_stay_gaps_and_a_lone_sample_between_two_is_a_dot():
    nan = math.nan
    missing = Series({}, START + np.array([0.0, 15, 120, 135]), np.array([1.0, 2, 3, 4]), "missing")
    svg, _ = line_chart("t", "1", [series("nan", [1, 2, nan, nan, 5, nan, 7, 8]), missing], SPAN)
    first, second = lines(svg)
    assert [path.count("M") for path in (first, second)] == [2, 2]
    assert len(elements(svg, "circle")) == 1


@pytest.mark.parametrize("values", [[], [math.nan], [math.inf, -math.inf], [1e308, -1e308]])
def test_what_cannot_be_drawn_is_said_and_not_drawn(values):
    svg, table = line_chart("t", "s", [series("a", values)] if values else [], SPAN)
    assert "no data" in texts(svg)
    assert lines(svg) == []
    assert "nan" not in svg.lower()
    assert "inf" not in svg.lower()
    assert len(table.splitlines()) == 1 + len(values)


def test_one_sample_is_a_dot_and_a_flat_zero_has_an_axis():
    assert len(elements(line_chart("t", "1", [series("a", [3.0])], SPAN)[0], "circle")) == 1
    flat, _ = line_chart("t", "1/s", [series("a", [0.0, 0.0])], SPAN)
    assert len(lines(flat)) == 1
    assert "0/s" in texts(flat)


@pytest.mark.parametrize(
    ("unit", "values", "tick"),
    [("s", [0.02, 0.09], "50 ms"), ("bytes", [1e6, 4e6], "2 MB"), ("ratio", [0, 0.5], "20 %"), ("1", [-4, 4], "-2")],
)
def test_the_value_axis_is_in_the_unit_of_the_panel(unit, values, tick):
    assert tick in texts(line_chart("t", unit, [series("a", values)], SPAN)[0])


def test_the_time_axis_has_the_clock_and_zone_of_the_report_and_the_date_where_it_changes():
    day = TimeRange(1_790_000_000.0, 1_790_000_000.0 + 12 * 3600, 60)  # from 14:13 UTC
    svg, _ = line_chart("t", "1", [], day, clock=Clock(ZoneInfo("Europe/Paris")))
    assert "time, Europe/Paris (UTC+02:00)" in texts(svg)
    assert [text for text in texts(svg) if text.startswith("2026")] == ["2026-09-21", "2026-09-22"]
    assert "18:00" in texts(svg)
    seconds, _ = line_chart("t", "1", [], TimeRange(START, START + 30, 5))
    assert any(re.fullmatch(r"\d\d:\d\d:\d\d", text) for text in texts(seconds))
    for length in (1.0, 7 * 86_400.0, 400 * 86_400.0):
        assert texts(line_chart("t", "1", [], TimeRange(START, START + length, 60))[0])


def test_names_from_data_stay_text_without_script_reference_or_id():
    mark = Mark(START, None, "load", HOSTILE, "javascript:alert(1)")
    column = Column(HOSTILE, "number", HOSTILE, 0.2, 0.1, True, True)
    drawn = [
        line_chart(HOSTILE, "s", [series(HOSTILE, [1, 2]), series("b", [1, 2])], SPAN, [mark]),
        dot_plot([column], HOSTILE),
        bars(HOSTILE, "1", [(HOSTILE, 1.0), ("=cmd()", 2.0)]),
    ]
    for svg, table in drawn:
        root = ET.fromstring(svg)  # not even an illegal character
        tags = {one.tag.rpartition("}")[2] for one in root.iter()}
        assert tags <= {"svg", "title", "rect", "path", "circle", "text"}
        named = {name for one in root.iter() for name in one.attrib}
        assert not {name for name in named if name.startswith("on") or name in {"id", "href", "style"}}
        table.encode()
    assert "'=cmd()" in drawn[2][1]


def test_lines_differ_by_dashes_too_and_a_crowd_is_named_in_part():
    many = [series(f"line {place}", [place, place]) for place in range(MOST_NAMES + 4)]
    svg, table = line_chart("t", "1", many, SPAN)
    styles = [
        (one.attrib["stroke"], one.attrib.get("stroke-dasharray"))
        for one in elements(svg, "path")
        if "stroke-linejoin" in one.attrib
    ]
    assert len(set(styles)) == len(many)
    assert "and 4 more, in the CSV" in texts(svg)
    assert f"line {MOST_NAMES + 3}" in table
    assert f"line {MOST_NAMES + 3}" not in svg


def test_marks_in_the_range_are_drawn_and_labelled_and_others_are_not():
    marks = [
        Mark(START + 60, START + 240, "load", "load run"),
        Mark(START + 500, None, "drift", "NO_ACTION"),
        Mark(START - 900, START - 60, "load", "before"),
        Mark(START + 900, None, "restart", "after"),
    ]
    svg, _ = line_chart("t", "1", [series("a", [1, 2])], SPAN, marks)
    assert [text for text in texts(svg) if text in {"load run", "NO_ACTION", "before", "after"}] == [
        "NO_ACTION",
        "load run",
    ]
    assert sum("fill-opacity" in one.attrib for one in elements(svg, "rect")) == 1


def test_levels_are_drawn_where_the_data_come_near_them():
    near, _ = line_chart("t", "s", [series("a", [0.1, 0.2])], SPAN, warn=0.3, bad=90.0)
    assert "warning 300 ms" in texts(near)
    assert not [text for text in texts(near) if text.startswith("bad")]


def test_a_state_keeps_its_value_until_the_next():
    svg, _ = line_chart("up", "1", [series("a", [0, 1])], SPAN, steps=True)
    (path,) = lines(svg)
    (first, corner, last) = points(path)
    assert corner == (last[0], first[1])


def test_the_dot_plot_has_the_nearest_first_and_a_shape_for_each_verdict():
    columns = [
        Column("calm", "number", "Wasserstein distance (normed)", 0.01, 0.1, False, True),
        Column("moved", "number", "Wasserstein distance (normed)", 0.4, 0.1, True, True),
        Column("zero", "number", "K-S p_value", 0.0, 0.05, True, True),
        Column("empty", "unknown", reason="all null"),
    ]
    svg, table = dot_plot(columns)
    shown = texts(svg)
    assert [name for name in shown if name in {"calm", "moved", "zero", "empty"}] == ["zero", "moved", "calm"]
    assert len(elements(svg, "circle")) == 1
    rows = {row["column"]: row for row in csv.DictReader(table.splitlines())}
    assert rows["moved"]["score/threshold"] == "4.0"
    assert (rows["zero"]["score/threshold"], rows["empty"]["score"]) == ("inf", "unknown")
    assert [rows[name]["drifted"] for name in ("moved", "calm", "empty")] == ["yes", "no", "not comparable"]
    assert "no data" in texts(dot_plot([])[0])


def test_bars_are_as_long_as_their_values_and_unknown_is_a_word():
    svg, table = bars("Answers", "count", [("2xx", 7043.0), ("4xx", None), ("5xx", -7043.0), ("nan", math.nan)])
    widths = [float(one.attrib["width"]) for one in elements(svg, "rect")[1:]]
    assert widths == [widths[0], 0.0, widths[0], 0.0]
    assert {"7,043", "unknown"} <= set(texts(svg))
    assert [row["value"] for row in csv.DictReader(table.splitlines())][:2] == ["7043.0", ""]
    crowd, whole = bars("t", "1", [(str(place), 1.0) for place in range(MOST_BARS + 2)])
    assert "and 2 more, in the CSV" in texts(crowd)
    assert len(whole.splitlines()) == MOST_BARS + 3
    assert bars("t", "1", [])


def test_a_picture_is_in_the_language_of_its_report_and_its_csv_in_none():
    with speaking(FRENCH):
        svg, table = line_chart("t", "ratio", [series("a", [0.001, 0.0025])], SPAN)
    assert "heure, UTC" in texts(svg)
    assert any("," in text and text.endswith("%") for text in texts(svg))
    assert table == line_chart("t", "ratio", [series("a", [0.001, 0.0025])], SPAN)[1]
