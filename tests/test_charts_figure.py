"""The figure: small, honest about gaps, legible in both themes, and safe with hostile names."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from app.charts import Mark, figure
from app.charts.figure import DASHES, HEIGHT, PALETTES, compact
from app.config import Panel
from app.prometheus import Answer, Series, State, TimeRange
from app.words.units import Clock

SPAN = TimeRange(1_795_248_000.0, 1_795_248_300.0, 1.0)


def panel(**keys):
    return Panel(id="a", title="A", expr="up", **keys)


def answer(*columns, state=State.OK, times=None, names=()):
    at = np.arange(SPAN.start, SPAN.end + 1) if times is None else np.array(times, dtype=float)
    series = tuple(
        Series({}, at, np.asarray(column, dtype=float), names[place] if place < len(names) else f"s{place}")
        for place, column in enumerate(columns)
    )
    return Answer(state, series)


def drawn(*args, **keys):
    """The figure as the browser gets it."""
    return json.loads(figure(*args, **{"span": SPAN, **keys}).to_json())


FULL = np.linspace(0.01, 0.05, 301)


def test_a_regular_series_is_sent_as_start_and_step():
    trace = drawn(panel(unit="s"), answer(FULL))["data"][0]
    assert trace["x0"] == "2026-11-21 08:00:00"
    assert trace["dx"] == 1000.0
    assert "x" not in trace
    assert trace["y"][0] == 10.0
    assert trace["y"][-1] == 50.0


def test_gaps_stay_gaps():
    found = drawn(panel(), answer([1, 2, 3], times=[SPAN.start, SPAN.start + 1, SPAN.start + 4]))["data"][0]
    assert found["y"] == [1, 2, None, None, 3]
    assert found["connectgaps"] is False


def test_samples_off_the_steps_keep_their_own_times():
    found = drawn(panel(), answer([1, 2], times=[SPAN.start, SPAN.start + 1.4]))["data"][0]
    assert found["x"] == ["2026-11-21 08:00:00", "2026-11-21 08:00:01.400"]


def test_nan_and_infinity_are_null():
    text = figure(panel(), answer([np.nan, np.inf, -np.inf, 0.0], times=SPAN.start + np.arange(4)), span=SPAN).to_json()
    assert json.loads(text)["data"][0]["y"] == [None, None, None, 0]
    assert "NaN" not in text
    assert "Infinity" not in text


@given(hnp.arrays(np.float64, st.integers(1, 20), elements=st.floats(allow_subnormal=False)))
def test_four_digits_are_kept_in_the_shortest_form(values):
    for value, sent in zip(values, compact(values), strict=True):
        if not np.isfinite(value):
            assert sent is None
        elif sent is not None and 1e-200 < abs(value) < 1e200:
            assert sent == pytest.approx(value, rel=5.1e-4)
        # Beyond powers of ten that a float holds exactly, a few more digits are sent.
        if sent is not None and 1e-18 < abs(value) < 1e22:
            assert len(repr(sent).replace("-", "").replace(".", "").split("e")[0].strip("0")) <= 4


def test_whole_numbers_of_things_are_sent_whole_and_never_hovered_as_a_power():
    values = [25_276_518_400, 12_345, 0.123456, 2.0**60]
    sent = drawn(panel(unit="1"), answer(values, times=SPAN.start + np.arange(4.0)))["data"][0]
    assert sent["y"] == [25_276_518_400, 12_345, 0.1235, 1.153e18]
    assert sent["hovertemplate"].startswith("%{y:,.15~g}")
    sent = drawn(panel(unit="1/s"), answer([12_345.678], times=[SPAN.start]))["data"][0]
    assert (sent["y"], sent["hovertemplate"].partition("}")[0]) == ([12_350], "%{y:,.4~r")


def test_the_payload_is_a_fraction_of_the_plain_one():
    rng = np.random.default_rng(1)
    many = TimeRange(SPAN.start, SPAN.start + 1499, 1.0)
    times = np.arange(many.start, many.end + 1)
    series = tuple(Series({}, times, rng.random(1500), f"s{place}") for place in range(20))
    small = len(figure(panel(), Answer(State.OK, series), span=many).to_json())
    stamps = [f"2026-11-21T08:00:{place}" for place in range(1500)]
    plain = len(json.dumps([{"x": stamps, "y": one.values.tolist()} for one in series]))
    assert small < plain / 4


@pytest.mark.parametrize(
    ("unit", "value", "shown", "suffix"),
    [("s", 0.041, 41.0, " ms"), ("s", 2.5, 2.5, " s"), ("ratio", 0.02, 2.0, " %"), ("bytes", 2.5e6, 2.5, " MB"), ("1/s", 12.4, 12.4, "/s")],
)  # fmt: skip
def test_ticks_carry_a_unit_that_suits_the_values(unit, value, shown, suffix):
    found = drawn(panel(unit=unit), answer(np.full(301, value)))
    assert found["data"][0]["y"][0] == shown
    assert found["layout"]["yaxis"]["ticksuffix"].replace("\u00a0", " ") == suffix
    assert suffix in found["data"][0]["hovertemplate"]


def test_the_axis_begins_at_zero_and_names_its_zone():
    layout = drawn(panel(unit="1/s"), answer(FULL + 10), clock=Clock(ZoneInfo("Europe/Paris")))["layout"]
    assert -0.5 < layout["yaxis"]["range"][0] < 0
    assert layout["yaxis"]["range"][1] > 10.05
    assert layout["xaxis"]["title"]["text"] == "time, Europe/Paris (UTC+01:00)"
    assert layout["xaxis"]["range"] == ["2026-11-21 09:00:00", "2026-11-21 09:05:00"]


def test_negative_values_are_not_cut_off():
    low, high = drawn(panel(unit="celsius"), answer(np.linspace(-5, 5, 301)))["layout"]["yaxis"]["range"]
    assert low < -5
    assert high > 5


@pytest.mark.parametrize("values", [np.zeros(301), np.full(301, np.nan)])
def test_a_chart_of_nothing_has_an_axis(values):
    low, high = drawn(panel(unit="1/s"), answer(values))["layout"]["yaxis"]["range"]
    assert -0.05 < low < 0 < high


def test_all_charts_share_range_and_height_and_keep_their_zoom():
    layouts = [drawn(panel(), one)["layout"] for one in (answer(FULL), answer(state=State.EMPTY))]
    assert layouts[0]["xaxis"]["range"] == layouts[1]["xaxis"]["range"]
    assert {one["height"] for one in layouts} == {HEIGHT}
    assert layouts[0]["uirevision"] == layouts[1]["uirevision"]


@pytest.mark.parametrize(("state", "word"), [(State.EMPTY, "no data"), (State.ERROR, "not drawn")])
def test_nothing_to_draw_is_an_empty_frame_that_says_so(state, word):
    found = drawn(panel(), answer(state=state))
    assert found["data"] == []
    assert [note["text"] for note in found["layout"]["annotations"]] == [word]


def test_one_series_needs_no_legend_several_do():
    assert drawn(panel(), answer(FULL))["layout"]["showlegend"] is False
    assert drawn(panel(), answer(FULL, FULL))["layout"]["showlegend"] is True


def test_more_series_than_colours_are_told_apart_by_dashes():
    lines = [trace["line"] for trace in drawn(panel(), answer(*[FULL] * 16))["data"]]
    assert len({(line["color"], line["dash"]) for line in lines}) == 16
    assert {line["dash"] for line in lines} == set(DASHES)


def test_thresholds_are_drawn_with_a_word_where_the_data_reaches():
    found = drawn(panel(unit="s", warn=0.04, bad=5.0), answer(FULL))["layout"]
    assert [note["text"] for note in found["annotations"]] == ["warning 40 ms"]
    assert len(found["shapes"]) == 1
    assert found["yaxis"]["range"][1] < 5000


def test_marks_are_bands_with_linked_labels():
    marks = [Mark(SPAN.start + 60, SPAN.start + 120, "load", "traffic", "/traffic?run=1&a=2")]
    layout = drawn(panel(), answer(FULL), marks)["layout"]
    assert layout["shapes"][0]["x0"] == "2026-11-21 08:01:00"
    assert layout["shapes"][0]["x1"] == "2026-11-21 08:02:00"
    assert (
        layout["annotations"][0]["text"]
        == '<a href="/traffic?run=1&amp;a=2" target="_self" style="color:#0B6E99">traffic</a>'
    )


def test_the_newest_of_marks_that_crowd_has_the_label_and_near_the_edge_it_is_whole():
    runs = [Mark(SPAN.end - ago, None, "drift", f"run {ago}", f"/drift?run={ago}") for ago in (250, 30, 20, 10)]
    layout = drawn(panel(), answer(FULL), runs)["layout"]
    assert [shape["x0"][-5:] for shape in layout["shapes"]] == ["00:50", "04:30", "04:40", "04:50"]
    told = [(one["xanchor"], one["text"].partition(">")[2]) for one in layout["annotations"] if "run" in one["text"]]
    assert told == [("left", "run 250</a>"), ("right", "run 10</a>")]


def test_a_mark_that_still_goes_on_reaches_the_edge_and_an_instant_is_a_line():
    going, instant, before = (
        Mark(SPAN.start + 60, None, "load", "traffic"),
        Mark(SPAN.start + 90, None, "drift", "drift"),
        Mark(SPAN.start - 90, SPAN.start - 60, "load", "earlier"),
    )
    shapes = drawn(panel(), answer(FULL), [instant, before, going])["layout"]["shapes"]
    assert [shape["type"] for shape in shapes] == ["rect", "line"]
    assert shapes[0]["x1"] == "2026-11-21 08:05:00"
    assert shapes[1]["x0"] == shapes[1]["x1"] == "2026-11-21 08:01:30"


@pytest.mark.parametrize("link", ["javascript:alert(1)", "//evil.example", "data:text/html,x", ""])
def test_a_link_that_is_no_address_of_ours_is_no_link(link):
    layout = drawn(panel(), answer(FULL), [Mark(SPAN.start, None, "load", "<b>x</b>", link)])["layout"]
    assert layout["annotations"][0]["text"] == "&lt;b&gt;x&lt;/b&gt;"


def test_a_hostile_label_value_is_text():
    name = '</script><b>%{y}</b><a href="javascript:alert(1)">'
    trace = drawn(panel(), answer(FULL, names=[name]))["data"][0]
    assert "<b>" not in trace["name"]
    assert "<a" not in trace["hovertemplate"]
    assert trace["hovertemplate"].count("%{") == 1


def test_a_single_sample_is_a_point():
    assert drawn(panel(), answer([1.0], times=[SPAN.end]))["data"][0]["mode"] == "markers"


def test_without_a_range_the_samples_give_it():
    found = json.loads(figure(panel(), answer(FULL)).to_json())
    assert found["layout"]["xaxis"]["range"] == ["2026-11-21 08:00:00", "2026-11-21 08:05:00"]
    assert figure(panel(), answer(state=State.EMPTY)) is not None


def test_states_are_steps_and_areas_are_filled():
    assert drawn(panel(kind="state"), answer(FULL))["data"][0]["line"]["shape"] == "hv"
    assert drawn(panel(kind="area"), answer(FULL))["data"][0]["fill"] == "tozeroy"


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize(("theme", "background"), [("light", "#FFFFFF"), ("dark", "#0F1720")])
def test_text_and_lines_have_enough_contrast_in_both_themes(theme, background):
    palette = PALETTES[theme]
    for text in (palette.text, palette.muted, palette.warn, palette.bad, palette.accent):
        assert contrast(text, background) >= 4.5, text
    for line in palette.series:
        assert contrast(line, background) >= 3, line


def test_the_theme_decides_the_colours():
    for theme, palette in PALETTES.items():
        text = figure(panel(warn=0.04), answer(FULL), [Mark(SPAN.start, None, "load", "x")], theme, SPAN).to_json()
        other = PALETTES["dark" if theme == "light" else "light"]
        assert palette.series[0] in text
        assert not set(re.findall(r"#[0-9A-F]{6}", text)) & {other.text, *other.series, other.warn, other.grid}


def test_stale_values_are_drawn():
    assert len(drawn(panel(), replace(answer(FULL), state=State.STALE))["data"]) == 1
