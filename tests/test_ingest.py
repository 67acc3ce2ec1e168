"""A month of CSV files: what is taken, what is refused and how it is said, and what a home holds afterwards."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from datetime import date
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from stack.data import WorldError
from stack.ingest import embedded, laying, reading, sample
from stack.ingest.layout import FEATURE_FILES, LAYOUTS, IngestError
from stack.ingest.reading import parse_as_of, read_month
from stack.world import build
from tests import warm
from tests.conftest import sample_home

ROOT = Path(__file__).parent.parent
DAY = date(2024, 1, 31)
# What the month below says of itself: the course's data have no total for accounts in their first month.
GAP = ("subscriptions.csv: total_paid is empty in 1 of 3 rows",)
FILES = {
    "users.csv": [
        "user_id,signup_date,user_gender,user_is_senior,has_family,has_dependents",
        "U0001,2019-09-01,Male,True,True,False",
        "U0002,2020-01-15,Female,False,True,False",
        "U0003,2024-01-02,Female,False,False,False",
    ],
    "subscriptions.csv": [
        "user_id,months_active,plan_stream_tv,plan_stream_movies,contract_type,paperless_billing,monthly_fee,total_paid,net_service",
        "U0001,52,True,False,One year,True,96.22,5003.44,Fiber optic",
        "U0002,48,False,False,Two year,False,19.9,955.2,No",
        "U0003,0,True,True,Month-to-month,True,80.05,,DSL",
    ],
    "usage_agg_30d.csv": [
        "user_id,watch_hours_30d,avg_session_mins_7d,unique_devices_30d,skips_7d,rebuffer_events_7d",
        "U0001,42.99,45.0,1,2,3",
        "U0002,12.5,45.0,2,0,0",
        "U0003,0.1,45.0,1,9,12",
    ],
    "payments_agg_90d.csv": ["user_id,failed_payments_90d", "U0001,0", "U0002,1", "U0003,0"],
    "support_agg_90d.csv": [
        "user_id,support_tickets_90d,ticket_avg_resolution_hrs_90d",
        "U0001,2,3.6",
        "U0002,0,0.0",
        "U0003,0,0.0",
    ],
    "labels.csv": ["user_id,churn_label", "U0001,False", "U0002,True", "U0003,False"],
}


@pytest.fixture
def folder(tmp_path):
    """A month of three accounts, to be spoiled."""
    path = tmp_path / "month_000"
    path.mkdir()
    for name, lines in FILES.items():
        (path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def spoil(folder, name, old, new):
    path = folder / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def refused(folder):
    with pytest.raises(IngestError) as raised:
        read_month(folder, DAY)
    return str(raised.value)


# --- reading ----------------------------------------------------------------------------------------------------------


def test_a_month_is_read_with_its_types(folder):
    month = read_month(folder, DAY)
    assert (month.rows, month.labelled, month.notes) == (3, 3, GAP)
    subscriptions = month.frames["subscriptions_profile_snapshots"]
    assert subscriptions.dtypes.astype(str).to_dict() == {
        "user_id": "object",
        "months_active": "int64",
        "plan_stream_tv": "bool",
        "plan_stream_movies": "bool",
        "contract_type": "object",
        "paperless_billing": "bool",
        "monthly_fee": "float64",
        "total_paid": "float64",
        "net_service": "object",
    }
    assert subscriptions.plan_stream_tv.tolist() == [True, False, True]
    assert subscriptions.total_paid.isna().tolist() == [False, False, True]
    assert month.frames["labels"].churn_label.tolist() == [False, True, False]


def test_every_file_of_the_course_has_a_layout():
    assert {layout.file: list(layout.names) for layout in LAYOUTS.values()} == {
        name: lines[0].split(",") for name, lines in FILES.items()
    }


def test_mark_line_ends_order_and_quotes_of_other_programs_make_no_difference(folder):
    plain = read_month(folder, DAY).sha256
    for name, lines in FILES.items():
        cells = [line.split(",") for line in lines]
        turned = [",".join(f'"{cell}"' for cell in reversed(row)) for row in (cells[0], *reversed(cells[1:]))]
        (folder / name).write_bytes(b"\xef\xbb\xbf" + "\r\n".join([*turned, "", ""]).encode())
    spoil(folder, "labels.csv", '"True"', '"TRUE"')
    spoil(folder, "usage_agg_30d.csv", '"12"', '"12.0"')
    assert read_month(folder, DAY).sha256 == plain


def test_labels_may_be_missing_and_that_is_said(folder):
    (folder / "labels.csv").unlink()
    month = read_month(folder, DAY)
    assert (month.labelled, month.notes) == (0, (*GAP, "no labels: the month's churn is not known yet"))
    (folder / "labels.csv").write_text("user_id,churn_label\nU0001,False\n")
    assert read_month(folder, DAY).notes == (*GAP, "labels.csv has no row for 2 of 3 accounts")
    (folder / "labels.csv").write_text("user_id,churn_label\nU0001,\nU0002,\nU0003,\n")
    month = read_month(folder, DAY)
    words = ("labels.csv: churn_label is empty in 3 of 3 rows", "no labels: the month's churn is not known yet")
    assert (month.labelled, month.notes) == (0, (*GAP, *words))


@pytest.mark.parametrize("empty", [1, 3])
def test_every_column_that_may_be_null_in_the_courses_tables_may_be_empty_and_is_counted(folder, empty):
    """One empty cell, or the whole column, as the course's months have them; what is kept reads back the same."""
    for name, lines in FILES.items():
        cells = [line.split(",") for line in lines]
        for row in cells[1 : empty + 1]:
            row[1:] = [""] * len(row[1:])
        (folder / name).write_text("\n".join(map(",".join, cells)) + "\n")
    month = read_month(folder, DAY)
    assert [note for note in month.notes if " is empty in " in note] == [
        f"{layout.file}: {column.name} is empty in {2 if column.name == 'total_paid' and empty == 1 else empty} of 3 rows"
        for layout in LAYOUTS.values()
        for column in layout.columns[1:]
    ]
    assert (month.rows, month.labelled) == (3, 3 - empty)
    for table, frame in month.frames.items():
        (folder / LAYOUTS[table].file).write_bytes(reading.as_csv(frame))
    assert read_month(folder, DAY).sha256 == month.sha256


