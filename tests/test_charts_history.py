"""The history of the share: every run a point in its place, with its words, its decision's shape, its run to open."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from app.charts.history import share_history
from app.runs.run import Run, State
from app.words.units import Clock

CLOCK = Clock(ZoneInfo("Europe/Paris"), now=1_710_000_000.0)


def run(number: int, share: float | None, cur: str, outcome: str = "NO_ACTION", own: bool | None = True) -> Run:
    return Run(
        id=f"run-{number}",
        kind="drift",
        system="s",
        key=f"drift:s:2024-01-31:{cur}:x",
        state=State.DONE,
        created=1_709_900_000.0 + number,
        outcome=outcome,
        ref="2024-01-31",
        cur=cur,
        share=share,
        threshold=0.3,
        drifted=None if share is None else round(share * 16),
        counted=16,
        own=own,
    )


RUNS = [
    run(0, 1 / 16, "2024-03-31"),
    run(1, 7 / 16, "2024-02-29", "RETRAINING_TRIGGERED"),
    run(2, 0.0, "2024-02-29", own=False),
]


def test_points_stand_at_their_local_time_with_shape_colour_and_run():
    figure = share_history(RUNS, 0.3, theme="light", clock=CLOCK)
    calm, triggered = figure.data
    assert (calm.name, list(calm.y), list(calm.customdata)) == ("NO_ACTION", [1 / 16, 0.0], ["run-0", "run-2"])
    assert (triggered.name, list(triggered.customdata)) == ("RETRAINING_TRIGGERED", ["run-1"])
    assert calm.x[0] == "2024-03-08T13:13:20"
    assert list(calm.marker.symbol) == ["circle", "circle-open"]
    assert list(triggered.marker.symbol) == ["diamond"]
    assert calm.marker.color != triggered.marker.color
    assert [shape.y0 for shape in figure.layout.shapes] == [0.3]
    assert figure.layout.annotations[0].text == "threshold 0.30"


def test_the_words_under_the_pointer_are_months_k_of_n_decision_and_moment():
    hover = share_history(RUNS, 0.3, theme="light", clock=CLOCK).data[1].hovertext[0]
    assert "2024-01-31 → 2024-02-29" in hover
    assert "7 of 16 columns = 0.438, threshold 0.30" in hover
    assert "RETRAINING_TRIGGERED" in hover
    assert "compared 2024-03-08 13:13:21" in hover


def test_by_month_runs_of_one_month_stand_above_each_other():
    figure = share_history(RUNS, 0.3, theme="dark", axis="month", clock=CLOCK)
    assert list(figure.data[0].x) == ["2024-03-31", "2024-02-29"]
    assert figure.layout.xaxis.type == "date"


def test_periods_that_are_no_dates_are_in_order_and_harmless():
    runs = [run(0, 0.1, "week-2"), run(1, 0.2, "<b>week</b>-1")]
    figure = share_history(runs, 0.3, theme="light", axis="month", clock=CLOCK)
    assert figure.layout.xaxis.type == "category"
    assert list(figure.layout.xaxis.categoryarray) == ["week-2", "‹b›week‹/b›-1"]


def test_the_run_on_the_page_has_a_ring_and_the_line_is_always_in_sight():
    figure = share_history(RUNS[:1], 0.9, theme="light", clock=CLOCK, shown="run-0")
    assert list(figure.data[0].marker.line.width) == [3]
    assert figure.layout.yaxis.range[1] > 0.9


@pytest.mark.parametrize("runs", [[], [run(0, None, "2024-02-29")]])
def test_without_a_known_share_there_is_no_point(runs):
    figure = share_history(runs, 0.3, theme="light", clock=CLOCK)
    assert [list(trace.y) for trace in figure.data] == [[], []]
