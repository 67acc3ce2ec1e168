"""Dots, rows and distributions of a drift run: order, bounds, words, and names that are no labels of ours."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.charts.columns import (
    DOTS,
    LONGEST_NAME,
    by_nearness,
    change,
    dot_plot,
    escaped,
    methods,
    rows,
    trimmed,
    two_histograms,
)
from app.drift.result import Column, Histogram, Policy, Side
from tests.kept_runs import column, plan, result

MONTHS = ("2024-01-31", "2024-02-29")
HOSTILE = '<a href="javascript:alert(1)">x</a>'
DISTANCE = "Wasserstein distance (normed)"


def number(before: float, after: float, **values) -> Column:
    sides = {"ref": Side(mean=before, nulls=0, infinite=0), "cur": Side(mean=after, nulls=2, infinite=1)}
    return replace(column("x", 0.05), **sides, **values)


def category(before: dict[str, float], after: dict[str, float]) -> Column:
    return replace(plan(0.05), ref=Side(shares=before, nulls=0), cur=Side(shares=after, nulls=0))


def identifier() -> Column:
    return Column("user_id", "text", "Percentile text content drift", 0.13, 0.55, False, comparable=True)


def missing() -> Column:
    return Column("gone", "unknown", reason="missing in 2024-02-29")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (number(2.3, 2.6), "↑ mean 2.3 → 2.6 (+0.3, +13 %)"),
        (number(29.0, 26.0), "↓ mean 29 → 26 (−3, −10 %)"),
        (number(5.0, 5.0), "= mean 5"),
        (number(0.0, 4.0), "↑ mean 0 → 4 (+4)"),
        (number(-2.0, 2.0), "↑ mean -2 → 2 (+4, +200 %)"),
        (number(0.001, 900.0), "↑ mean 0.001 → 900 (+900)"),
        (category({"a": 0.5, "b": 0.5}, {"a": 0.4, "b": 0.6}), "↓ a 50.0% → 40.0% (−10 points)"),
        (category({"a": 1.0}, {"a": 1.0}), "= a 100.0%"),
        (category({}, {}), "–"),
        (identifier(), "–"),
    ],
)
def test_a_change_says_direction_and_size_in_the_unit_of_the_column(given, said):
    assert change(given) == said


def test_rows_are_nearest_first_and_those_without_a_distance_last():
    found = replace(
        result("r", "s", drifted=1, months=MONTHS),
        columns=(missing(), identifier(), number(1, 2), column("far", 0.7), replace(column("p", 0.01), method="K-S p_value", threshold=0.05)),
    )  # fmt: skip
    table = rows(found)
    assert [row.column for row in table] == ["far", "p", "x", "gone", "user_id"]
    by_name = {row.column: row for row in table}
    assert by_name["far"].distance == pytest.approx(7)
    assert by_name["p"].distance == pytest.approx(5)
    assert by_name["p"].method == "Kolmogorov-Smirnov p-value (low is drift)"
    assert by_name["far"].verdict == "◆ drifted"
    assert (by_name["x"].nulls, by_name["x"].infinite) == ("0 → 2", "0 → 1")
    assert (by_name["gone"].verdict, by_name["gone"].reason) == ("? not comparable", "missing in 2024-02-29")
    assert (by_name["gone"].nulls, by_name["gone"].distance) == ("unknown", None)
    assert (by_name["user_id"].distance, by_name["user_id"].change, by_name["user_id"].infinite) == (None, "–", "–")


@pytest.mark.parametrize(("counting", "said"), [("all", "label"), ("features", "label, not counted")])
def test_a_row_says_whether_label_and_identifier_count(counting, said):
    found = result("r", "s", drifted=1, months=MONTHS, policy=Policy(counting, 0.3, 30, 0.8, "churn_label", "user_id"))
    assert next(row.role for row in rows(found) if row.column == "churn_label") == said


def test_of_200_columns_the_nearest_are_drawn_and_one_column_is_enough():
    many = [column(f"c{place:03d}", place / 400) for place in range(200)]
    figure = dot_plot(many, theme="light")
    drawn = [name for trace in figure.data for name in trace.customdata]
    assert sorted(drawn) == sorted(f"c{place}" for place in range(200 - DOTS, 200))
    assert figure.layout.height < 700
    assert [list(trace.customdata) for trace in dot_plot(many[:1], theme="dark").data] == [[], ["c000"]]


def test_a_score_far_beyond_is_drawn_at_the_edge_with_its_number_and_zero_p_is_too():
    columns = [column("far", 5.0), replace(column("zero", 0.0), method="K-S p_value", threshold=0.05, drifted=True)]
    columns += [column(f"calm{place}", 0.01) for place in range(6)]
    drifted = dot_plot(columns, theme="light").data[0]
    assert list(drifted.x) == [3.0, 3.0]
    assert set(drifted.text) == {"5 →", "0 →"}


def test_when_many_are_far_beyond_the_plot_reaches_as_far_as_most_of_them():
    figure = dot_plot([column(f"c{place}", 0.4 + place / 100) for place in range(20)], theme="light")
    assert len(set(figure.data[0].x)) > 12
    assert figure.layout.xaxis.range[1] > 5


def test_p_values_next_to_nothing_leave_the_others_in_sight():
    tiny = {"method": "K-S p_value", "threshold": 0.05, "drifted": True}
    columns = [replace(column(f"far{place}", 10.0 ** -(place + 100)), **tiny) for place in range(6)]
    columns.append(replace(column("zero", 0.0), **tiny))
    columns += [replace(column("near", 0.04), **tiny), replace(column("calm", 0.5), **(tiny | {"drifted": False}))]
    figure = dot_plot(columns, theme="light")
    assert figure.layout.xaxis.range[1] < 12
    assert max(figure.data[0].x) == 10.0
    told = {row.column: row.distance for row in rows(result_with(columns))}
    assert (told["far0"], told["zero"], told["near"], told["calm"]) == (1000.0, 1000.0, 1.25, 0.1)


def test_a_column_that_could_be_compared_in_a_run_that_scored_nothing_says_so():
    bare = replace(column("fee", 0.0), score=None, threshold=None, method=None, drifted=None)
    fee, gone = rows(result_with([bare, missing()]))
    assert (fee.verdict, fee.reason) == ("○ not scored", "could be compared, but nothing was scored in this run")
    assert (gone.verdict, gone.reason) == ("? not comparable", "missing in 2024-02-29")


def result_with(columns):
    return replace(result("r", "s", drifted=1, months=("a", "b")), columns=tuple(columns))


def test_names_and_values_from_data_are_text_of_bounded_length_in_every_figure():
    shares = {HOSTILE: 0.6, "v" * 300: 0.2, "v" * 299 + "w": 0.2}
    drawn = [
        dot_plot([column(HOSTILE * 5, 0.2), column("n" * 300, 0.1)], theme="light"),
        two_histograms(replace(category(shares, shares), name=HOSTILE), theme="dark"),
        two_histograms(column(HOSTILE, 0.2), theme="dark"),
        two_histograms(replace(missing(), reason=HOSTILE), theme="light"),
    ]
    for figure in drawn:
        labels = [*(figure.layout.xaxis.ticktext or ()), *(figure.layout.yaxis.ticktext or ())]
        labels += [figure.layout.xaxis.title.text or "", *(note.text for note in figure.layout.annotations)]
        labels += [text for trace in figure.data for text in (trace.hovertext or ())]
        assert not any("<a" in label for label in labels)
        assert all(len(label) <= 400 for label in labels)
    # Two values that are cut to the same label are still two bars.
    assert len(drawn[1].data[0].x) == 3


def test_categories_beyond_the_drawn_ones_are_one_bar_on_both_sides():
    before = {f"v{place:02d}": 1 / 30 for place in range(30)}
    figure = two_histograms(category(before, {"v00": 1.0}), theme="light")
    assert figure.layout.xaxis.ticktext[-1] == "(all others)"
    assert [round(sum(trace.y), 6) for trace in figure.data] == [1.0, 1.0]


def test_a_column_without_distribution_says_why():
    assert "names" in two_histograms(identifier(), theme="light").layout.annotations[0].text
    imported = replace(column("fee", 0.2), ref=Side(), cur=Side())
    assert two_histograms(imported, theme="light").layout.annotations[0].text == "no distribution is kept of it"
    assert two_histograms(missing(), theme="light").layout.annotations[0].text == "missing in 2024-02-29"


def test_numbers_are_steps_over_the_common_bins():
    found = replace(
        column("x", 0.2),
        ref=Side(mean=1.0, histogram=Histogram((0.0, 1.0, 2.0), (1, 3))),
        cur=Side(mean=1.5, histogram=Histogram((0.0, 1.0, 2.0), (0, 0))),
    )
    reference, current = two_histograms(found, theme="light").data
    assert (list(reference.x), list(reference.y)) == ([0.0, 1.0, 2.0], [0.25, 0.75, 0.75])
    assert list(current.y) == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("name", "said"),
    [("plain", "plain"), ("two\nlines", "two lines"), ("", "(empty)"), ("\u202eevil", "evil"), ("x" * 300, None)],
)
def test_a_long_or_odd_name_is_cut_in_the_middle(name, said):
    assert trimmed(name) == (said or f"{'x' * 18}…{'x' * 9}")
    assert len(trimmed(name)) <= LONGEST_NAME


def test_markup_becomes_look_alikes():
    assert escaped("<b>&") == "‹b›＆"


def test_methods_are_named_commonest_first():
    columns = [column("a", 0.1), plan(0.1), column("b", 0.1), missing()]
    assert methods(columns) == ["normed Wasserstein", "Jensen-Shannon"]


def test_order_is_stable_for_columns_without_scores():
    assert [one.name for one in by_nearness([missing(), column("a", 0.1)])] == ["a", "gone"]