BAD_ROWS = [
    ("usage_agg_30d.csv", "U0002,12.5", "U0002,abc", "usage_agg_30d.csv, line 3: watch_hours_30d is 'abc'; a number from 0"),
    ("usage_agg_30d.csv", "U0002,12.5", "U0002,nan", "line 3: watch_hours_30d is 'nan'"),
    ("usage_agg_30d.csv", "U0002,12.5", "U0002,1e999", "line 3: watch_hours_30d is '1e999'"),
    ("usage_agg_30d.csv", "U0002,12.5", "U0002,-1", "line 3: watch_hours_30d is -1.0; a number from 0 to 7,200 or nothing is wanted"),
    ("usage_agg_30d.csv", "45.0,2,0,0", "45.0,2.5,0,0", "line 3: unique_devices_30d is '2.5'; a whole number"),
    ("usage_agg_30d.csv", "45.0,2,0,0", "45.0,٢,0,0", "line 3: unique_devices_30d is '٢'"),
    ("usage_agg_30d.csv", "45.0,2,0,0", "45.0,x,0,0", "line 3: unique_devices_30d is 'x'"),
    ("subscriptions.csv", "19.9,955.2", "19.9,x", "line 3: total_paid is 'x'; a number from 0 to 1,000,000,000 or nothing"),
    ("subscriptions.csv", "U0002,48,False", "U0002,48,no", "line 3: plan_stream_tv is 'no'; True or False or nothing is wanted"),
    ("subscriptions.csv", "U0002,48", "U0002,999999999999", "line 3: months_active is 999999999999"),
    ("users.csv", "2020-01-15", "15/01/2020", "users.csv, line 3: signup_date is '15/01/2020'; a date like 2024-01-31"),
    ("users.csv", "2020-01-15", "2020-02-30", "users.csv, line 3: signup_date is '2020-02-30'"),
    ("users.csv", "U0002", "U\x000002", r"users.csv, line 3: user_id is 'U\x000002'; 1 to 128 printable"),
    ("users.csv", "U0002", "", "users.csv, line 3: user_id is ''; 1 to 128 printable"),
    ("users.csv", "U0002", "U" * 129, "users.csv, line 3: user_id is 'UUU"),
    ("labels.csv", "U0002", "U0001", "labels.csv, line 3: user_id 'U0001' was on line 2 already"),
    ("labels.csv", "U0002", "U0009", "labels.csv, line 3: 'U0009' is not in subscriptions.csv"),
    ("users.csv", "U0002", "U0009", "subscriptions.csv, line 3: 'U0002' is not in users.csv"),
    ("payments_agg_90d.csv", "U0002,1\n", "", "payments_agg_90d.csv has no row for 'U0002' of subscriptions.csv"),
    ("payments_agg_90d.csv", "U0002,1", "U0002,1,7", "payments_agg_90d.csv, line 3: 3 cells where the first line has 2"),
    ("payments_agg_90d.csv", "U0002,1", 'U0002,"1', "payments_agg_90d.csv, line 3: unexpected end of data. Is a quotation mark"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "old", "new", "said"), BAD_ROWS, ids=range(len(BAD_ROWS)))
