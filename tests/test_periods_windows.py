"""Rolling windows over one table: where they end, what is in them, and what is said when there are none."""

import pandas as pd
import pytest

from app.config import Settings, load_system
from app.errors import ConfigError, DataError, SourceUnavailable, UnknownPeriod
from app.periods import list_periods, pick, windows


def made(tmp_path, frame, *, window="7d", suffix="csv", more=""):
    table = tmp_path / f"events.{suffix}"
    frame.to_csv(table, index=False) if suffix == "csv" else frame.to_parquet(table)
    path = tmp_path / "own.toml"
    path.write_text(
        f'title = "Own"\n[drift]\nsource = "files"\npath = "{table}"\ntime = "at"\nwindow = "{window}"\n{more}'
    )
    settings = Settings.from_env({"VIGIE_HOME": str(tmp_path / "home"), "HOME": str(tmp_path)})
    return settings, load_system(path, settings)


def daily(days, start="2026-11-01", per_day=3):
    at = [
        pd.Timestamp(start) + pd.Timedelta(days=day, hours=8 * part) for day in range(days) for part in range(per_day)
    ]
    return pd.DataFrame({"at": at, "value": range(len(at))})


def test_a_table_shorter_than_one_window_says_so(tmp_path):
    settings, system = made(tmp_path, daily(3), window="9d")
    words = "events.csv go from 2026-11-01 00:00 to 2026-11-03 16:00: that does not fill one window of 9d"
    with pytest.raises(DataError, match=words):
        list_periods(settings, system)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_windows_go_back_from_the_end_of_the_newest_day(tmp_path, suffix):
    settings, system = made(tmp_path, daily(20), suffix=suffix)
    months = list_periods(settings, system)
    assert [(one.key, one.rows) for one in months] == [("2026-11-07.7d", 21), ("2026-11-14.7d", 21)]
    assert months[-1].name == "2026-11-14 to 2026-11-20"
    assert pick(months, "2026-11-14.7d") == months[-1]


def test_a_windows_rows_are_those_of_its_days_and_no_row_is_in_two(tmp_path):
    settings, system = made(tmp_path, daily(21).sample(frac=1, random_state=3))
    keys = [one.key for one in list_periods(settings, system)]
    parts = [system.drift.rows_of(key) for key in keys]
    assert [len(part) for part in parts] == [21, 21, 21]
    assert sorted(value for part in parts for value in part["value"]) == list(range(63))
    assert str(parts[-1]["at"].min())[:10] == "2026-11-15"


def test_more_rows_of_the_same_day_keep_the_keys(tmp_path):
    frame = daily(14)
    settings, system = made(tmp_path, frame)
    before = [one.key for one in list_periods(settings, system)]
    late = pd.DataFrame({"at": [pd.Timestamp("2026-11-14 23:59")], "value": [99]})
    pd.concat([frame, late]).to_csv(tmp_path / "events.csv", index=False)
    assert [one.key for one in list_periods(settings, system)] == before
    assert 99 in set(system.drift.rows_of(before[-1])["value"])


def test_hours_are_windows_too_and_times_with_a_zone_are_read_in_utc(tmp_path):
    at = pd.date_range("2026-11-01 00:30", periods=48, freq="h", tz="Asia/Tokyo")
    settings, system = made(tmp_path, pd.DataFrame({"at": at, "value": range(48)}), window="12h")
    months = list_periods(settings, system)
    assert [one.rows for one in months] == [12, 12, 12, 12]
    assert months[0].key == "2026-10-31T15.12h"
    assert months[0].name == "2026-10-31 15:00 to 2026-11-01 03:00 UTC"


def test_the_number_of_windows_is_bounded(tmp_path):
    settings, system = made(tmp_path, daily(200, start="2026-01-01", per_day=1), window="1d")
    months = list_periods(settings, system)
    assert len(months) == windows.MAX_WINDOWS
    assert months[-1].key == "2026-07-19.1d"


def test_an_unknown_window_names_some(tmp_path):
    _, system = made(tmp_path, daily(14))
    with pytest.raises(UnknownPeriod) as caught:
        system.drift.rows_of("2020-01-01.7d")
    assert "2026-11-08.7d" in caught.value.hint


@pytest.mark.parametrize(
    ("frame", "error"),
    [
        (pd.DataFrame({"when": ["2026-11-01"]}), (DataError, SourceUnavailable)),
        (pd.DataFrame({"at": ["2026-11-01", None]}), DataError),
        (pd.DataFrame({"at": ["yesterday"]}), DataError),
    ],
)
def test_a_column_that_tells_no_time_is_an_error_in_words(tmp_path, frame, error):
    settings, system = made(tmp_path, frame)
    with pytest.raises(error) as caught:
        list_periods(settings, system)
    assert caught.value.hint


def test_a_length_of_nothing_is_an_error_in_words(tmp_path):
    settings, system = made(tmp_path, daily(3), window="0d")
    with pytest.raises(DataError, match="no length"):
        list_periods(settings, system)


def test_windows_need_the_column_that_says_when(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text('title = "Own"\n[drift]\nsource = "files"\npath = "x.csv"\nwindow = "7d"\n')
    with pytest.raises(ConfigError, match="`window` needs `time`"):
        load_system(path, Settings.from_env({"VIGIE_HOME": str(tmp_path), "HOME": str(tmp_path)}))