def test_a_bad_row_is_named_with_file_and_line(folder, name, old, new, said):
    spoil(folder, name, old, new)
    assert said in refused(folder)


def test_other_bad_rows_are_counted_and_the_line_is_the_first_of_a_quoted_cell(folder):
    lines = FILES["subscriptions.csv"]
    text = "\n".join(
        [lines[0], lines[1].replace("One year", '"One\nyear"'), lines[2], lines[3].replace("DSL", "D\x01")]
    )
    (folder / "subscriptions.csv").write_text(text)
    said = refused(folder)
    assert said.startswith(r"subscriptions.csv, line 2: contract_type is 'One\nyear'; 1 to 128 printable characters")
    assert said.endswith("(and 1 more bad rows, lines 5).")


BAD_FILES = [
    (b"", "labels.csv is empty. Its first line names the columns: user_id, churn_label."),
    (b"user_id,churn_label\n", "labels.csv has no rows"),
    (b"user_id\nU0001\n", "labels.csv lacks 'churn_label'. Its columns are user_id, churn_label."),
    (b"user_id,churn_label,extra\nU0001,True,1\n", "labels.csv: this table does not know 'extra'"),
    (b"user_id,churn_label,user_id\nU0001,True,U0001\n", "labels.csv has twice 'user_id'"),
    (b"user_id;churn_label\nU0001;True\n", "separated by semicolons"),
    ("user_id,churn_label\nÜ1,True\n".encode("latin-1"), "labels.csv, line 2: not UTF-8"),
    ("user_id,churn_label\nU0001,True\n".encode("utf-16"), "labels.csv, line 1: not UTF-8"),
    (b"\x89PNG\r\n\x1a\n", "labels.csv, line 1: not UTF-8"),
]


@pytest.mark.parametrize(("content", "said"), BAD_FILES, ids=range(len(BAD_FILES)))
def test_a_file_that_is_no_such_table_is_refused_in_words(folder, content, said):
    (folder / "labels.csv").write_bytes(content)
    assert said in refused(folder)


def test_a_missing_file_a_missing_folder_and_a_folder_of_months_are_named(folder):
    assert "is no folder" in refused(folder / "nowhere")
    said = refused(folder.parent)
    assert "has no users.csv" in said
    assert "It holds month_000: give one of these." in said
    (folder / "users.csv").unlink()
    assert "has no users.csv." in refused(folder)
    (folder / "users.csv").mkdir()
    assert "users.csv is no file" in refused(folder)


def test_a_huge_file_is_not_read(folder, monkeypatch):
    with (folder / "users.csv").open("wb") as file:
        file.truncate(reading.MAX_BYTES + 1)
    assert "users.csv has 100,000,001 bytes; at most 100,000,000 are read" in refused(folder)


@pytest.mark.parametrize("text", ["2024-02-31", "yesterday", "2999-01-01", "1969-12-31", "31/01/2024", ""])
def test_a_day_that_is_none_or_in_the_future_is_refused(text):
    with pytest.raises(IngestError, match="--as-of"):
        parse_as_of(text)
    assert parse_as_of("2024-01-31") == DAY


# --- into the embedded world ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def first_world(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    shutil.copytree(sample_home(tmp_path_factory) / "world", home / "world")
    assert build.is_current(home)
    return home


@pytest.fixture
def home(first_world, tmp_path, monkeypatch):
    model = first_world / "world" / "streamflow" / "model"
    # Training is half of making a world, and the model knows nothing of ingested months.
    monkeypatch.setattr(build, "_train", lambda data: shutil.copytree(model, data / "model"))
    return shutil.copytree(first_world, tmp_path / "home")


def rows(home, query, *given):
    with sqlite3.connect(home / "world" / "streamflow" / "streamflow.db") as db:
        found = db.execute(query, given).fetchall()
    db.close()
    return found


def feature_months(home, stem):
    table = pq.read_table(home / "world" / "streamflow" / "features" / f"{stem}.parquet")
    return table.to_pandas().groupby("event_timestamp").size().to_dict()


def test_the_sample_written_out_and_taken_in_again_is_the_sample(home, tmp_path):
    before = {path.name: path.read_bytes() for path in (home / "world").rglob("*.parquet")}
    sample.write(home, DAY, tmp_path / "csv")
    month, changed = embedded.put(home, read_month(tmp_path / "csv", DAY))
    assert (changed, month.rows, month.labelled) == (True, 7043, 7043)
    assert {path.name: path.read_bytes() for path in (home / "world").rglob("*.parquet")} == before
    assert rows(home, "select count(*), sum(churn_label) from labels where period_start = '2024-01-31'") == [
        (7043, 1869)
    ]
    assert embedded.put(home, read_month(tmp_path / "csv", DAY))[1] is False


def test_a_month_takes_the_place_of_the_samples_and_survives_the_world_being_made_again(home, folder):
    day = date(2024, 2, 29)
    embedded.put(home, read_month(folder, day))

    def state():
        return (
            rows(home, "select user_id, months_active, total_paid from subscriptions_profile_snapshots where as_of = ?", str(day)),
            rows(home, "select user_id, churn_label from labels where period_start = ?", str(day)),
            [feature_months(home, stem)[pd.Timestamp(day, tz="UTC")] for stem in FEATURE_FILES.values()],
            rows(home, "select signup_date from users where user_id = 'U0003'"),
            rows(home, "select count(*) from subscriptions_profile_snapshots where as_of = '2024-01-31'"),
        )  # fmt: skip

    expected = (
        [("U0001", 52, 5003.44), ("U0002", 48, 955.2), ("U0003", 0, None)],
        [("U0001", 0), ("U0002", 1), ("U0003", 0)],
        [3, 3, 3, 3],
        [("2024-01-02",)],
        [(7043,)],
    )
    assert state() == expected
    assert build.ensure_world(home) is False
    assert build.ensure_world(home, force=True)
    assert state() == expected
    manifest = json.loads((home / "world" / "world.json").read_text())
    assert [one["rows"] for one in manifest["months"] if one["as_of"] == str(day)] == [3]
    assert [one["as_of"] for one in manifest["ingested"]] == [str(day)]


def test_a_month_without_a_value_in_a_column_is_in_the_world_with_null_in_it(home, folder):
    """plan_stream_tv is empty in every row, months_active in one: NULL in the database, null in the feature file."""
    day = date(2024, 3, 31)
    for value in ("52,True", "48,False", "0,True"):
        spoil(folder, "subscriptions.csv", value, value.split(",")[0] + ",")
    spoil(folder, "subscriptions.csv", "U0001,52,", "U0001,,")
    embedded.put(home, read_month(folder, day))
    query = "select months_active, plan_stream_tv from subscriptions_profile_snapshots where as_of = ?"
    assert rows(home, query, str(day)) == [(None, None), (48, None), (0, None)]
    table = pq.read_table(home / "world" / "streamflow" / "features" / "subs_profile.parquet").to_pandas()
    month = table[table.event_timestamp == pd.Timestamp(day, tz="UTC")]
    assert month.plan_stream_tv.isna().all()
    assert month.months_active.dropna().tolist() == [48, 0]


def test_a_newer_month_becomes_the_last_one_and_months_are_numbered_by_date(home, folder):
    embedded.put(home, read_month(folder, date(2025, 1, 31)))
    manifest = json.loads((home / "world" / "world.json").read_text())
    assert [(one["name"], one["as_of"]) for one in manifest["months"]][-1] == ("month_012", "2025-01-31")
    assert feature_months(home, "usage_agg_30d")[pd.Timestamp("2025-01-31", tz="UTC")] == 3


def test_labels_that_came_before_stay_when_the_folder_has_none(home, folder):
    day = date(2024, 12, 31)
    embedded.put(home, read_month(folder, day))
    (folder / "labels.csv").unlink()
    month, changed = embedded.put(home, read_month(folder, day))
    assert (month.labelled, changed) == (3, False)
    assert month.notes == (*GAP, "no labels: the 3 labels that this month has already stay")
    assert rows(home, "select count(*) from labels where period_start = ?", str(day)) == [(3,)]


def test_the_samples_labels_never_stay_beside_another_months_features(home, folder):
    (folder / "labels.csv").unlink()
    assert embedded.put(home, read_month(folder, DAY))[0].labelled == 0
    assert rows(home, "select count(*) from labels where period_start = '2024-01-31'") == [(0,)]


def test_a_world_that_cannot_be_written_leaves_the_old_one_and_the_next_try_finishes(home, folder, monkeypatch):
    before = (home / "world" / "world.json").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(laying, "_into_parquet", full)
    with pytest.raises(WorldError, match="No space left"):
        embedded.put(home, read_month(folder, DAY))
    assert (home / "world" / "world.json").read_bytes() == before
    monkeypatch.undo()
    embedded.put(home, read_month(folder, DAY))
    assert feature_months(home, "subs_profile")[pd.Timestamp(DAY, tz="UTC")] == 3


def test_a_kept_month_that_cannot_be_read_is_said_and_never_dropped(home, folder):
    embedded.put(home, read_month(folder, DAY))
    (home / "ingested" / str(DAY) / "month.json").write_text("{")
    with pytest.raises(WorldError, match="ingest that month again"):
        build.ensure_world(home)


# --- the command ------------------------------------------------------------------------------------------------------


def command(home, *arguments, **environ):
    given = {name: value for name, value in os.environ.items() if not name.startswith("POSTGRES_")}
    return subprocess.run(
        [sys.executable, "-m", "stack", "ingest", *arguments],
        cwd=ROOT,
        env={**given, "VIGIE_HOME": str(home), **environ},
        capture_output=True,
        text=True,
        timeout=170,
    )


def test_the_command_says_what_it_did_and_the_feature_store_serves_the_month(home, folder):
    environ = {name: value for name, value in os.environ.items() if not name.startswith("POSTGRES_")}
    asked = ("stack", "ingest", "--from", os.path.relpath(folder, ROOT), "--as-of", "2025-01-31")
    done = warm.run(*asked, env={**environ, "VIGIE_HOME": str(home)})
    assert (done.returncode, done.stderr) == (0, "")
    assert "2025-01-31 is in the world of" in done.stdout
    assert "3 accounts, 3 labels" in done.stdout
    assert json.loads((home / "feast" / "applied.json").read_text())["online_as_of"] == "2025-01-31"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--from", "/nowhere", "--as-of", "2024-01-31"), 1, "ingest: /nowhere is no folder"),
        (("--from", "/nowhere", "--as-of", "soon"), 1, "--as-of 'soon' is no date"),
        (("--from", "/nowhere"), 2, "--from needs --as-of DATE"),
        (("--sample",), 2, "--to postgres"),
        ((), 2, "--from --sample is required"),
    ],
)
def test_wrong_arguments_are_one_line_and_nothing_is_made(tmp_path, arguments, code, said):
    done = command(tmp_path / "home", *arguments)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "home" / "world").exists()
